"""Partitions: the same key goes to the same partition on every log, Kafka's included."""

from functools import lru_cache

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


def murmur2(data: bytes) -> int:
    """Return the 32-bit murmur2 hash that Kafka's default partitioner uses.

    Written out: the packages on the index are a C build without wheels, or belong to a whole Kafka client.

    Source: MurmurHash2 by Austin Appleby; seed of org.apache.kafka.common.utils.Utils.murmur2.
    """
    length = len(data)
    tail = length & ~3
    value = 0x9747B28C ^ length
    for start in range(0, tail, 4):
        word = int.from_bytes(data[start : start + 4], "little") * _M & _MASK
        value = (value * _M ^ (word ^ word >> 24) * _M) & _MASK
    if tail < length:
        value = (value ^ int.from_bytes(data[tail:], "little")) * _M & _MASK
    value = (value ^ value >> 13) * _M & _MASK
    return value ^ value >> 15


@lru_cache(8_192)  # a hash in Python costs more than a look, and keys come again
def partition_of(key: str, partitions: int) -> int:
    """Return the partition of a key: its hash, less the sign bit as in Kafka, modulo `partitions`."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions
