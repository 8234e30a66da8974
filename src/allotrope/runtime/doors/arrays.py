"""Arrays as JSON has them: lists in lists. Not here: arrays between processes, which travel as buffers."""

import typing
from typing import Any

from allotrope.kernel.codec import is_array


def array_of(kind: Any, value: Any) -> Any:
    """Return a frozen array from nested lists: the hook for what JSON has no type for."""
    if not is_array(typing.get_origin(kind) or kind):
        raise NotImplementedError(f"{kind} cannot be given as JSON")
    import numpy

    array = numpy.array(value)
    array.setflags(write=False)
    return array


def listed(value: Any) -> Any:
    """Return the nested lists of an array: the hook for what JSON cannot show."""
    if is_array(type(value)):
        return value.tolist()
    raise NotImplementedError(f"{type(value).__name__} cannot be shown as JSON")
