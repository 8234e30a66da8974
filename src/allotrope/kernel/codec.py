"""Bytes for values: msgpack by msgspec, arrays as raw buffers. Types decide; no class name travels."""

import functools
import sys
from typing import Any

import msgspec

_ARRAY = 1


def is_array(kind: Any) -> bool:
    """Return whether a type is numpy's array; told by name, since numpy is not imported here."""
    named = getattr(kind, "__name__", "") in ("ndarray", "NDArray")
    return named and kind.__module__.partition(".")[0] == "numpy"


def _pack(value: Any) -> Any:
    if is_array(type(value)) and value.dtype.kind not in "OV":  # objects are addresses, records have names
        header = msgspec.msgpack.encode((value.dtype.str, value.shape))
        return msgspec.msgpack.Ext(_ARRAY, len(header).to_bytes(4, "little") + header + value.tobytes())
    kind = type(value).__name__
    raise TypeError(f"{kind} cannot cross a boundary; use a plain value, a tuple or a Message")


def _unpack(code: int, data: memoryview) -> Any:
    start = 4 + int.from_bytes(data[:4], "little")
    dtype, shape = msgspec.msgpack.decode(data[4:start])
    numpy = sys.modules["numpy"]  # whoever declared an array field has imported it
    return numpy.frombuffer(bytes(data[start:]), dtype).reshape(shape)


_encoder = msgspec.msgpack.Encoder(enc_hook=_pack)
encode = _encoder.encode


@functools.cache
def decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    """Return the decoder of one type; it checks types as it reads."""
    # Of an array `_unpack` has made what it should be; msgspec refuses anything else in its place.
    return msgspec.msgpack.Decoder(kind, ext_hook=_unpack, dec_hook=lambda kind, value: value)


def decode(data: bytes, kind: Any = Any) -> Any:
    """Return the value of type `kind` that `data` holds; msgspec.ValidationError when it holds another."""
    return decoder(kind).decode(data)
