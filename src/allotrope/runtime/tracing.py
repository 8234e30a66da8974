"""Spans and W3C trace context. Whether a trace is kept is decided once, at its root; an unsampled call costs a test.

Not here: where spans are kept (`spans`) and how they are drawn.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from random import Random

import msgspec


class Span(msgspec.Struct, array_like=True, gc=False):
    """One step of a trace. Ids are as in W3C trace context, times are nanoseconds since 1970."""

    trace_id: int
    span_id: int
    parent_id: int
    name: str
    start_ns: int
    end_ns: int = 0
    status: str = "ok"
    origin: int = 0
    path: str = ""
    request: str = ""
    place: str = ""  # the replica of a unit, "" in the host's own process
    links: tuple[str, ...] = ()  # W3C headers of the spans of others that it served, if several

    @property
    def traceparent(self) -> str:
        """Return the W3C header that names this span as the parent."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-01"


class Tracer:
    """Begins and ends spans; keeps the newest in a ring until somebody collects them."""

    def __init__(
        self, per_second: float = 20.0, share: float = 0.0, ring: int = 20_000, place: str = ""
    ) -> None:
        """Sample up to `per_second` new traces a second, and beyond them each with the probability `share`."""
        self.per_second, self.share, self.place = per_second, share, place
        self.finished: deque[Span] = deque(maxlen=ring)
        self.dropped = 0
        self._tokens, self._filled = per_second, time.monotonic()
        self._random = Random()
        self._bits: Callable[[int], int] = self._random.getrandbits

    def root(self, name: str, parent: str = "") -> Span | None:
        """Return the first span here, under the W3C `parent` when one is given; None when it is not sampled."""
        if parent:
            _, trace_id, span_id, flags = parent.split("-")
            if not int(flags, 16) & 1:
                return None
            return Span(int(trace_id, 16), self._bits(64), int(span_id, 16), name, time.time_ns())
        if not self._sampled():
            return None
        return Span(self._bits(128), self._bits(64), 0, name, time.time_ns())

    def child(self, parent: Span, name: str, cause: str = "") -> Span:
        """Return a span below another; below the one that the W3C header `cause` names, when it is given."""
        above = int(cause[36:52], 16) if cause else parent.span_id
        return Span(parent.trace_id, self._bits(64), above, name, time.time_ns())

    def joint(self, name: str, served: Sequence[Span]) -> Span:
        """Return a span that serves several, of traces of their own: it is below none of them, and linked to all."""
        links = tuple(span.traceparent for span in served)
        return Span(self._bits(128), self._bits(64), 0, name, time.time_ns(), links=links)

    def fresh_id(self) -> str:
        """Return a new random id of 128 bits."""
        return f"{self._bits(128):032x}"

    def end(self, span: Span, status: str = "ok", origin: int = 0, path: str = "") -> None:
        """Close a span and keep it, with the event that it served."""
        span.end_ns, span.status, span.origin, span.path = time.time_ns(), status, origin, path
        span.place = self.place
        if len(self.finished) == self.finished.maxlen:
            self.dropped += 1
        self.finished.append(span)

    def _sampled(self) -> bool:
        if self._tokens < 1.0:
            now = time.monotonic()
            self._tokens = min(self.per_second, self._tokens + (now - self._filled) * self.per_second)
            self._filled = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return True
        return self.share > 0.0 and self._random.random() < self.share


def check_traceparent(header: str) -> str:
    """Return `header` when it is a W3C traceparent, else "": a broken header starts a new trace, as W3C asks."""
    parts = header.split("-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2]:
        return ""
    try:
        ids = [int(part, 16) for part in parts[:4]]
    except ValueError:
        return ""
    return "-".join(parts[:4]) if ids[0] != 255 and ids[1] and ids[2] else ""
