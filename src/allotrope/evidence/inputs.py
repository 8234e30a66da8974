"""Inputs of a replay: an ordered list of events, commands and queries, each at its place."""

from datetime import datetime
from typing import Any

import msgspec

from allotrope.kernel.messages import Event


class Publish(msgspec.Struct, frozen=True):
    """An event comes in, at a time."""

    event: Event
    at: datetime


class Tell(msgspec.Struct, frozen=True):
    """A command is given: `Component.operation` with these arguments."""

    title: str
    arguments: tuple[Any, ...]
    at: datetime


class Ask(msgspec.Struct, frozen=True):
    """A query is asked, after all that stands before it has had its effect."""

    title: str
    arguments: tuple[Any, ...] = ()


Given = Publish | Tell | Ask
