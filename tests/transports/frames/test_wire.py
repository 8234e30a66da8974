"""Frames: what is sent is what arrives, however it is cut; what is no frame is refused before it costs memory."""

import contextlib
import random
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allotrope.transports.frames import wire
from allotrope.transports.frames.limits import Limits
from tests.transports.frames.fuzz import fuzzed

Seen = tuple[int, int, int, int, bytes, tuple[bytes, ...]]
LIMITS = Limits(frame_bytes=1 << 20, buffers=4)


class Reader:
    """Feeds a decoder and keeps what it finds."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.found: list[Seen] = []
        self.decoder = wire.Decoder(limits, self._receive)

    def _receive(
        self, kind: int, method: int, ms: int, number: int, payload: bytes, views: wire.Buffers
    ) -> None:
        self.found.append((kind, method, ms, number, payload, tuple(bytes(view) for view in views)))

    def read(self, data: bytes, cuts: random.Random | None = None) -> list[Seen]:
        at = 0
        while at < len(data):
            room = self.decoder.room()
            count = min(len(room), len(data) - at)
            if cuts is not None:
                count = cuts.randint(1, count)
            room[:count] = data[at : at + count]
            self.decoder.feed(count)
            at += count
        return self.found


def written(each: Seen) -> bytes:
    kind, method, ms, number, payload, buffers = each
    views = [memoryview(buffer) for buffer in buffers]
    return b"".join(wire.laden((kind, method, ms, number), payload, views, [-1] * len(views)))


sizes = st.sampled_from([0, 1, 7, 8, 63, 1000, wire.LARGE - 1, wire.LARGE, wire.LARGE + 1, 70_000])
bodies = st.one_of(st.binary(max_size=40), sizes.map(lambda size: bytes(i % 251 for i in range(size))))
frames = st.tuples(
    st.sampled_from(sorted(wire.CARRIES)),
    st.integers(0, (1 << 16) - 1),
    st.integers(0, wire.MAX_MS),
    st.integers(0, (1 << 64) - 1),
    bodies,
    st.lists(bodies, max_size=4).map(tuple),
)


@given(st.lists(frames, max_size=6), st.randoms(use_true_random=False))
@settings(max_examples=150)
def test_what_is_sent_arrives_however_it_is_cut(sent: list[Seen], cuts: random.Random) -> None:
    data = b"".join(map(written, sent))
    assert Reader().read(data) == sent
    assert Reader().read(data, cuts) == sent


def test_a_frame_without_buffers_is_the_same_in_both_spellings() -> None:
    assert wire.frame(wire.CALL, 3, 4, 5, b"abc") == written((wire.CALL, 3, 4, 5, b"abc", ()))


def test_buffers_are_aligned_for_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    found: list[wire.Buffers] = []
    decoder = wire.Decoder(LIMITS, lambda *frame: found.append(frame[5]))
    data = written((wire.CALL, 0, 0, 1, b"p", (b"abc", bytes(80_000))))
    while data:
        room = decoder.room()
        count = min(len(room), len(data))
        room[:count] = data[:count]
        decoder.feed(count)
        data = data[count:]
    large = numpy.frombuffer(found[0][1], dtype=numpy.float64)
    assert large.flags.aligned
    assert not large.flags.writeable


def header(length: int, kind: int = wire.CALL, parts: int = 0) -> bytes:
    return wire.HEADER.pack(length, kind, parts, 0, 0, 1)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (header(5, kind=0), "unknown kind 0"),
        (header(5, kind=wire.KINDS + 1), "unknown kind"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "kind|limit"),
        (header((1 << 20) + 1), "limit 1,048,576"),
        (header(0xFFFFFFFF), "limit 1,048,576"),
        (header(80, parts=6), "6 buffers, limit 4"),
        (header(8, parts=2), "cannot hold 2 buffers"),
        (header(8, kind=wire.PING, parts=1), "cannot hold 1 buffers"),
        (header(8, parts=1) + wire.PART.pack(1, 0), "buffer of 1 bytes in a body of 8"),
        (header(11, parts=1) + wire.PART.pack(3, 0) + b"abc", "buffer of 3 bytes"),
        (header(8, parts=1) + wire.PART.pack(0xFFFFFFFF, 0), "buffer of 4,294,967,295 bytes"),
        (header(8, parts=1) + wire.PART.pack(10, 1), "shared memory"),
    ],
)
def test_what_is_no_frame_is_refused_with_its_reason(data: bytes, why: str) -> None:
    with pytest.raises(wire.Malformed, match=why):
        Reader().read(data)


def test_a_header_alone_costs_no_memory() -> None:
    reader = Reader(Limits(frame_bytes=1 << 30))
    tracemalloc.start()
    with pytest.raises(wire.Malformed):
        reader.read(header((1 << 30) + 1))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@given(st.binary(max_size=400), st.lists(frames, max_size=2), st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_noise_is_frames_or_malformed_and_nothing_else(
    noise: bytes, sound: list[Seen], cuts: random.Random
) -> None:
    data = bytearray(b"".join(map(written, sound))[:5000] + noise)
    for _ in range(cuts.randint(0, 4)):
        if data:
            data[cuts.randrange(len(data))] = cuts.randrange(256)
    with contextlib.suppress(wire.Malformed):
        Reader().read(bytes(data), cuts)


async def test_a_second_of_fuzzing(note: Callable[[str], None]) -> None:
    """`make fuzz-frames` does this for ten minutes."""
    note(await fuzzed(1.0))
