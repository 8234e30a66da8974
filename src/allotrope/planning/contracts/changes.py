"""What has changed between two contracts, and whether the apps behind them can stand side by side.

Each change says who may be rolled first. `any order` means that either app reads what the other writes, so a roll
and a roll back lose nothing. Not here: what the bytes look like; `kernel.codec` is the judge, and tests ask it.
"""

import difflib
from collections.abc import Iterable
from typing import Literal

import msgspec

from allotrope.planning.contracts.contract import Contract, Face, Signature
from allotrope.planning.contracts.grammar import Node, parsed
from allotrope.planning.contracts.shapes import Member, Shape

Order = Literal["any order", "provider first", "readers first", "refused"]


class Change(msgspec.Struct, frozen=True, order=True):
    """One difference: where, what, why it matters, and what to do."""

    place: str
    what: str
    order: Order
    why: str
    remedy: str = ""

    @property
    def compatible(self) -> bool:
        """Return whether both may run side by side, rolled in the order that it names."""
        return self.order != "refused"

    def __str__(self) -> str:
        told = f"; {self.remedy}" if self.remedy else ""
        return f"{self.place}: {self.what} ({self.order}): {self.why}{told}"


def compared(old: Contract, new: Contract) -> tuple[Change, ...]:
    """Return what has changed, in the order of places; nothing when the two are equal."""
    if old.hash == new.hash:
        return ()
    comparison = _Comparison(old, new)
    if old.app != new.app:
        why = "a folder and its log belong to one app"
        comparison.note(
            "app", f"`{old.app}` became `{new.app}`", "refused", why, "compare two versions of one app"
        )
    comparison.components()
    comparison.events()
    return tuple(sorted(comparison.found))


def fits(old: Contract, new: Contract, name: str) -> bool:
    """Return whether what either app writes of one shape, the other reads."""
    comparison = _Comparison(old, new)
    return comparison.shape(name, name, whole=True) and all(c.compatible for c in comparison.found)


def told(changes: Iterable[Change]) -> str:
    """Return changes as text, those that are refused first, and a line that counts them."""
    ordered = sorted(changes, key=lambda change: change.compatible)
    refused = sum(not change.compatible for change in ordered)
    count = f"{len(ordered)} change{'s' * (len(ordered) != 1)}"
    end = (
        f"{count}, {refused} refused" if refused else f"{count}, all compatible" if ordered else "no changes"
    )
    return "\n".join([*map(str, ordered), end])


class _Comparison:
    """Two contracts, walked from what others rely on down to the fields; each pair of shapes once."""

    def __init__(self, old: Contract, new: Contract) -> None:
        self.old, self.new = old, new
        self.before, self.after = old.shapes, new.shapes
        self.found: dict[Change, None] = {}
        self.met: set[tuple[str, str, bool]] = set()

    def note(self, place: str, what: str, order: Order, why: str, remedy: str = "") -> None:
        self.found[Change(place, what, order, why, remedy)] = None

    def gone(self, place: str, names: Iterable[str], why: str) -> None:
        """Refuse a removal; `names` are the new ones, one of which may be a new name for it."""
        close = difflib.get_close_matches(place.rpartition(".")[2], sorted(names), n=1, cutoff=0.5)
        renamed = f", or keep the old name beside `{close[0]}`" if close else ""
        self.note(place, "is gone", "refused", why, f"keep it until nobody uses it{renamed}")

    # -- components

    def components(self) -> None:
        added = self.new.components.keys() - self.old.components.keys()
        for name in added:
            self.note(f"component {name}", "is new", "provider first", "nobody calls it yet")
        for name, old in self.old.components.items():
            new = self.new.components.get(name)
            if new is None:
                self.gone(f"component {name}", added, "who calls it finds nobody, and its rows have no owner")
            elif old.hash != new.hash:
                self.operations(name, old, new)
                self.tables(name, old, new)
                self.figures(name, old, new)
                self.streams(name, old, new)

    def operations(self, name: str, old: Face, new: Face) -> None:
        added = new.operations.keys() - old.operations.keys()
        for title in added:
            self.note(f"{name}.{title}", "is new", "provider first", "a caller of it needs it there")
        for title, signature in old.operations.items():
            if title in new.operations:
                self.signature(f"{name}.{title}", signature, new.operations[title])
            else:
                self.gone(f"{name}.{title}", added, "its callers are refused")

    def signature(self, place: str, old: Signature, new: Signature) -> None:
        for what, one, other in (
            ("kind", old.kind, new.kind),
            ("key", *(offer.key if offer.kind == "command" else "" for offer in (old, new))),
            ("way to answer", _way(old), _way(new)),
        ):
            if one != other:
                why = "callers and what is under way count on it"
                self.note(
                    place,
                    f"its {what} `{one or 'none'}` became `{other or 'none'}`",
                    "refused",
                    why,
                    "add an operation beside it",
                )
        if old.kind == new.kind == "query" and old.key != new.key:
            self.note(place, f"its key is {new.key or 'none'} now", "any order", "a canary chooses by it")
        if old.repeatable and not new.repeatable:
            self.note(
                place, "is not repeatable any more", "refused", "callers may ask twice", "add one beside it"
            )
        elif new.repeatable and not old.repeatable:
            self.note(place, "is repeatable now", "provider first", "its callers need not record the answer")
        for kept in sorted({*new.reads} - {*old.reads}):
            why = "a handler of another app must not ask it from then on"
            self.note(place, f"depends on {kept} too", "readers first", why)
        self.faults(place, old, new)
        self.parameters(place, old.parameters, new.parameters)
        self.kind(f"{place}, its answer", old.result, new.result, whole=True)

    def faults(self, place: str, old: Signature, new: Signature) -> None:
        for fault in sorted({*new.faults} - {*old.faults}):
            why = "who does not know it sees Failed instead"
            self.note(place, f"raises {fault} too", "refused", why, "add an operation beside it")
        for fault in sorted({*old.faults} - {*new.faults}):
            why = "an answer that is kept for its request id may be this fault"
            if old.kind == "command":
                self.note(place, f"raises {fault} no more", "refused", why, "keep it among the faults")
            else:
                self.note(place, f"raises {fault} no more", "provider first", "new callers do not know it")
        for fault in sorted({*old.faults} & {*new.faults}):
            self.shape(fault, fault, whole=False)

    def parameters(self, place: str, old: tuple[Member, ...], new: tuple[Member, ...]) -> None:
        for index, one in enumerate(old):
            where = f"{place}({one.name})"
            other = new[index] if index < len(new) else None
            if other is None:
                self.note(where, "is gone", "refused", "callers still give it", "keep it, with a default")
            elif other.name != one.name:
                why = "arguments travel by their place"
                self.note(where, f"`{other.name}` took its place", "refused", why, "add new ones at the end")
            else:
                self.kind(where, one.type, other.type)
                if one.default and not other.default:
                    self.note(
                        where, "has no default any more", "refused", "callers may leave it out", "keep it"
                    )
                elif one.default != other.default:
                    why = "who leaves it out gives what its own contract says"
                    self.note(where, f"its default is {other.default} now", "provider first", why)
        for member in new[len(old) :]:
            where = f"{place}({member.name})"
            if member.default:
                self.note(where, "is new", "provider first", "an app that does not know it passes it over")
            else:
                self.note(
                    where, "is new, without a default", "refused", "callers do not give it", "give it one"
                )

    def tables(self, name: str, old: Face, new: Face) -> None:
        added = new.tables.keys() - old.tables.keys()
        for title, rows in old.tables.items():
            if title in new.tables:
                self.kind(f"{name}.{title}, its rows", rows, new.tables[title], whole=True)
            elif added:
                self.gone(f"{name}.{title}", added, "its rows would stay behind")
            else:
                self.note(f"{name}.{title}", "is gone", "any order", "its rows stay where they are, unread")
        for title in added:
            self.note(f"{name}.{title}", "is new", "any order", "nobody else can name it")

    def figures(self, name: str, old: Face, new: Face) -> None:
        added = new.figures.keys() - old.figures.keys()
        why = "readers count on it"
        for title in added:
            self.note(f"{name}.{title}", "is new", "provider first", "a reader of it needs it there")
        for title, figure in old.figures.items():
            if title not in new.figures:
                self.gone(f"{name}.{title}", added, why)
            elif figure != new.figures[title]:
                what = f"`{figure}` became `{new.figures[title]}`"
                self.note(f"{name}.{title}", what, "refused", why, "add a figure beside it")
        if old.view != new.view:
            self.note(name, f"`{old.view}` became `{new.view}`", "refused", why, "add a view beside it")

    def streams(self, name: str, old: Face, new: Face) -> None:
        for event in sorted({*old.publishes} - {*new.publishes}):
            why = "who takes it gets none any more"
            self.note(name, f"publishes {event} no more", "refused", why, "publish it until nobody takes it")
        for event in sorted({*new.publishes} - {*old.publishes}):
            self.note(name, f"publishes {event} too", "readers first", "who takes it must be there")
        for event in sorted({*old.takes} - {*new.takes}):
            self.note(
                name, f"takes {event} no more", "any order", "drain it first: what is begun is still taken"
            )
        for event in sorted({*new.takes} - {*old.takes}):
            self.note(name, f"takes {event} too", "any order", "it gets what comes from then on")

    # -- types

    def events(self) -> None:
        added = self.new.events.keys() - self.old.events.keys()
        for name in added:
            self.note(
                f"event {name}", "is new", "readers first", "an app that does not know it cannot take it"
            )
        for name in self.old.events:
            if name in self.new.events:
                self.shape(name, name, whole=True)
            else:
                self.gone(f"event {name}", added, "logs hold it")

    def kind(self, place: str, old: str, new: str, *, whole: bool = False) -> None:
        """Compare two types; `whole` when a value of it stands by itself, so that its version counts."""
        if not self.same(parsed(old), parsed(new), whole=whole):
            why = "what one app writes, the other cannot read"
            self.note(
                place, f"`{old}` became `{new}`", "refused", why, "add a new one beside it, or a version"
            )

    def same(self, old: Node, new: Node, *, whole: bool = False) -> bool:
        if old.word != new.word:
            return False
        if old.word == "name":
            if old.text in self.before and new.text in self.after:
                return self.shape(old.text, new.text, whole=whole)
            return old.text == new.text and old.text not in self.before and new.text not in self.after
        if old.word == "union":
            return self.members(list(old.parts), list(new.parts))
        if old.word in ("literal", "array", "limited") and old.text != new.text:
            return False
        pairs = zip(old.parts, new.parts, strict=False)
        return len(old.parts) == len(new.parts) and all(self.same(one, other) for one, other in pairs)

    def members(self, old: list[Node], new: list[Node]) -> bool:
        """Compare the members of two unions: equal spellings first, then what is left, pair by pair."""
        pairs = [(one, one) for one in old if one in new]
        left = [one for one in old if one not in new]
        right = [one for one in new if one not in old]
        pairs += zip(left, right, strict=False)
        return len(left) == len(right) and all(self.same(one, other) for one, other in pairs)

    def shape(self, old_name: str, new_name: str, *, whole: bool) -> bool:
        """Compare two shapes. What differs is noted by its own place; False when they are no pair at all."""
        old, new = self.before[old_name], self.after[new_name]
        if bool(old.values) != bool(new.values):
            return False
        if (old_name, new_name, whole) in self.met:
            return True
        self.met.add((old_name, new_name, whole))
        if old.key != new.key:
            why = "it says what is ordered and kept together"
            self.note(old_name, f"its key `{old.key}` became `{new.key}`", "refused", why, "keep the key")
        one, other = max(old.version, 1), max(new.version, 1)
        if one != other and (whole or min(one, other) > 1 or old.strict or new.strict):
            self.version(old_name, new, (one, other), whole=whole)
            return True
        if old.values:
            self.values(old_name, old, new)
        elif (old.tag, old.tag_field, old.array) != (new.tag, new.tag_field, new.array):
            why = "its bytes are told by it"
            self.note(old_name, "its tag or array_like is another", "refused", why, "keep both as they were")
        else:
            self.fields(old_name, old, new)
        return True

    def version(self, name: str, new: Shape, versions: tuple[int, int], *, whole: bool) -> None:
        old, now = versions
        what = f"version {old} became {now}"
        if not whole:
            why = "inside another value no upcast is applied"
            self.note(name, what, "refused", why, "give the other value a type of its own")
        elif now < old:
            self.note(
                name, what, "refused", "what is kept of the newer one is refused", f"stay at version {old}"
            )
        elif new.oldest > old:
            remedy = f"add the upcasts from version {old} on to `upcasts`"
            self.note(name, what, "refused", "what is kept of the older one is not read", remedy)
        else:
            why = "older ones are upcast; the old app refuses newer ones, so once one is written nobody goes back"
            self.note(name, what, "readers first", why)

    def values(self, name: str, old: Shape, new: Shape) -> None:
        before, after = {*old.values.values()}, {*new.values.values()}
        for value in sorted(before - after, key=repr):
            self.note(f"{name}({value!r})", "is gone", "refused", "it may be in what is kept", "keep it")
        for value in sorted(after - before, key=repr):
            why = "an app that does not know it cannot read it"
            self.note(
                f"{name}({value!r})",
                "is new",
                "refused",
                why,
                "add a field for it, or a version of the event",
            )

    def fields(self, name: str, old: Shape, new: Shape) -> None:
        now = {member.key: member for member in new.fields}
        known = {member.key for member in old.fields}
        added = [member for member in new.fields if member.key not in known]
        if old.array and [m.key for m in new.fields][: len(old.fields)] != [m.key for m in old.fields]:
            why = "its fields travel by their place"
            self.note(name, "its fields have moved", "refused", why, "keep them, and add new ones at the end")
            return
        for member in old.fields:
            if member.key in now:
                self.field(f"{name}.{member.name}", member, now[member.key], new)
            else:
                like = [m.name for m in added if m.type == member.type] or [m.name for m in added]
                close = difflib.get_close_matches(member.name, like, n=1, cutoff=0.4)
                renamed = f"; if it is `{close[0]}` now, keep both for a while" if close else ""
                why = "the other app needs it" + renamed
                self.note(
                    f"{name}.{member.name}",
                    "is gone",
                    "refused",
                    why,
                    "keep it, or raise the event's version",
                )
        for member in added:
            self.added(f"{name}.{member.name}", member, old)

    def added(self, place: str, member: Member, old: Shape) -> None:
        if not member.default:
            why = "what the old app writes does not have it"
            self.note(place, "is new, without a default", "refused", why, "give it a default")
        elif old.strict:
            self.note(place, "is new", "readers first", "the old app refuses what it does not know")
        else:
            self.note(place, "is new", "any order", "left out it has its default, unknown it is passed over")

    def field(self, place: str, old: Member, new: Member, shape: Shape) -> None:
        self.kind(place, old.type, new.type)
        if old.default == new.default:
            return
        if not old.default and not shape.sparse:
            self.note(place, f"has a default now, {new.default}", "any order", "it is always written")
            return
        what = f"its default {old.default or '(none)'} became {new.default or '(none)'}"
        why = "what was written without it would now be another value, or none"
        self.note(place, what, "refused", why, "keep the default, or raise the event's version")


def _way(signature: Signature) -> str:
    return "stream" if signature.streams else "one answer"
