"""A sample of each type can be made, is of that type, and is the same each time."""

from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given

from allotrope import Refused
from allotrope.kernel import codec
from allotrope.planning.contracts.samples import golden_name, goldens, sample
from tests.kernel.grammar import Kind, Typed, carrier, typed
from tests.planning.contracts.library import Paid, app


@given(typed)
def test_a_sample_is_of_its_type(kind: Typed) -> None:
    made = carrier(kind[0])(value=sample(kind[0]))
    assert codec.encode(made) == codec.encode(carrier(kind[0])(value=sample(kind[0])))


@pytest.mark.parametrize(
    "kind",
    [
        Annotated[int, msgspec.Meta(gt=10, lt=12)], Annotated[float, msgspec.Meta(gt=0.2, lt=0.3)],
        Annotated[str, msgspec.Meta(min_length=20)], Annotated[str, msgspec.Meta(max_length=3)],
        Annotated[tuple[int, ...], msgspec.Meta(min_length=3)], Annotated[int, msgspec.Meta(multiple_of=7)],
    ],
)  # fmt: skip
def test_simple_limits_are_kept(kind: Kind) -> None:
    carrier(kind)(value=sample(kind))


def test_what_cannot_be_guessed_is_refused() -> None:
    with pytest.raises(Refused, match="give the field a default"):
        sample(Annotated[str, msgspec.Meta(pattern="^[0-9]{4}$")])


def test_each_event_has_one_named_by_its_shape() -> None:
    found = goldens(app)
    assert {golden.event for golden in found.values()} == {"Paid", "Sent"}
    name = golden_name(Paid)
    assert name.startswith("Paid.v2.")
    golden = found[name]
    assert golden.version == 2
    read: Any = codec.decode(bytes.fromhex(golden.body), Paid)
    assert repr(read) == golden.shows
