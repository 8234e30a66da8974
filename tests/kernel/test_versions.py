"""What another version of a message wrote is brought up to today's, or refused by the names of both."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allotrope import Event, Fault, Message, Refused
from allotrope.kernel import codec
from allotrope.kernel.messages import MessageType

Step = Any


def plus_one(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "steps": fields.get("steps", 0) + 1}


def paid(version: int, upcasts: tuple[Step, ...] = (), **fields: Any) -> Any:
    """Return the event `Paid` of a version."""
    space = {"__annotations__": {"card": str, **fields}, "__module__": __name__}
    words = {"version": version, "upcasts": upcasts} if version else {}
    return MessageType("Paid", (Event,), space, key="card", **words)


@given(st.integers(1, 6), st.integers(0, 6), st.booleans())
def test_as_many_upcasts_run_as_there_are_versions_between(now: int, back: int, many: bool) -> None:
    fields = {f"f{number}": int for number in range(20)} if many else {}  # more than fit a short map
    then = max(now - back, 1)
    old, new = (
        paid(then, **fields),
        paid(now, (plus_one,) * (now - 1), **fields, **({"steps": int} if now > then else {})),
    )
    values = dict.fromkeys(fields, 7)
    read = codec.decode(codec.encode(old(card="a", **values)), new)
    assert getattr(read, "steps", 0) == now - then
    assert (read.card, [getattr(read, name) for name in fields]) == ("a", [7] * len(fields))
    assert codec.decode(memoryview(codec.encode(read)), new) == read


def test_a_first_version_writes_no_version() -> None:
    assert codec.decode(codec.encode(paid(0)("a"))) == {"card": "a"}
    assert codec.encode(paid(1)("a")) == codec.encode(paid(0)("a"))
    assert codec.decode(codec.encode(paid(2)("a"))) == {"@version": 2, "card": "a"}


@pytest.mark.parametrize("known", [0, 1, 2])
def test_a_newer_version_is_refused_by_both_numbers(known: int) -> None:
    with pytest.raises(
        Refused, match=f"Paid of version 3: {max(known, 1)} is the newest known here; start a newer"
    ):
        codec.decode(codec.encode(paid(3)("a")), paid(known))


def test_only_the_last_versions_need_be_read() -> None:
    new = paid(3, (plus_one,), steps=int)
    assert codec.decode(codec.encode(paid(2)("a")), new).steps == 1
    with pytest.raises(Refused, match=r"Paid \{'card': 'a'\} is of version 1, .*add it to `upcasts`"):
        codec.decode(codec.encode(paid(1)("a")), new)


def test_an_upcast_that_fails_is_told_with_what_it_was_given() -> None:
    with pytest.raises(
        Refused, match=r"Paid \{'card': 'a'\} is of version 1, .* failed: KeyError\('amount'\)"
    ):
        codec.decode(codec.encode(paid(1)("a")), paid(2, (lambda fields: {"x": fields["amount"]},)))


def test_what_an_upcast_makes_is_checked() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"Expected `str`, got `int` - at `\$.card`"):
        codec.decode(codec.encode(paid(1)("a")), paid(2, (lambda fields: {"card": 1},)))


def test_a_value_that_was_no_message_becomes_one() -> None:
    class Name(Message, version=2, upcasts=(lambda text: {"first": text.split()[0]},)):
        first: str

    assert codec.decode(codec.encode("Ann Lee"), Name) == Name("Ann")


@given(st.binary(max_size=24))
def test_whatever_bytes_there_are_the_look_for_a_version_does_not_fail(data: bytes) -> None:
    kind = paid(2, (plus_one,))
    for start in (b"", b"\x81\xa8@version", b"\xde\x00\x01\xa8@version", b"\x92\xa8@version"):
        with contextlib.suppress(Refused, msgspec.DecodeError, ValueError, TypeError):
            assert isinstance(codec.decode(start + data, kind), Event)


@pytest.mark.parametrize(
    "words",
    [{"version": 128}, {"version": -1}, {"version": 2, "tag": True}, {"version": 2, "array_like": True}],
)
def test_a_version_that_cannot_be_written_is_refused(words: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="Slip: a version is a number below 128, without a tag or array_like"):
        MessageType("Slip", (Message,), {"__module__": __name__}, **words)


def test_a_message_without_a_version_is_taken_as_it_is() -> None:
    class Slip(Message):
        card: str

    assert codec.decode(codec.encode(paid(3)("a")), Slip) == Slip("a")
    assert not hasattr(Fault, "__version__")
