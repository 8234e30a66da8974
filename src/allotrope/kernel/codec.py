"""Bytes for values: msgpack by msgspec, arrays as raw buffers. Types decide; no class name travels, but a version."""

import functools
import sys
from typing import Any

import msgspec

_ARRAY, APART = 1, 2
apart: list[Any] = []  # arrays that lie beside the bytes that are being read
VERSION = "@version"  # the first key of a value whose type is in its second version or a later one
_MARK = msgspec.msgpack.encode(VERSION)


def is_array(kind: Any) -> bool:
    """Return whether a type is numpy's array; told by name, since numpy is not imported here."""
    named = getattr(kind, "__name__", "") in ("ndarray", "NDArray")
    return named and kind.__module__.partition(".")[0] == "numpy"


def pack(value: Any) -> Any:
    """Return an array as msgpack takes it. TypeError for anything else."""
    if is_array(type(value)) and value.dtype.kind not in "OV":  # objects are addresses, records have names
        header = msgspec.msgpack.encode((value.dtype.str, value.shape))
        return msgspec.msgpack.Ext(_ARRAY, len(header).to_bytes(4, "little") + header + value.tobytes())
    raise TypeError(f"{type(value).__name__} cannot cross a boundary; use a plain value, tuple or Message")


def _unpack(code: int, data: memoryview) -> Any:
    start = 4 + int.from_bytes(data[:4], "little")
    dtype, shape = msgspec.msgpack.decode(data[4:start])
    numpy = sys.modules["numpy"]  # whoever declared an array field has imported it
    raw = apart[data[start]] if code == APART else bytes(data[start:])
    return numpy.frombuffer(raw, dtype).reshape(shape)


_encoder = msgspec.msgpack.Encoder(enc_hook=pack)
encode = _encoder.encode
_known = functools.cache(lambda kind: int(getattr(kind, "__version__", 0)))


@functools.cache
def decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    """Return the decoder of one type as it is today; it checks types as it reads."""
    # Of an array `_unpack` has made what it should be; msgspec refuses anything else in its place.
    return msgspec.msgpack.Decoder(kind, ext_hook=_unpack, dec_hook=lambda kind, value: value)


def decode(data: bytes | memoryview, kind: Any = Any) -> Any:
    """Return the value of type `kind` that `data` holds; what an older version of it wrote is upcast.

    Raises msgspec.ValidationError when it holds another, Refused when a newer version wrote it.
    """
    if known := _known(kind):
        end = 12 if data[:1] == b"\xde" else 10  # of the first key, in a map
        marked = data[end - 9 : end] == _MARK and data[0] >> 4 in (0x8, 0xD) and end < len(data)
        if (version := data[end] if marked else 1) != known:
            data = encode(kind.__raised__(decode(data), version))
    return decoder(kind).decode(data)
