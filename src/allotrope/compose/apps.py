"""Apps and topologies by their names: what a module holds, what a preset or a file says, the plan of both."""

import importlib
import sys
import traceback
from importlib import resources
from pathlib import Path

from allotrope.kernel.components import App
from allotrope.kernel.errors import Refused, nearest
from allotrope.planning.contracts.shares import share_of
from allotrope.planning.documents import Document, document_of
from allotrope.planning.plans import Plan, plan
from allotrope.runtime.telemetry.secrets import mask, secrets_in

DEFAULT = "modular-monolith"


def presets() -> tuple[str, ...]:
    """Return the names of the presets."""
    files = resources.files("allotrope.architectures").iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def preset_text(name: str) -> str:
    """Return the text of a preset. Refused, with the nearest name, when there is none."""
    if name not in presets():
        raise Refused(f"no preset or file is called `{name}`. {nearest(name, presets())}")
    return resources.files("allotrope.architectures").joinpath(f"{name}.toml").read_text("utf-8")


def document(topology: str) -> Document:
    """Return a topology by the name of a preset or the path of a TOML file, its bases merged in."""
    path = Path(topology)
    if path.suffix == ".toml":
        if not path.is_file():
            raise Refused(f"{topology}: no such topology file; presets are {', '.join(presets())}")
        found = document_of(path.read_text("utf-8"), topology, preset_text)
    else:
        found = document_of(preset_text(topology), f"{topology}.toml", preset_text)
    mask.learn(secrets_in(found.values))
    return found


def hide(app: App) -> None:
    """Mask the secrets among an app's own settings in all that this process shows from now on."""
    # Not by its fields: a plan has yet to say whether they can be read.
    for component in app.components.values():
        for kind in component.kind.__mro__:
            mask.learn(secrets_in({name: value for name, value in vars(kind).items() if name[0] != "_"}))


def planned(app: App, document: Document) -> Plan:
    """Return the plan of an app; of the app of one unit, under its share of the topology."""
    mask.learn(secrets_in(document.values))
    made = plan(app, share_of(app, document))
    mask.learn(secrets_in(made.topology.setting))
    return made


def load(name: str, *, beside: bool = True) -> App:
    """Return the app that a module holds as `app`: `examples.fraud`, or `package.module:variable`.

    Refused, with the line of the user's code, when it cannot be imported.
    """
    module_name, _, variable = name.partition(":")
    if beside and "" not in sys.path:
        sys.path.insert(0, "")  # an app beside the working directory, as `python -m` would find it
    try:
        module = importlib.import_module(module_name)
    except Refused:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and module_name.startswith(error.name):
            raise Refused(f"no module `{module_name}` here; run this where it can be imported") from None
        raise Refused(
            f"`{name}` cannot be imported: {type(error).__name__}: {getattr(error, 'msg', error)}{_place(error)}"
        ) from error
    app = getattr(module, variable or "app", None)
    if not isinstance(app, App):
        raise Refused(f"module `{module_name}` has no App called `{variable or 'app'}`")
    hide(app)
    return app


def _place(error: Exception) -> str:
    """Return which line of the user's code an import has failed at."""
    if isinstance(error, SyntaxError):
        return f" ({error.filename}:{error.lineno})"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
