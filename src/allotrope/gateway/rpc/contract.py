"""The gRPC contract of an app: a service for each component, its messages, and the text of the `.proto`.

Reply messages hold the answer in `value`: its absence is None. Not here: how a call runs (`server`).
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto
from msgspec import inspect as mi

from allotrope.gateway.offers import Offer
from allotrope.gateway.rpc.forms import Forms
from allotrope.gateway.values import shown_array
from allotrope.kernel.codec import is_array
from allotrope.runtime.doors.arrays import array_of

_LABELS = {FieldDescriptorProto.LABEL_REPEATED: "repeated "}


class Method(msgspec.Struct, frozen=True):
    """One offer as an RPC: names of its messages, and their classes."""

    offer: Offer
    asked: str
    answered: str
    asked_class: Any
    answered_class: Any


class Contract:
    """All methods of an app by their gRPC path."""

    def __init__(self, name: str, offers: Iterable[Offer]) -> None:
        """Describe every query, command and event once."""
        self.package = re.sub(r"\W", "_", name)
        self.forms = Forms(self.package)
        self.offers = [
            offer for offer in dict.fromkeys(offers) if offer.kind in ("query", "command", "event")
        ]
        names = {offer.title: self._messages(offer) for offer in self.offers}
        services: dict[str, Any] = {}
        for offer in self.offers:
            service, _, method = offer.title.partition(".")
            if service not in services:
                services[service] = self.forms.file.service.add(name=_capital(service))
            asked, answered = names[offer.title]
            services[service].method.add(
                name=_capital(method), input_type=f".{self.package}.{asked}",
                output_type=f".{self.package}.{answered}", server_streaming=offer.streams,
            )  # fmt: skip
        pool = descriptor_pool.DescriptorPool()  # of its own: two apps in one process may share a name
        pool.Add(self.forms.file)
        self.methods: dict[str, Method] = {}
        for offer in self.offers:
            asked, answered = names[offer.title]
            classes = [
                message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{self.package}.{name}"))
                for name in (asked, answered)
            ]
            self.methods[self.path(offer)] = Method(offer, asked, answered, *classes)

    def path(self, offer: Offer) -> str:
        """Return the path of an offer's method: `/package.Service/Method`."""
        service, _, method = offer.title.partition(".")
        return f"/{self.package}.{_capital(service)}/{_capital(method)}"

    def read(self, method: Method, data: bytes) -> Any:
        """Return what a request asks. google's DecodeError, or ValidationError when it does not fit."""
        message = method.asked_class()
        message.ParseFromString(data)
        given = self.forms.get(method.asked, message)
        return msgspec.convert(given, method.offer.shape, dec_hook=_array, builtin_types=(bytes,))

    def written(self, method: Method, answer: Any) -> bytes:
        """Return a reply's bytes."""
        message = method.answered_class()
        plain = msgspec.to_builtins(answer, builtin_types=(bytes,), enc_hook=shown_array)
        value = {"value": plain} if method.offer.kind != "event" else plain
        self.forms.put(method.answered, message, value)
        data: bytes = message.SerializeToString()
        return data

    def asked(self, method: Method, given: dict[str, Any]) -> bytes:
        """Return a request's bytes: the reverse of `read`, for who asks."""
        message = method.asked_class()
        plain = msgspec.to_builtins(given, builtin_types=(bytes,), enc_hook=shown_array)
        self.forms.put(method.asked, message, plain)
        data: bytes = message.SerializeToString()
        return data

    def answer(self, method: Method, data: bytes) -> Any:
        """Return what a reply to an operation says. google's DecodeError, or ValidationError when it does not fit."""
        assert method.offer.operation is not None
        message = method.answered_class()
        message.ParseFromString(data)
        value = self.forms.get(method.answered, message).get("value")
        return msgspec.convert(
            value, method.offer.operation.result(), dec_hook=_array, builtin_types=(bytes,)
        )

    def _messages(self, offer: Offer) -> tuple[str, str]:
        stem = "".join(map(_capital, offer.title.split(".")))
        info = mi.type_info(offer.shape)
        assert isinstance(info, mi.StructType)
        asked = self.forms.message(self.forms.free(f"{stem}Request"), info.fields)
        reply = self.forms.free(f"{stem}Reply")
        if offer.operation is None:
            return asked, self.forms.message(reply, (mi.Field("origin", "origin", mi.IntType()),))
        kind = mi.type_info(offer.operation.result())
        fields = () if isinstance(kind, mi.NoneType) else (mi.Field("value", "value", kind),)
        return asked, self.forms.message(reply, fields)

    def text(self) -> str:
        """Return the `.proto` file."""
        lines = ['syntax = "proto3";', "", f"package {self.package};"]
        for service in self.forms.file.service:
            lines += ["", f"service {service.name} {{"]
            for rpc in service.method:
                offer = self.methods[f"/{self.package}.{service.name}/{rpc.name}"].offer
                lines += [f"  // {line}".rstrip() for line in offer.says.splitlines()]
                back = "stream " if rpc.server_streaming else ""
                asked, answered = _last(rpc.input_type), _last(rpc.output_type)
                lines.append(f"  rpc {rpc.name}({asked}) returns ({back}{answered});")
            lines.append("}")
        for message in self.forms.file.message_type:
            lines += ["", *self._message(message)]
        return "\n".join(lines) + "\n"

    def _message(self, message: DescriptorProto) -> list[str]:
        lines = [f"message {message.name} {{"]
        for field in message.field:
            label = "optional " if field.proto3_optional else _LABELS.get(field.label, "")
            kind = (
                _last(field.type_name)
                or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
            )
            note = self.forms.notes.get((message.name, field.name), "")
            lines.append(f"  {label}{kind} {field.name} = {field.number};{'  // ' if note else ''}{note}")
        return [*lines, "}"] if message.field else [f"message {message.name} {{}}"]


def _capital(name: str) -> str:
    """Return a name as gRPC's style has it: `take_back` is `TakeBack`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _array(kind: Any, value: Any) -> Any:
    """Return an array from its message, or from nested lists inside JSON."""
    if isinstance(value, dict) and is_array(getattr(kind, "__origin__", kind)):
        import numpy

        found = numpy.frombuffer(value["data"], numpy.dtype(value["dtype"])).reshape(value["shape"])
        return found
    return array_of(kind, value)
