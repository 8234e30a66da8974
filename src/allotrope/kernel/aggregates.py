"""What an aggregate of a view must do. The built-in ones are in `modules.features`.

Each answers for a window's values at once (`over`), or keeps a running state for all time (`zero`, `add`,
`merge`, `result`). An expert's own needs those four; its `merge` must be associative and `zero` its identity.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Generic, Self, TypeVar, overload

from allotrope.kernel.errors import Refused

R = TypeVar("R")
Mark = tuple[int, int, str]  # (event time in microseconds, origin, path): the order of events


class Aggregate(Generic[R]):
    """One figure of a view, over events with time in (at - delay - window, at - delay], or over all time."""

    kind: Any = float  # the type of the field's values; the view tells it

    def __init__(
        self, field: str = "", window: timedelta | None = None, delay: timedelta = timedelta(0)
    ) -> None:
        # What a type checker would find.
        if any(isinstance(length, int | float) for length in (window, delay)):
            raise Refused(f"{type(self).__name__}: window and delay are lengths of time, as `days(7)`")
        self.field, self.window, self.delay = field, window, delay
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, reading: None, owner: type) -> Self: ...
    @overload
    def __get__(self, reading: object, owner: type) -> R: ...
    def __get__(self, reading: object | None, owner: type) -> Self | R:
        if reading is None:
            return self
        # A reading's figures are its own attributes, found before this.
        raise AttributeError(f"{owner.__name__}.{self.name} is of one key: read it with `await view.of(key)`")

    def over(self, values: Sequence[Any], first: int, last: int) -> R:
        """Return the figure of `values[first:last]`, in the order of their marks."""
        state = self.zero()
        for value in values[first:last]:
            state = self.add(state, value, (0, 0, ""))
        return self.result(state)

    def zero(self) -> Any:
        """Return the state of no events."""
        raise NotImplementedError

    def add(self, state: Any, value: Any, mark: Mark) -> Any:
        """Return the state with one more value."""
        raise NotImplementedError

    def merge(self, one: Any, other: Any) -> Any:
        """Return the state of the events of both."""
        raise NotImplementedError

    def result(self, state: Any) -> R:
        """Return the figure that a state stands for."""
        raise NotImplementedError
