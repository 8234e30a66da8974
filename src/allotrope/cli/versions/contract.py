"""`allotrope contract`: what others rely on in an app, as a file; compared, made into Python, shown to be read."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from allotrope import compose
from allotrope.cli.loading import AppName, Output, give, loaded, screen
from allotrope.kernel.errors import Refused
from allotrope.planning.contracts.changes import compared, told
from allotrope.planning.contracts.contract import contract_of
from allotrope.planning.contracts.joining import joined
from allotrope.planning.contracts.samples import goldens
from allotrope.planning.contracts.stubs import stub_of

Place = Annotated[str, Parameter(help="A contract file, or the folder of a running app.")]

contract = App(name="contract", default_parameter=Parameter(negative=()), result_action="return_value")


@contract.default
def write(app: AppName, /, *, output: Output = None) -> int:
    """Write the contract of an app."""
    return give(contract_of(loaded(app)).text(), output)


@contract.command
def diff(old: Place, new: Place, /) -> int:
    """Compare two contracts, one change a line; 1 when one of the changes is refused."""
    changes = compared(compose.contract_at(old), compose.contract_at(new))
    screen().print(told(changes), markup=False)
    return int(any(not change.compatible for change in changes))


@contract.command
def stub(
    *files: Place,
    output: Output = None,
    runs: Annotated[
        bool, Parameter(help="With the handlers of events, for the app that runs it all.")
    ] = False,
) -> int:
    """Write contracts as Python, to be typed against: components, events and faults, without their bodies."""
    if not files:
        raise Refused("no contract is named; `allotrope contract APP -o FILE` writes one")
    return give(stub_of(*joined([compose.contract_at(file) for file in files]), runs=runs), output)


@contract.command
def golden(
    app: AppName,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="The folder, beside your tests.")] = Path(
        "tests/golden"
    ),
) -> int:
    """Write a sample of each event whose present shape has none yet; `allotrope.testing.golden` reads them."""
    output.mkdir(parents=True, exist_ok=True)
    found = goldens(loaded(app))
    fresh = {output / name: golden for name, golden in found.items() if not (output / name).exists()}
    for path, sample in fresh.items():
        path.write_text(sample.text(), "utf-8")
        print(path)
    print(f"{len(fresh)} written, {len(found) - len(fresh)} there already", file=sys.stderr)
    return 0
