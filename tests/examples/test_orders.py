"""An order by hand, without a runtime; and live, under every preset, ended in each way that there is."""

from datetime import UTC, datetime, timedelta

from allotrope import Clock, Tick
from allotrope.testing.presets import Live, every_preset
from examples.orders import (
    Answered,
    Bank,
    Cancelled,
    Charge,
    Charged,
    Confirmed,
    Dock,
    Order,
    Placed,
    Refund,
    Refunded,
    Release,
    Released,
    Reserve,
    Reserved,
    Store,
    app,
)  # fmt: skip

CHEAP, DEAR = 1_000, 80_000


class Watch(Clock):
    """A clock that a test moves."""

    time = datetime(2024, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


async def test_an_order_by_hand() -> None:
    watch = Watch()
    order = Order(clock=watch)
    placed = Placed("o1", "cup", 2, CHEAP)
    assert await order.advance(placed) == (Reserve("o1", "cup", 2),)
    assert await order.advance(placed) is None
    assert await order.advance(Reserved("o2")) is None
    assert await order.advance(Reserved("o1")) == (Charge("o1", CHEAP),)
    watch.time += timedelta(minutes=30)
    (overdue,) = await order.expire(Tick("Order.expire", 0)) or ()
    assert (type(overdue).__name__, overdue.entity) == ("OrderOverdue", "o1")
    assert await order.expire(Tick("Order.expire", 0)) is None
    assert await order.advance(overdue) == (Release("o1", "cup", 2),)
    (open_one,) = await order.unfinished()
    assert (open_one.key, open_one.status) == ("o1", "compensating")
    cancelled = await order.advance(Released("o1"))
    assert cancelled == (Cancelled("o1", "charge: not answered in time"),)
    assert await order.unfinished() == ()
    assert await order.advance(Charged("o1", "r1")) == (Refund("o1", "r1"),)
    await order.forget(Tick("Order.forget", 0))
    assert await order.advance(Refunded("o1")) is None
    await order.forget(Tick("Order.forget", 0))
    found = await order.state("o1")
    assert found is not None
    assert [(step.step, step.state) for step in found.steps] == [("reserve", "undone"), ("charge", "undone")]
    watch.time += timedelta(days=1)
    await order.forget(Tick("Order.forget", 0))
    assert await order.state("o1") is None


@every_preset(app)
async def test_orders_end_in_each_way(live: Live) -> None:
    await live.publish(Placed("good", "cup", 2, CHEAP))
    await live.publish(Placed("good", "cup", 2, CHEAP))
    await live.publish(Placed("many", "cup", 200, CHEAP))
    for name in ("yes", "no", "late", "never"):
        await live.publish(Placed(name, "pot", 3, DEAR))
    await live.publish(Answered("yes", "yes"))
    await live.publish(Answered("no", "no"))
    await live.settled()
    assert {one.key for one in await live.of(Order).unfinished()} == {"late", "never"}
    await live.at(timedelta(minutes=31))
    assert await live.of(Order).unfinished() == ()
    await live.publish(Answered("late", "yes"))
    await live.settled()
    assert {event.order for event in live.events(Confirmed)} == {"good", "yes"}
    reasons = {event.order: event.reason for event in live.events(Cancelled)}
    overdue = "charge: not answered in time"
    assert reasons == {
        "many": "18 of cup left, 200 ordered", "no": "a person said no", "late": overdue, "never": overdue,
    }  # fmt: skip
    assert len(live.events(Cancelled)) == 4
    assert await live.of(Dock).sent() == ("good", "yes")
    assert await live.of(Bank).balance() == CHEAP + DEAR
    assert (await live.of(Store).left("cup"), await live.of(Store).left("pot")) == (18, 17)
    late = await live.of(Order).state("late")
    assert late is not None
    assert [step.state for step in late.steps] == ["undone", "undone"]
