"""Messages cannot change, hold exactly what they declare, and say what is wrong where it is wrong."""

import copy
import pickle
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Optional
from zoneinfo import ZoneInfo

import msgspec
import pytest

from allotrope import Event, Fault, Message, Refused, Tick, component
from allotrope.kernel import codec
from allotrope.kernel.messages import conform, fault_body, place_of, types_of
from tests.kernel.grammar import Circle, Colour, Line, Point, Remote, carrier

np = pytest.importorskip("numpy")


class Loose(msgspec.Struct):
    count: int


class Frozen(msgspec.Struct, frozen=True):
    words: list[str]


@dataclass(frozen=True)
class Record:
    count: int


class Pair(NamedTuple):
    one: int
    other: int


TUPLE, PAIRS, SORTED = "use tuple[..., ...]", "use a Message, or a tuple of pairs", "use a sorted tuple"
MUTABLE = [
    (list, TUPLE),
    (list[int], TUPLE),
    (Sequence[int], TUPLE),
    (MutableSequence[int], TUPLE),
    (dict, PAIRS),
    (dict[str, int], PAIRS),
    (Mapping[str, int], PAIRS),
    (set[str], SORTED),
    (frozenset[str], SORTED),
    (bytearray, "use bytes"),
    (tuple, TUPLE),
    (Loose, "use a Message"),
    (Frozen, "use a Message"),
    (Record, "use a Message"),
    (Pair, "use a Message"),
    (object, "use a Message"),
    (Any, "use a Message"),
    (Callable[[], int], "use a Message"),
    (tuple[int, list[str]], TUPLE),
    (tuple[dict[str, int], ...], PAIRS),
    (set[str] | None, SORTED),
    (Optional[tuple[bytearray, ...]], "use bytes"),  # noqa: UP045  # the older spelling is another type
    (Annotated[list[int], "of one"], TUPLE),
    (tuple[Annotated[Loose, 1] | None, ...], "use a Message"),
]


@pytest.mark.parametrize(("kind", "remedy"), MUTABLE, ids=str)
def test_a_field_that_could_change_is_refused_where_it_is_declared(kind: Any, remedy: str) -> None:
    with pytest.raises(Refused, match=r"^Carrier\.value: ") as refused:
        carrier(kind)
    assert remedy in str(refused.value)


def test_every_fault_of_a_class_is_told_at_once() -> None:
    with pytest.raises(Refused) as refused:

        class Basket(Message):
            names: list[str]
            count: int
            prices: dict[str, float]

    assert str(refused.value) == (
        "Basket.names: list[str] can change after it is built; use tuple[..., ...]\n"
        "Basket.prices: dict[str, float] can change after it is built; use a Message, or a tuple of pairs"
    )


def test_no_option_makes_a_message_change() -> None:
    with pytest.raises(Refused, match="Open is a struct that is not frozen"):

        class Open(Message, frozen=False):
            count: int


@pytest.mark.parametrize("kind", [str | bytes, datetime | str, Point | Remote, Literal["a", b"b"]], ids=str)
def test_a_type_that_the_codec_cannot_tell_apart_is_refused_where_it_is_declared(kind: Any) -> None:
    """Otherwise it would work in one process, and fail on the first wire."""
    with pytest.raises(Refused, match=r"^Carrier: "):
        carrier(kind)


def test_nothing_in_a_message_can_be_changed() -> None:
    line = Line((Point(1.0), Point(2.0, 3)))
    with pytest.raises(AttributeError):
        line.ends = ()
    with pytest.raises(AttributeError):
        del line.ends
    with pytest.raises(AttributeError):
        line.more = 1
    with pytest.raises(AttributeError):
        line.ends[0].x = 5.0
    with pytest.raises(TypeError):
        line.ends[0] = Point(1.0)


WRONG: list[tuple[Any, Any, str]] = [
    (int, "1", "Expected `int`, got `str`; got '1'"),
    (int, 1.5, "Expected `int`, got `float`; got 1.5"),
    (int, True, "Expected `int`, got `bool`; got True"),
    (bool, 1, "Expected `bool`, got `int`; got 1"),
    (str, b"a", "Expected `str`"),
    (str, None, "Expected `str`, got `None`; got None"),
    (float, "1.0", "Expected `float`, got `str`"),
    (float, float("nan"), "nan is not a finite float; drop or replace it before it enters"),
    (float, float("inf"), "inf is not a finite float; drop or replace it"),
    (float, 10**30, "can't serialize ints"),
    (int, 1 << 64, "can't serialize ints"),
    (int, -(1 << 63) - 1, "can't serialize ints"),
    (tuple[int, ...], (1, 1 << 64), "can't serialize ints"),
    (str, "half \ud800", "surrogates not allowed"),
    (tuple[str, ...], ("a", "half \ud800"), "surrogates not allowed"),
    (float | None, float("nan"), "nan is not a finite float"),
    (tuple[float, ...], (1.0, float("-inf")), "-inf is not a finite float"),
    (tuple[float | None, ...], (None, float("nan")), "nan is not a finite float"),
    (tuple[int, float], (1, float("nan")), "nan is not a finite float"),
    (Decimal, Decimal("NaN"), "NaN is not a finite Decimal"),
    (Decimal, "NaN", "NaN is not a finite Decimal"),
    (Decimal, Decimal("sNaN"), "sNaN is not a finite Decimal"),
    (Decimal, Decimal("-Infinity"), "-Infinity is not a finite Decimal"),
    (tuple[int, str], (1, "a", 2), "Expected `array` of length 2, got 3"),
    (tuple[int, ...], (1, "a"), "Expected `int`, got `str` - at `$[1]`"),
    (Literal["left", "right"], "up", "Invalid enum value 'up'; got 'up'"),
    (Colour, "green", "Invalid enum value 'green'; got 'green'"),
    (Point, 1, "Expected `object`, got `int`; got 1"),
    (Point, Remote(1.0), "Remote would lose what Point does not have; name its type"),
    (tuple[Point, ...], (Point(1.0), Remote(1.0)), "Remote would lose what"),
    (Message, Point(1.0), "Point would lose what Message does not have"),
    (tuple[int, ...], {1, 2}, "{1, 2} has another order in every process; give a sorted tuple"),
    (tuple[tuple[str, ...], ...], (frozenset(["a"]),), "frozenset({'a'}) has another order"),
    (float, np.float64(1.0), "float64 cannot cross a boundary; use a plain value"),
    (int, object(), "object cannot cross a boundary"),
    (Annotated[int, msgspec.Meta(ge=0)], -1, "Expected `int` >= 0; got -1"),
    (np.ndarray, (1.0, 2.0), "Expected `numpy.ndarray`"),
    (np.ndarray, np.frombuffer(b"12345678", "V8"), "ndarray cannot cross a boundary"),
]


@pytest.mark.parametrize(("kind", "value", "message"), WRONG, ids=str)
def test_what_does_not_fit_is_refused_by_field_and_value(kind: Any, value: Any, message: str) -> None:
    with pytest.raises(Refused) as refused:
        carrier(kind)(value=value)
    assert str(refused.value).startswith("Carrier.value: ")
    assert message in str(refused.value)


def test_a_long_value_is_cut_short() -> None:
    with pytest.raises(Refused) as refused:
        carrier(int)(value="x" * 10_000)
    assert len(str(refused.value)) < 200


PARIS = ZoneInfo("Europe/Paris")
REPAIRED: list[tuple[Any, Any, Any]] = [
    (float, 1, 1.0),
    (float, 1 << 63, float(1 << 63)),
    (float | None, 1, 1.0),
    (tuple[float, ...], (1, 2.5), (1.0, 2.5)),
    (tuple[float, float], [1, 2], (1.0, 2.0)),
    (Decimal, 1, Decimal(1)),
    (Decimal, "1.50", Decimal("1.50")),
    (Colour, "red", Colour.RED),
    (str, Colour.RED, "red"),
    (Point, {"x": 1}, Point(1.0)),
    (
        datetime,
        datetime(2026, 1, 1, 12, tzinfo=ZoneInfo("Europe/Paris")),
        datetime(2026, 1, 1, 11, tzinfo=UTC),
    ),
    (datetime, datetime(2026, 1, 1, fold=1), datetime(2026, 1, 1)),
    (Annotated[int, msgspec.Meta(ge=0)] | None, 1, 1),
    (tuple[Annotated[str, msgspec.Meta(min_length=1)], ...], ("a",), ("a",)),
]


@pytest.mark.parametrize(("kind", "given", "held"), REPAIRED, ids=str)
def test_what_the_codec_would_repair_is_repaired_the_same_way(kind: Any, given: Any, held: Any) -> None:
    made = carrier(kind)(value=given)
    assert repr(made.value) == repr(held)
    assert repr(conform(given, kind, "here")) == repr(held)


def test_finite_numbers_may_add_up_to_infinity() -> None:
    assert carrier(tuple[float, ...])(value=(1e308, 1e308)).value == (1e308, 1e308)


def test_every_way_of_building_checks() -> None:
    point = Point(1.0)
    for build in (
        lambda: msgspec.structs.replace(point, x=float("nan")),
        lambda: msgspec.convert({"x": float("nan")}, Point),
        lambda: codec.decode(msgspec.msgpack.encode({"x": float("nan")}), Point),
    ):
        with pytest.raises(Refused, match=r"Point\.x: nan is not a finite float"):
            build()


def test_arrays_are_read_only() -> None:
    sort, given = carrier(np.ndarray), np.arange(3.0)
    held = sort(value=given).value
    given[0] = 9.0
    assert held.tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(ValueError, match="read-only"):
        held[0] = 1.0
    given.flags.writeable = False
    assert sort(value=given).value is given
    from numpy.typing import NDArray

    assert carrier(NDArray[np.float64] | None)(value=given).value is given


def test_plain_types_are_held_as_they_are() -> None:
    class Day(Message):
        day: date
        hour: time
        length: timedelta
        at: datetime
        side: Literal["left", 2, None]
        shape: Line | Circle | None = None
        pair: tuple[int, str] = (1, "a")
        nothing: tuple[()] = ()

    whole = Day(date(2026, 1, 2), time(3), timedelta(4), datetime(2026, 1, 2, tzinfo=timezone.utc), 2)  # noqa: UP017
    assert codec.decode(codec.encode(whole), Day) == whole
    assert whole.shape is None
    assert whole.pair == (1, "a")


def test_equality_and_hash_are_of_the_fields() -> None:
    assert Point(1.0, 2) == Point(1.0, 2) != Point(1.0, 3)
    assert Point(1.0) != Remote(1.0)
    assert len({Point(1.0, 2), Point(1.0, 2), Point(2.0)}) == 2
    assert {Line((Point(1.0), Point(2.0))): "a"}[Line((Point(1.0), Point(2.0)))] == "a"


def test_messages_are_copied_and_pickled() -> None:
    whole = Line((Point(1.0), Point(2.0, 3)))
    for again in (copy.copy(whole), copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))):
        assert again == whole


class Early(Message):
    later: "Later | None" = None


class Branch(Message):
    leaves: "tuple[Branch, ...]" = ()
    weight: float = 0.0


class Trunk(Message):
    branches: "list[Later]"


class Later(Message):
    count: int


def test_a_name_further_down_is_found_when_the_first_object_is_built() -> None:
    assert Early(Later(1)).later == Later(1)
    assert Branch((Branch(), Branch(weight=1))).leaves[1].weight == 1.0
    with pytest.raises(Refused, match=r"Early\.later: "):
        Early("soon")  # type: ignore[arg-type]
    with pytest.raises(Refused, match=r"Trunk\.branches: .*use tuple"):
        Trunk([Later(1)])


def test_the_key_of_an_event_is_one_of_its_fields() -> None:
    with pytest.raises(Refused, match="Paid: the key `crad` is not one of its fields: card, cents"):

        class Paid(Event, key="crad"):
            card: str
            cents: int


def test_the_entity_of_an_event_is_the_text_of_its_key() -> None:
    class Moved(Event, key="number"):
        number: int

    class Returned(Moved):
        reason: str = ""

    class Noted(Event):
        text: str

    assert (Moved(7).entity, Returned(8).entity, Noted("a").entity) == ("7", "8", "")
    assert Tick("Desk.sweep", 5).entity == "Desk.sweep"


def test_annotations_are_resolved_with_what_they_carry() -> None:
    assert types_of(carrier(Annotated[int, "cents"]))["value"] == Annotated[int, "cents"]


def test_a_class_and_a_function_know_where_they_are_written() -> None:
    lines = Path(__file__).read_text("utf-8").splitlines()
    function, whole = place_of(test_every_way_of_building_checks), place_of(Fieldless)
    assert function.file == whole.file == __file__
    assert lines[function.line - 1].startswith("def test_every_way")
    assert lines[whole.line - 1].startswith("@component")  # where its decorators begin
    assert str(function) == f"{__file__}:{function.line}"


@component
class Fieldless:
    pass


class TooMuch(Fault):
    limit: int
    card: str = "unknown"


class Closed(Fault):
    until: "Later | None" = None


class WayTooMuch(TooMuch):
    by: float


def test_a_fault_has_fields_and_defaults() -> None:
    fault = TooMuch(limit=5)
    assert (fault.limit, fault.card) == (5, "unknown")
    assert TooMuch(limit=5, card="c").card == "c"
    assert str(fault) == "limit=5, card='unknown'"
    assert WayTooMuch(limit=5, by=1).by == 1.0
    assert Closed(until=Later(3)).until == Later(3)
    assert Closed().until is None


def test_faults_are_equal_by_type_and_fields() -> None:
    assert TooMuch(limit=5) == TooMuch(limit=5, card="unknown") != TooMuch(limit=6)
    assert TooMuch(limit=5) != WayTooMuch(limit=5, by=1.0)
    assert len({TooMuch(limit=5), TooMuch(limit=5), TooMuch(limit=6)}) == 2
    assert TooMuch(limit=5) != "limit=5"


def test_a_fault_is_caught_by_its_parent() -> None:
    with pytest.raises(TooMuch) as caught:
        raise WayTooMuch(limit=5, by=1.0)
    assert caught.value.limit == 5


@pytest.mark.parametrize("fields", [{}, {"limit": "5"}, {"limit": 5, "more": 1}, {"limit": 5, "card": None}])
def test_a_fault_with_wrong_fields_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="TooMuch"):
        TooMuch(**fields)


def test_a_fault_with_a_field_that_could_change_is_refused() -> None:
    class Torn(Fault):
        parts: list[str]

    with pytest.raises(Refused, match=r"Torn\.parts: .*use tuple"):
        Torn(parts=["a"])


def test_a_fault_survives_the_wire_copies_and_pickles() -> None:
    fault = WayTooMuch(limit=5, by=0.5)
    body = codec.decode(codec.encode(fault.body), fault_body(WayTooMuch))
    arrived = WayTooMuch(**msgspec.structs.asdict(body))
    for again in (arrived, copy.copy(fault), copy.deepcopy(fault), pickle.loads(pickle.dumps(fault))):
        assert again == fault
        assert (type(again), again.limit, str(again)) == (WayTooMuch, 5, str(fault))
