"""Messages, events and faults: deeply immutable values, the only things that cross a boundary.

A message is checked once, when it is built: exact types, finite numbers. So every later hop may trust it, and
a call in one process is as strict as one over a wire. Not here: bytes (`codec`).
"""

import contextlib
import functools
import sys
import typing
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, cast, dataclass_transform

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.errors import Refused
from allotrope.kernel.exactness import check, mutable, unfit


@dataclass_transform(field_specifiers=(msgspec.field,), frozen_default=True)
class MessageType(msgspec.StructMeta):
    """Makes message classes; refuses a class whose fields could change after it is built."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], space: dict[str, Any], key: str | None = None, **options: Any
    ) -> Any:
        """Build the class, remember its key and its version, to which `upcasts` lead; refuse mutable fields."""
        if version := options.pop("version", 0):
            space |= {"__version__": version, "__upcasts__": options.pop("upcasts", ())}
            if not 0 < version < 128 or options.keys() & {"tag", "tag_field", "array_like"}:
                raise Refused(f"{name}: a version is a number below 128, without a tag or array_like")
        if version > 1:  # the first one writes none: its bytes are those of a type that never had versions
            options |= {"tag_field": codec.VERSION, "tag": version}
        cls = cast(Any, super().__new__(mcs, name, bases, space, **{"frozen": True, **options}))
        if key is not None:
            cls.__key__ = key
        fields = ", ".join(cls.__struct_fields__)
        if cls.__key__ and cls.__key__ not in cls.__struct_fields__:
            raise Refused(f"{name}: the key `{cls.__key__}` is not one of its fields: {fields}")
        with contextlib.suppress(NameError):  # a class further down: the first object looks again
            _exact(cls)
        return cls


@dataclass_transform(field_specifiers=(msgspec.field,), frozen_default=True)  # mypy sees it only here
class Message(msgspec.Struct, metaclass=MessageType, gc=False):
    """A value that may cross a boundary: typed, immutable through and through."""

    __key__: ClassVar[str] = ""
    __version__: ClassVar[int] = 0  # none: what is read is taken as it is
    __upcasts__: ClassVar[tuple[Callable[[Any], dict[str, Any]], ...]] = ()

    def __post_init__(self) -> None:
        """Hold the types: repair what the codec would (an int given for a float), refuse the rest."""
        cls = type(self)
        if not _exact(cls)(self):
            for field in cls.__struct_fields__:
                whole = conform(getattr(self, field), types_of(cls)[field], f"{cls.__name__}.{field}")
                msgspec.structs.force_setattr(self, field, whole)

    @classmethod
    def __raised__(cls, value: Any, version: int) -> Any:
        """Return the plain fields that another version wrote as those of today's."""
        name, known = cls.__name__, cls.__version__
        if version > known:
            raise Refused(f"{name} of version {version}: {known} is the newest known here; start a newer app")
        for step in range(version, known):
            try:
                value = {**cls.__upcasts__[step - known](value), codec.VERSION: step + 1}
            except Exception as error:
                text = f"{name} {value!r:.80} is of version {step}, and its upcast failed: {error!r}"
                raise Refused(f"{text}; mend it, or add it to `upcasts`") from error
        return value


class Event(Message, version=1):
    """Something that happened. `class Payment(Event, key="card")` names the entity it happened to."""

    @property
    def entity(self) -> str:
        """The key's value as text: the unit of order and of partition."""
        return str(getattr(self, self.__key__)) if self.__key__ else ""


class Tick(Event, key="operation"):
    """A period of an `every` operation has passed, at `at` microseconds since 1970."""

    operation: str
    at: int


@functools.cache
def types_of(cls: type) -> dict[str, Any]:
    """Return the resolved annotations of a class, `Annotated` kept; NameError while a name is missing."""
    return typing.get_type_hints(cls, include_extras=True)


@functools.cache
def _exact(cls: type[Message]) -> Any:
    kinds = {field: types_of(cls)[field] for field in cls.__struct_fields__}
    faults = [f"{cls.__name__}.{field}: {fault}" for field, kind in kinds.items() if (fault := mutable(kind))]
    if faults or (fault := mutable(cls)):
        raise Refused("\n".join(faults) or fault)
    try:
        codec.decoder(cls)
    except TypeError as error:
        raise Refused(f"{cls.__name__}: {error}") from None
    return check(tuple((f"v.{field}", kind) for field, kind in kinds.items()))


def conform(value: Any, kind: Any, place: str) -> Any:
    """Return `value` as the codec would hand it on for the annotation `kind`.

    Raises Refused, naming `place` and the value, when it does not fit or holds NaN or an infinity.
    """
    if check((("v", kind),))(value):
        return value
    try:
        whole = codec.decoder(kind).decode(codec.encode(value))
    except (ValueError, TypeError, OverflowError) as error:
        raise Refused(f"{place}: {error}; got {value!r:.80}") from None
    if flaw := unfit(value, kind) or unfit(whole, kind):
        raise Refused(f"{place}: {flaw}")
    return whole


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Fault(Exception):
    """A declared error with fields; the same type on both sides of any link."""

    body: Message

    def __init__(self, **fields: Any) -> None:
        """Build from the fields that the class annotates; Refused when one is missing or of a wrong type."""
        try:
            self.body = fault_body(type(self))(**fields)
        except TypeError as error:
            raise Refused(f"{type(self).__name__}: {error}") from None
        whole = msgspec.structs.asdict(self.body)
        vars(self).update(whole)
        super().__init__(", ".join(f"{name}={value!r}" for name, value in whole.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), **msgspec.structs.asdict(self.body)), ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.body == self.body

    def __hash__(self) -> int:
        return hash(self.body)


def _fault_body(cls: type[Fault]) -> type[Message]:
    own = typing.get_type_hints(cls, include_extras=True)
    del own["body"]
    defaults = {name: getattr(cls, name) for name in own if hasattr(cls, name)}
    space = {"__annotations__": own, "__module__": cls.__module__, **defaults}
    return cast(type[Message], MessageType(cls.__name__, (Message,), space, kw_only=True))


# The message that carries a fault over a link.
fault_body = cast(Callable[[type[Fault]], type[Message]], functools.cache(_fault_body))


class Place(NamedTuple):
    """Where something is written: a file and a line."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def place_of(thing: Any) -> Place:
    """Return where a class or function is written, from what the interpreter holds in memory."""
    code = getattr(thing, "__code__", None)
    if code is not None:
        return Place(code.co_filename, code.co_firstlineno)
    lines = [m.__code__.co_firstlineno for m in vars(thing).values() if hasattr(m, "__code__")]
    marks = [vars(thing).get(mark) for mark in ("__firstlineno__", "__component__", "__line__")]
    line = next(filter(None, marks), min(lines, default=1))
    return Place(getattr(sys.modules.get(thing.__module__), "__file__", None) or thing.__module__, line)
