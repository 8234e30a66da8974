"""What a message is before the wire it is after it, and an array is as it was."""

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allotrope import Message, Refused
from allotrope.kernel import codec
from tests.kernel.grammar import Typed, carrier, same, typed, wild

np = pytest.importorskip("numpy")


@settings(max_examples=300)
@given(st.data(), typed)
def test_what_can_be_built_survives_the_wire(data: st.DataObject, kind: Typed) -> None:
    made = carrier(kind[0])(value=data.draw(kind[1]))
    assert same(codec.decode(codec.encode(made), type(made)), made)


@settings(max_examples=300)
@given(st.data(), typed)
def test_a_local_value_is_what_the_wire_would_have_made_of_it(data: st.DataObject, kind: Typed) -> None:
    """Wherever both take a value; and a value that is refused here is one that the wire would spoil."""
    value, sort = data.draw(wild | kind[1]), carrier(kind[0])
    here = outcome(lambda: sort(value=value))
    there = outcome(lambda: codec.decode(codec.encode({"value": value}), sort))
    if isinstance(here, Message):
        assert same(here, there)
        assert same(codec.decode(codec.encode(here), sort), here)
    else:
        assert isinstance(here, Refused)
        assert re.match(r"Carrier\.value: |(Point|Line|Circle|Remote)\.", str(here))
        assert not isinstance(there, Message) or re.search("another order|would lose|not a finite", str(here))


def outcome(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except (Refused, ValueError, TypeError, OverflowError) as error:
        return error


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<i2", "|b1", "|u1", "<c16", "<M8[s]", "<U3"])
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (4,), (2, 3, 4)])
def test_arrays_travel_as_raw_buffers(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    again = codec.decode(codec.encode(array), np.ndarray)
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert again.tobytes() == array.tobytes()
    assert not again.flags.writeable
    assert len(codec.encode(array)) < array.nbytes + 40


def test_an_array_in_another_order_of_memory_keeps_its_values() -> None:
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))[:, ::2]
    assert (codec.decode(codec.encode(array), np.ndarray) == array).all()


@pytest.mark.parametrize("dtype", [object, [("price", "f8")]])
def test_arrays_whose_bytes_say_too_little_are_refused(dtype: Any) -> None:
    with pytest.raises(TypeError, match="ndarray cannot cross a boundary"):
        codec.encode(np.zeros(2, dtype))


def test_the_value_of_another_type_is_refused() -> None:
    for data, kind in ((1, str), ((1, "a"), tuple[int, ...]), (np.zeros(1), int), ("a", np.ndarray)):
        with pytest.raises(msgspec.ValidationError):
            codec.decode(codec.encode(data), kind)


def test_no_class_name_travels() -> None:
    class Sent(Message):
        count: int

    class Received(Message):
        count: int

    data = codec.encode(Sent(7))
    assert b"Sent" not in data
    assert codec.decode(data, Received) == Received(7)


def test_what_has_no_bytes_says_what_to_use() -> None:
    for value in (object(), np.float64(1.0), range(3)):
        with pytest.raises(TypeError, match="use a plain value, tuple or Message"):
            codec.encode(value)


def test_the_kernel_does_not_import_numpy() -> None:
    code = "import allotrope, sys; print(sorted({'numpy', 'duckdb', 'pandas'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
