"""The ring: what was written comes out once and in order, or is counted as dropped."""

import os

from hypothesis import given
from hypothesis import strategies as st

from allotrope.sidecars.ring import Reader, Ring


def entry(number: int, size: int) -> bytes:
    return (size + 8).to_bytes(4, "little") + number.to_bytes(4, "little") + bytes(size)


STEPS = st.lists(st.one_of(st.integers(0, 60), st.sampled_from(["take", "confirm", "die"])), max_size=60)


@given(STEPS)
def test_nothing_is_lost_twice_or_out_of_order(steps: list[int | str]) -> None:
    ring = Ring(100)
    reader, sent, got, kept, dropped = Reader(ring.descriptor), [], [], 0, 0
    for number, step in enumerate([*steps, "confirm", "take", "take", "confirm", "take", "take"]):
        if isinstance(step, int):
            before = ring.dropped
            ring.put(entry(number, step))
            if ring.dropped == before:
                sent.append(entry(number, step))
            dropped += ring.dropped - before
        elif step == "take":
            got += [data for _, data in reader.take()]
        elif step == "confirm":
            reader.confirm(reader.position)
            kept = len(got)
        else:  # the next one takes again what this one has not confirmed
            del got[kept:]
            reader = Reader(ring.descriptor)
            reader.take()
    assert got == sent
    assert (ring.passed, ring.dropped) == (len(sent), dropped)
    ring.close()


def test_the_memory_outlives_the_descriptor_and_the_reader() -> None:
    ring = Ring(1 << 12)
    handed = os.dup(ring.descriptor)
    ring.close()
    ring.put(entry(1, 20))
    reader = Reader(handed)
    os.close(handed)
    assert reader.take() == []  # what is there at the first look comes with the second
    assert [data for _, data in reader.take()] == [entry(1, 20)]
    ring.end()
    assert reader.ended


def test_a_full_ring_has_room_again_once_it_is_read() -> None:
    ring = Ring(64)
    reader = Reader(ring.descriptor)
    for number in range(3):
        ring.put(entry(number, 24))  # 32 bytes each
    assert (ring.passed, ring.dropped) == (2, 1)
    reader.take()
    assert len(reader.take()) == 2
    ring.put(entry(3, 24))
    assert ring.dropped == 2  # read is not confirmed
    reader.confirm(reader.position)
    ring.put(entry(4, 24))
    reader.take()
    assert [data for _, data in reader.take()] == [entry(4, 24)]
    ring.close()
