"""Partitions agree with Kafka's."""

import pytest

from allotrope.storage.partitions import murmur2, partition_of

# From org.apache.kafka.common.utils.UtilsTest.testMurmur2.
KAFKA = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize(("key", "expected"), KAFKA.items())
def test_the_hash_is_that_of_kafka(key: str, expected: int) -> None:
    assert murmur2(key.encode()) == expected % (1 << 32)


def test_partitions_are_filled_evenly() -> None:
    counts = [0] * 16
    for number in range(16_000):
        counts[partition_of(f"card {number}", 16)] += 1
    assert min(counts) > 900
