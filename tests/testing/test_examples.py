"""The examples in the docstrings of `allotrope.testing` run as they stand."""

import inspect
import textwrap
from types import ModuleType
from typing import Any

import pytest

from allotrope.testing import contracts, presets


def example(module: ModuleType) -> str:
    """Return the indented lines of a module's docstring."""
    lines = (inspect.getdoc(module) or "").splitlines()
    return textwrap.dedent("\n".join(line for line in lines if not line or line.startswith("    ")))


@pytest.mark.parametrize("module", [contracts, presets], ids=lambda module: module.__name__)
def test_the_example_runs(module: ModuleType) -> None:
    space: dict[str, Any] = {"__name__": "example"}
    exec(compile(example(module), f"<example of {module.__name__}>", "exec"), space)
    for name, found in list(space.items()):
        if name.startswith("test_"):
            found()
