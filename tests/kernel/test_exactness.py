"""The compiled test accepts exactly what the codec hands on; `mutable` is tried in `test_messages`."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allotrope import Event, Refused
from allotrope.kernel import codec
from allotrope.kernel.exactness import LEAVES, check, leaves, mutable, unfit
from allotrope.kernel.messages import conform
from tests.kernel.grammar import Point, Typed, same, typed, wild


def bare(kind: Any) -> bool:
    """Return whether no constraint is in it: those are left to the codec, on the slow path."""
    return not any(isinstance(part, msgspec.Meta) for part in leaves(kind))


@settings(max_examples=200)
@given(st.data(), typed)
def test_what_decode_gives_is_exact(data: st.DataObject, kind: Typed) -> None:
    value = codec.decode(codec.encode(data.draw(kind[1])), kind[0])
    assert check((("v", kind[0]),))(value) or not bare(kind[0])
    assert conform(value, kind[0], "here") is value or not bare(kind[0])


@settings(max_examples=200)
@given(st.data(), typed)
def test_what_is_exact_is_what_decode_would_give(data: st.DataObject, kind: Typed) -> None:
    value = data.draw(wild | kind[1])
    if check((("v", kind[0]),))(value):
        assert same(codec.decode(codec.encode(value), kind[0]), value)
        assert not unfit(value, kind[0])


@settings(max_examples=200)
@given(st.data(), typed)
def test_to_conform_twice_changes_nothing(data: st.DataObject, kind: Typed) -> None:
    value = data.draw(wild | kind[1])
    try:
        once = conform(value, kind[0], "here")
    except Refused as refused:
        assert str(refused).startswith(("here: ", "Point.", "Line.", "Circle."))  # noqa: PT017  # one of two ends
        return
    assert same(conform(once, kind[0], "here"), once)


@given(st.data(), typed)
def test_the_allowed_grammar_is_not_mutable(data: st.DataObject, kind: Typed) -> None:
    assert mutable(kind[0]) == ""


def test_several_expressions_are_tested_at_once() -> None:
    exact = check((("v[0]", int), ("v[1].x", float)))
    assert exact((1, Point(1.0)))
    assert not exact((1.0, Point(1.0)))
    assert check(())(object())


def test_any_is_anything_and_an_unknown_type_is_nothing() -> None:
    assert check((("v", Any),))(object())
    assert not check((("v", Event | int),))("a")
    assert not check((("v", Annotated[int, msgspec.Meta(ge=0)]),))(1)  # left to the codec


def test_a_subclass_is_not_its_parent() -> None:
    class Sub(str):
        __slots__ = ()

    class Moment(datetime):
        pass

    assert not check((("v", str),))(Sub("a"))
    assert not check((("v", datetime),))(Moment(2026, 1, 1))
    assert not check((("v", tuple[str, ...]),))((Sub("a"),))


@pytest.mark.parametrize("leaf", sorted(LEAVES, key=str))
def test_every_leaf_may_fill_a_tuple(leaf: Any) -> None:
    assert check((("v", tuple[leaf, ...]),))(())
    assert not check((("v", tuple[leaf, ...]),))((None,))
    assert not check((("v", tuple[leaf, ...]),))([])


def test_leaves_are_the_types_an_annotation_names() -> None:
    assert leaves(tuple[int, ...] | Point | None) == [int, ..., Point, type(None)]
