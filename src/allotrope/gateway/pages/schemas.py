"""JSON Schemas of types, so exact that what they allow is taken: sizes of integers, forms of decimals and times.

msgspec's own generator leaves these out, and nothing in its result tells a time from a text. Source: JSON Schema
2020-12.
"""

from typing import Any

import msgspec
from msgspec import inspect as mi

from allotrope.kernel.codec import is_array

Schema = dict[str, Any]
REF = "#/components/schemas/"
_DIGITS = "[0-9]"
_PLAIN: dict[type, Schema] = {
    mi.AnyType: {},
    mi.RawType: {},
    mi.NoneType: {"type": "null"},
    mi.BoolType: {"type": "boolean"},
    mi.BytesType: {
        "type": "string",
        "contentEncoding": "base64",
        "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)?$",
    },
    mi.DateTimeType: {"type": "string", "format": "date-time"},
    mi.DateType: {"type": "string", "format": "date"},
    mi.TimeType: {"type": "string", "format": "time"},
    mi.TimeDeltaType: {
        "type": "string",
        "format": "duration",
        "pattern": rf"^-?P({_DIGITS}{{1,6}}D|T{_DIGITS}{{1,9}}(\.{_DIGITS}{{1,6}})?S)$",
    },
    mi.UUIDType: {"type": "string", "format": "uuid"},
    mi.DecimalType: {
        "type": "string",
        "format": "decimal",
        "pattern": rf"^[+-]?{_DIGITS}{{1,30}}(\.{_DIGITS}{{1,30}})?$",
    },
}
_BOUNDS = {
    "ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf", "min_length": "minLength", "max_length": "maxLength", "pattern": "pattern",
}  # fmt: skip


class Schemas:
    """The schemas of one document; structs and enums are named once, in `components`."""

    def __init__(self) -> None:
        """Begin with none."""
        self.components: dict[str, Schema] = {}
        self._named: dict[Any, str] = {}

    def of(self, kind: Any) -> Schema:
        """Return the schema of an annotation."""
        return self._of(mi.type_info(kind))

    def _of(self, info: mi.Type) -> Schema:
        if isinstance(info, mi.Metadata):
            return {**self._of(info.type), **(info.extra_json_schema or {})}
        if isinstance(info, mi.StructType):
            return self._struct(info)
        if isinstance(info, mi.EnumType):
            values = [member.value for member in info.cls]
            return self._reference(info.cls, lambda: {"enum": sorted(values, key=repr)})
        if isinstance(info, mi.LiteralType):
            return {"enum": sorted(info.values, key=repr)}
        if isinstance(info, mi.UnionType):
            return {"anyOf": [self._of(part) for part in info.types]}
        if isinstance(info, mi.TupleType):
            parts = [self._of(part) for part in info.item_types]
            return {
                "type": "array",
                "prefixItems": parts,
                "minItems": len(parts),
                "maxItems": len(parts),
                "items": False,
            }
        if isinstance(info, mi.CollectionType):
            return {"type": "array", "items": self._of(info.item_type), **_lengths(info, "Items")}
        if isinstance(info, mi.DictType):
            return {
                "type": "object",
                "additionalProperties": self._of(info.value_type),
                **_lengths(info, "Properties"),
            }
        if isinstance(info, mi.CustomType) and is_array(getattr(info.cls, "__origin__", info.cls)):
            return {"type": "array", "description": "numbers, in nested arrays"}
        return self._plain(info)

    def _plain(self, info: mi.Type) -> Schema:
        if isinstance(info, mi.IntType):
            return {"type": "integer", "minimum": -(1 << 63), "maximum": (1 << 64) - 1, **_bounds(info)}
        if isinstance(info, mi.FloatType):
            return {"type": "number", **_bounds(info)}
        if isinstance(info, mi.StrType):
            return {"type": "string", **_bounds(info)}
        return dict(_PLAIN.get(type(info), {}))

    def _struct(self, info: mi.StructType) -> Schema:
        def made() -> Schema:
            tag: Schema = {} if info.tag is None else {str(info.tag_field): {"const": info.tag}}
            fields = {field.encode_name: self._field(field) for field in info.fields}
            required = [*tag, *(field.encode_name for field in info.fields if field.required)]
            closed: Schema = {"additionalProperties": False} if info.forbid_unknown_fields else {}
            if doc := _doc(info.cls):
                closed["description"] = doc
            return {"type": "object", "properties": {**tag, **fields}, "required": required, **closed}

        return self._reference(info.cls, made)

    def _field(self, field: mi.Field) -> Schema:
        schema = self._of(field.type)
        if field.default is msgspec.NODEFAULT or field.default is msgspec.UNSET:
            return schema
        return {**schema, "default": msgspec.to_builtins(field.default, enc_hook=repr)}

    def _reference(self, kind: Any, make: Any) -> Schema:
        """Return a reference to the schema of a class; one that holds itself is made only once."""
        name = self._named.get(kind)
        if name is None:
            name, number = kind.__name__, 2
            while name in self.components:
                name, number = f"{kind.__name__}_{number}", number + 1
            self._named[kind] = name
            self.components[name] = {}
            self.components[name] = make()
        return {"$ref": REF + name}


def _bounds(info: Any) -> Schema:
    found = {word: getattr(info, bound, None) for bound, word in _BOUNDS.items()}
    return {word: value for word, value in found.items() if value is not None}


def _lengths(info: Any, of: str) -> Schema:
    found = {f"min{of}": info.min_length, f"max{of}": info.max_length}
    return {word: value for word, value in found.items() if value is not None}


def _doc(kind: type) -> str:
    """Return a class's own docstring."""
    return (vars(kind).get("__doc__") or "").strip()
