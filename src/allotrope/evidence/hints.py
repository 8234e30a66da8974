"""Hints: what usually causes a difference, and the remedy. Not here: whether there is one (`compare`)."""

from allotrope.evidence.check import NOTHING, Divergence
from allotrope.evidence.contrast import Symptom

ALONE = {
    NOTHING: "a second run of the same",
    "hashes": "another hash seed",
    "instances": "two instances",
    "repeats": "a delivery that is run twice, as after a crash",
    "doubles": "an input that is sent twice",
    "order": "another order of work",
    "kill": "a kill -9 and a restart",
}

_SYMPTOMS: dict[Symptom, tuple[str, str]] = {
    "clock": (
        "The wall clock is another one in every run and replay.",
        "Take the event's own time, or `clock: Clock`: it says when the input was accepted.",
    ),
    "chance": (
        "Chance that nobody has seeded is another one in every run and replay.",
        "Use `chance: Chance`: `self.chance.source()` is a random.Random seeded by the input.",
    ),
    "machine": (
        "It is not the same in two processes, so the place would decide the answer.",
        'Make it a setting: a plain field, `region: str = "eu"`, which a topology can set.',
    ),
    "law": (
        "Its events arrive in any order and are merged in any grouping; floats added one by one notice.",
        "Use Sum, Mean, Min, Max or Last, or keep an exact state: an int, a Fraction, the largest mark.",
    ),
    "read": (
        "Order is kept within a key, and this row is written for another one: whoever comes first wins.",
        "Let the value travel in the event, or read a View: it answers as of the input.",
    ),
    "twice": (
        "A query only reads, so it may be repeated; this one changes something, or asks the world outside.",
        "Change state in a command or handler; for an outside answer, declare @query(repeatable=False).",
    ),
    "load": (
        "Time ran out, or every place was taken: how busy the machine was has decided, not the input.",
        "Let such an error pass: then it is tried again. Or widen deadline_s, concurrency, queue of [component].",
    ),
    "rounding": (
        "Floats were added in another order.",
        "Add them with math.fsum, or with Sum or Mean of a View, which are exact.",
    ),
}
_RUN_TO_RUN = (
    "It differs although nothing has changed: a time, chance, id(), hash() or a process number gets in.",
    "Take times from the event or a Clock, chance from a Chance, and ids from the event.",
)
_HASHES = (
    "A set, or hash(), decides.",
    "Sort what comes out of a set: tuple(sorted(names)); never publish hash().",
)
_MEMORY = (
    "Something is remembered outside the transaction: in an attribute, a cached_property, a global.",
    "Keep it in a Table, or derive it in a View; return events at once instead of collecting them.",
)
_BATCH = (
    "The answer to one value depends on its neighbours in the batch.",
    "Compute each answer from its own value alone; what belongs to all is a setting.",
)
_GATHER = (
    "What was asked at the same time is collected in the order of the answers.",
    "Use what asyncio.gather returns: it is in the order asked.",
)
_ORDER = (
    "Order is kept within a key only; what two keys share depends on who comes first.",
    "Publish an event whose key is what they share, or read a View: it answers as of the input.",
)
_TOGETHER = (
    "It shows only when several disturbances come together; nearly always something is remembered in memory.",
    "Keep it in a Table or a View; a copy of a reading or a model must name the version that it is of.",
)
_LINK = (
    "It crosses a boundary as bytes there, and comes out as another object.",
    "Compare messages by value, never by identity; keep no reference to what was handed over.",
)
_ALIKE = (
    "Set the same in both: a setting is a part of the question, and only the layout may differ in a check."
)


def hint(place: Divergence, *, batched: bool = False) -> tuple[str, str]:
    """Return what usually causes such a difference, and what to do about it, a sentence each."""
    symptom, causes = place.first.symptom, set(place.causes)
    if place.settings:
        return f"The topologies set something else: {'; '.join(place.settings)}.", _ALIKE
    if symptom in ("clock", "chance", "machine", "law", "read", "twice", "load"):
        return _SYMPTOMS[symptom]
    if NOTHING in causes:
        return _RUN_TO_RUN
    if "hashes" in causes:
        return _HASHES
    if symptom == "rounding":
        return _SYMPTOMS[symptom]
    if causes & {"instances", "repeats", "doubles", "kill"}:
        return _MEMORY
    if "order" in causes:
        return _BATCH if batched else _GATHER if symptom == "order" else _ORDER
    return _LINK if causes else _TOGETHER
