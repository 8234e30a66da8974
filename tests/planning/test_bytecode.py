"""What functions mention: the same on every supported CPython."""

import functools
from typing import Any

import pytest

from allotrope.planning.bytecode import Mention, mentions
from tests.planning.cases import events
from tests.planning.cases.events import Closed


class Subject:
    """Bodies to read; none of them runs."""

    field: Any
    other: Any

    def plain(self) -> None:
        self.field.rank(1)

    def alias(self) -> None:
        field = self.field
        field.rank(1)

    def bound_twice(self, other: Any) -> None:
        field = self.field
        field.rank(1)
        field = other
        field.rate(1)

    def bound_in_a_loop(self, xs: Any) -> Any:
        whole = self
        for x in xs:
            field, size = self.field, whole.other.size
            yield lambda: field.rank(size, x)  # noqa: B023  only read

    def bound_for_a_closure(self, xs: Any) -> Any:
        field = self.field
        return [lambda: field.rank(x) for x in xs]  # noqa: B023  only read

    def passed(self) -> None:
        print(self.field, self.other.size)

    def stored(self, value: int) -> None:
        self.field = value
        del self.other

    async def awaited(self) -> None:
        async with self.field as entered:
            print(await self.other.rank(entered))

    def nested(self, xs: Any) -> Any:
        def inner(x: int) -> Any:
            return lambda: self.field.rank(x)

        return inner, [self.other.rank(x) for x in xs]

    def generated(self, xs: Any) -> Any:
        return {x: self.field.rank(x) for x in xs}, any(self.other.rank(x) for x in xs)

    def beside(self, x: int) -> None:
        print(x, self)

    def under(self, x: int) -> Any:
        return max(self, x)  # type: ignore[call-overload]  # only read

    def shadowed(self) -> Any:
        class Inner:
            def method(self) -> Any:
                return self.hidden  # type: ignore[attr-defined]  # only read

        return Inner, self.field.rank

    def kept(self) -> Any:
        found = self.field.first, self.field.second
        return found

    def decorated(self) -> Any:
        return functools.partial(self.other.rank, self.field)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("plain", {"field.rank"}),
        ("alias", {"field.rank"}),
        ("bound_twice", {"field"}),
        ("bound_in_a_loop", {"field", "other.size"}),
        ("bound_for_a_closure", {"field.rank"}),
        ("passed", {"field", "other.size"}),
        ("stored", {"field", "other"}),
        ("awaited", {"field", "other.rank"}),
        ("nested", {"field.rank", "other.rank"}),
        ("generated", {"field.rank", "other.rank"}),
        ("beside", {""}),
        ("under", {""}),
        ("shadowed", {"field.rank"}),
        ("kept", {"field.first", "field.second"}),
        ("decorated", {"field", "other.rank"}),
    ],
)
def test_what_a_method_uses_of_its_instance(name: str, found: set[str]) -> None:
    own = {".".join(m.names[1:]) for m in mentions(vars(Subject)[name]) if m.own}
    assert own == found


def called(function: Any) -> set[str]:
    return {mention.title.rpartition(".")[2] for mention in mentions(function) if mention.called}


def test_calls_and_raises_are_told_from_other_mentions() -> None:
    def raising(self: Any) -> None:
        try:
            raise Closed(card="")
        except (events.TooLong, KeyError):
            raise events.TooLong(limit=1) from None

    def bare(self: Any) -> None:
        raise Closed  # type: ignore[call-arg]  # only read

    def chained(self: Any, error: Exception) -> None:
        raise Closed from error  # type: ignore[call-arg]  # only read

    def catching(self: Any) -> Any:
        try:
            return isinstance(self, (Closed, str(1)))  # type: ignore[arg-type]  # only read
        except Closed as error:
            return error, print(Closed, str(Closed))

    assert called(raising) == {"Closed", "TooLong"}
    assert called(bare) == {"Closed"}
    assert called(chained) == {"Closed"}
    assert called(catching) == set()


def test_imports_inside_a_function() -> None:
    def importing() -> Any:
        import collections.abc as abc
        from os import path

        from .cases import events as local

        return abc.Sized, path.join("a"), local.Closed(card="")

    titles = [mention.title for mention in mentions(importing, bound=False)]  # type: ignore[arg-type]
    assert "collections.abc.Sized" in titles
    assert any(title.endswith("path.join") for title in titles)
    assert "tests.planning.cases.events.Closed" in titles


def test_a_mention_has_its_line() -> None:
    lines = [mention.line for mention in mentions(Subject.plain) if mention.own]  # type: ignore[arg-type]
    assert lines == [Subject.plain.__code__.co_firstlineno + 1]


def test_nothing_is_run_to_resolve_a_name() -> None:
    class Trap:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    trap = Trap()

    def touching() -> Any:
        return trap.anything.further()

    (found,) = mentions(touching, bound=False)  # type: ignore[arg-type]
    assert isinstance(found, Mention)
    assert found.names == ("trap", "anything", "further")
