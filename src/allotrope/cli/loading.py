"""What most verbs begin with: the app by its name, its plan, and the words that their options share."""

import traceback
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from allotrope import compose
from allotrope.kernel.components import App
from allotrope.kernel.errors import Refused
from allotrope.planning.plans import Plan, plan
from allotrope.runtime.telemetry.secrets import mask, secrets_in

AppName = Annotated[
    str, Parameter(help="The module that holds the app: `examples.fraud`, or `package.module:variable`.")
]
TopologyName = Annotated[
    str, Parameter(name=["--topology", "-t"], help="A preset, or the path of a topology file (TOML).")
]
Folder = Annotated[Path, Parameter(name=["--folder", "-f"], help="Where the app keeps its files.")]


def loaded(name: str) -> App:
    """Return the app of a module. Refused when it cannot be imported, with the line of the user's own code."""
    try:
        return compose.load(name)
    except Refused:
        raise
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
        place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        if isinstance(error, SyntaxError):
            place = f" ({error.filename}:{error.lineno})"
        raise Refused(f"`{name}` cannot be imported: {type(error).__name__}: {error}{place}") from error


def planned(name: str, topology: str) -> Plan:
    """Return the plan of an app under a topology; from here on the secrets of both are masked in all that is shown."""
    app = loaded(name)
    document = compose.document(topology)
    mask.learn(secrets_in(document.values))
    for component in app.components.values():
        settings = {field.name: getattr(component.kind, field.name, None) for field in component.needs("setting")}
        mask.learn(secrets_in(settings))
    return plan(app, document)
