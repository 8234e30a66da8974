"""What one operation has read decides whether a write of others makes it stale."""

import contextvars

from allotrope.kernel.calls import LAST_ORIGIN, Call, Effect, current


def test_an_effect_is_touched_by_rows_it_read_and_tables_it_scanned() -> None:
    effect = Effect()
    assert not effect.touches({("Desk.cases", "a")})
    effect.reads.add(("Desk.cases", "a"))
    assert effect.touches({("Desk.cases", "b"), ("Desk.cases", "a")})
    assert not effect.touches({("Desk.cases", "b"), ("Other.cases", "a")})
    effect.reads.add(("Desk.notes", None))
    assert effect.touches({("Desk.notes", "anything")})


def test_two_effects_share_nothing() -> None:
    one, other = Effect(), Effect()
    one.writes[("t", "k")] = 1
    one.reads.add(("t", "k"))
    one.tape.append(("t.get", ("k",), 1))
    assert (other.writes, other.reads, other.tape) == ({}, set(), [])
    assert one != Effect()


def test_the_call_in_progress_belongs_to_its_context() -> None:
    assert current.get() is None
    context = contextvars.copy_context()
    context.run(current.set, Call("Desk", "decide"))
    assert current.get() is None
    assert context[current].origin == LAST_ORIGIN
