"""What every test may rely on: async tests, notes that close the run, and servers that must be there.

Fixtures of one subject stand beside its tests, not here.
"""

import asyncio
import inspect
import os
from collections.abc import Callable, Generator

import hypothesis
import pytest

hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")

NOTES = pytest.StashKey[list[str]]()


@pytest.fixture
def note(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Return a function that adds a line to the end of the run: a count or a figure to be seen."""
    return pytestconfig.stash.setdefault(NOTES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    notes = config.stash.get(NOTES, [])
    if notes:
        terminalreporter.section("notes")
        for line in notes:
            terminalreporter.write_line(line)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test on a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a `service` test into a failure where the services are required."""
    report = yield
    required = os.environ.get("ALLOTROPE_SERVICES") == "required"
    if required and report.skipped and item.get_closest_marker("service"):
        report.outcome = "failed"
        report.longrepr = f"ALLOTROPE_SERVICES=required, and this test was skipped: {report.longrepr}"
    return report
