"""Doors of this folder's tests: plan an app under a topology written in the test, or say what is wrong."""

from importlib import resources

import pytest

from allotrope.kernel.components import App
from allotrope.kernel.errors import PlanRefused, Refused
from allotrope.planning.documents import Document, document_of
from allotrope.planning.plans import Plan, plan


def preset(name: str) -> str:
    file = resources.files("allotrope.architectures").joinpath(f"{name}.toml")
    if not file.is_file():
        raise Refused(f"no preset is called `{name}`. Nearest: `monolith`.")
    return file.read_text("utf-8")


def document(text: str = "") -> Document:
    """A topology over the monolith preset."""
    return document_of(f'base = "monolith"\n{text}', "shop.toml", preset)


def planned(*kinds: type, text: str = "") -> Plan:
    return plan(App("shop", *kinds), document(text))


def refusal(*kinds: type, text: str = "") -> list[str]:
    """Each fault, its directories left out."""
    with pytest.raises(PlanRefused) as caught:
        planned(*kinds, text=text)
    return [fault.rpartition("/")[2] if ".py:" in fault else fault for fault in caught.value.faults]


def faults(*kinds: type, text: str = "") -> list[str]:
    """Each fault without its place."""
    return [fault.partition("  ")[2] for fault in refusal(*kinds, text=text)]


def warnings(*kinds: type, text: str = "") -> list[str]:
    """Each warning without its place."""
    return [warning.partition("  ")[2] for warning in planned(*kinds, text=text).warnings]
