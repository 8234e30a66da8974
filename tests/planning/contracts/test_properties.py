"""Whatever two versions of an app are like: what is called compatible is read in both directions, by the codec."""

from typing import Any

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st

from allotrope import Refused
from allotrope.kernel import codec
from allotrope.planning.contracts.changes import compared
from allotrope.planning.contracts.contract import contract_of, read_contract
from allotrope.runtime.doors.dispatch import Door, Services
from allotrope.runtime.doors.limits import Slots
from allotrope.runtime.tracing import Tracer
from tests.planning.contracts.schemas import Made, Schema, edited, made, schemas


@settings(max_examples=100, deadline=None)
@given(schemas)
def test_an_app_compared_with_itself_has_not_changed(schema: Schema) -> None:
    one, other = contract_of(made(schema).app), contract_of(made(schema).app)
    assert one.hash == other.hash
    assert one.text() == other.text()
    assert read_contract(one.text(), "here") == one
    # Nor does it when the hashes do not say so at once.
    assert compared(msgspec.structs.replace(one, hash="x"), other) == ()


@settings(max_examples=300, deadline=None)
@given(st.data(), schemas)
def test_what_is_called_compatible_is_read_in_both_directions(data: st.DataObject, schema: Schema) -> None:
    after = data.draw(edited(schema))
    old, new = made(schema), made(after)
    changes = compared(contract_of(old.app), contract_of(new.app))
    orders = {change.order for change in changes}
    event("refused" if "refused" in orders else ", ".join(sorted(orders)) or "equal")
    if "refused" in orders:
        return
    crossed(data, old, new)
    if "readers first" not in orders:
        crossed(data, new, old)


def crossed(data: st.DataObject, writer: Made, reader: Made) -> None:
    """Write with one version and read with the other: an event, and the arguments of a call."""
    value = data.draw(writer.values)
    read = codec.decode(codec.encode(value), reader.event)
    assert agree(codec.decode(codec.encode(value)), codec.decode(codec.encode(read)))
    arguments = data.draw(writer.arguments)
    taken = door(reader).decoded(codec.encode(arguments))
    assert all(
        agree(codec.decode(codec.encode(one)), codec.decode(codec.encode(other)))
        for one, other in zip(arguments, taken, strict=False)
    )


def agree(one: Any, other: Any) -> bool:
    """Whether two plain values agree in all that both have."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(agree(one[name], other[name]) for name in one.keys() & other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return all(map(agree, one, other))
    return bool(one == other)


def door(one: Made) -> Door:
    operation = one.app.operation("Taker.asked")
    return Door(operation, None, Slots("Taker", 1, 1), Services(Tracer(per_second=0), threads=1))


@settings(max_examples=200, deadline=None)
@given(st.data(), schemas)
def test_what_the_codec_cannot_read_is_refused(data: st.DataObject, schema: Schema) -> None:
    """The other way round, for events: bytes that the other version does not take are never called compatible."""
    old, new = made(schema), made(data.draw(edited(schema)))
    value = data.draw(old.values)
    try:
        codec.decode(codec.encode(value), new.event)
    except (msgspec.ValidationError, Refused):
        assert "refused" in {change.order for change in compared(contract_of(old.app), contract_of(new.app))}
