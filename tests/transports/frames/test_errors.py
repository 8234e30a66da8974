"""Errors cross as what they are: the class tells at both sides what the caller may do."""

import pytest

from allotrope import Failed
from allotrope.kernel.errors import Corrupted, Lost, Refused
from allotrope.transports.frames.errors import RemoteError, packed, unpacked
from tests.transports.frames.service import RAISED

SOUND = {name: error for name, error in RAISED.items() if name != "path"}


@pytest.mark.parametrize("error", SOUND.values(), ids=SOUND)
def test_an_error_arrives_as_it_was(error: Exception) -> None:
    found = unpacked(*packed(error, "Shop.echo"))
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error)


def test_what_nobody_declared_is_failed_and_says_where() -> None:
    found = unpacked(*packed(KeyError("x"), "Shop.echo"))
    assert isinstance(found, Failed)
    assert (found.component, found.operation, found.cause) == ("Shop", "echo", "KeyError: 'x'")


def test_a_kind_of_refused_that_is_not_known_there_is_refused() -> None:
    assert type(unpacked(*packed(Corrupted("page 3"), "a.b"))) is Refused


def test_what_is_no_text_is_told_as_well_as_it_can_be() -> None:
    assert str(unpacked(*packed(RAISED["path"], "a.b"))) == "no file ?"
    assert len(str(unpacked(*packed(KeyError("x" * 10**6), "a.b")))) < 11_000


def test_payload_and_names() -> None:
    assert unpacked(*packed(RemoteError(b"\xff"), "a.b")).payload == b"\xff"
    assert isinstance(unpacked(*packed(Lost("x"), "a.b")), Lost)
