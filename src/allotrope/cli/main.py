"""The command line: finds the verb, runs it, and turns what was refused into one message and an exit code.

0 is success, 1 a result that is not good (answers differ, lines were refused), 2 a refusal; 130 is Ctrl-C.
"""

import os
import shutil
import sys
from importlib.metadata import version
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from allotrope.kernel.errors import Failed, Lost, Refused, nearest
from allotrope.kernel.messages import Fault
from allotrope.runtime.telemetry.secrets import mask

# A verb's module is loaded when the verb is used, so that help stays quick.
VERBS = {
    "new": "Write a small working app to begin with.",
    "plan": "Show what a topology makes of an app, or every reason why it cannot.",
    "run": """Start an app, feed it with inputs, keep it up until Ctrl-C; with --input until its end.

A line is {"event": "Submitted", "data": {...}} or {"call": "Desk.settle", "data": {...}}, with `at`,
`request` and `tenant` beside them. Answers come as JSON lines on stdout, all else on stderr.""",
    "serve": """Serve an app over HTTP: every query, command and event, with an OpenAPI page at /docs.

It listens on this machine only until there is a key: see `allotrope keys`.""",
    "webhooks": "Send events to URLs, signed: `webhooks add URL --event NAME`, `webhooks ls`.",
    "keys": "Make, list and revoke API keys: `keys new NAME`, `keys ls`, `keys revoke NAME`.",
    "contract": "Write what others rely on in an app; compare contracts, make stubs, keep samples of events.",
    "asyncapi": "Write the AsyncAPI document of an app: its events, who sends and takes them, and where.",
    "proto": "Print the gRPC contract of an app: what `serve --grpc PORT` offers.",
    "check": "Replay one input through all presets and compare the answers.",
    "trace": "Draw what happened to a request, with times.",
    "replay": "Compute a recorded decision again, and say whether it comes out the same.",
    "impact": "List all that came of an input, an event or a decision.",
    "backup": "Copy all that an app keeps, while it serves.",
    "restore": "Make the folder of an app from a backup, as of the newest moment or an earlier one.",
    "events": "What an app has in its log: `events rebuild APP VIEW` makes a view again from it.",
    "why-waiting": "Say what an input of a running app waits for, down to the root of it.",
    "ps": "List the processes of a running app.",
    "top": "Watch the processes of a running app.",
    "logs": "Show the log lines of all units, merged by time: `logs UNIT -f` follows one.",
    "requests": "Show calls, errors and times by operation, as the sidecars of the units have seen them.",
    "scale": "Have more or fewer replicas of a unit: `scale UNIT COUNT`.",
    "roll": "Replace the replicas of a unit, or of all, one by one while requests go on.",
}
PLACES = {  # of the verbs that are not a file beside this one
    **{verb: f"net.{verb}" for verb in ("serve", "keys", "webhooks", "asyncapi", "proto")},
    **{verb: f"backups.{verb}" for verb in ("backup", "restore")},
    "contract": "versions.contract",
    "events": "events.events",
    "why-waiting": "events.waiting",
    **{verb: f"fleet.{verb}" for verb in ("ps", "top", "logs", "scale", "roll", "requests")},
}
OWN_DEBUG = {"replay"}  # verbs for which --debug means a debugger
ERRORS = (Refused, Failed, Lost, Fault)

cli = App(
    name="allotrope",
    help="Write an AI system once, as components; run it under any architecture by choosing a small file.",
    version=lambda: version("allotrope"),
    default_parameter=Parameter(negative=()),
    result_action="return_value",
)
for _verb, _says in VERBS.items():
    _place = f"allotrope.cli.{PLACES.get(_verb, _verb)}:{_verb.replace('-', '_')}"
    cli.command(_place, name=_verb, help=_says)


@cli.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    debug: Annotated[
        bool, Parameter(help="Show the traceback of what is refused.", show_default=False)
    ] = False,
) -> int:
    """Run one verb and return the exit code."""
    own = debug and tokens[:1] and tokens[0] in OWN_DEBUG
    given = [*tokens, "--debug"] if own else [*tokens]
    try:
        if tokens and tokens[0][0] != "-" and tokens[0] not in VERBS:
            raise Refused(f"there is no verb `{tokens[0]}`. {nearest(tokens[0], VERBS)}")
        return cli(given, exit_on_error=False, print_error=False) or 0
    except ERRORS as error:
        if debug:
            raise
        return refusal(f"{type(error).__name__}: {error}")


def refusal(message: str) -> int:
    """Print why nothing was done, and return the exit code that says so."""
    lines = mask(message).splitlines() or [""]
    if sys.stderr.isatty():
        from allotrope.planning.text import folded

        columns = shutil.get_terminal_size().columns
        lines = [piece for line in lines for piece in folded(line, columns)] or [""]
        head, _, rest = lines[0].partition(": ")
        lines[0] = f"\033[1;31m{head}:\033[0m {rest}"
    print("\n".join(lines), file=sys.stderr)
    return 2


def main() -> None:
    """Run the command line of this process."""
    try:
        code = cli.meta(result_action="return_value", exit_on_error=False, print_error=False)
    except CycloptsError as error:
        code = refusal(
            f"Refused: {error}\n`allotrope --help` lists the verbs, `allotrope VERB --help` their options."
        )
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
