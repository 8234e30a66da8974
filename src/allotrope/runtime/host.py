"""The host: makes a plan live. Takes inputs, gives each its origin, and has its site run what they lead to, in order.

Not here: one effect (`effects`), where it runs (`sites`), who waits for whom (`flows`), the path of a query
(`dispatch`), which files are opened (`compose`).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, cast

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.errors import Lost, Overloaded, Refused
from allotrope.kernel.messages import Event, Tick
from allotrope.kernel.operations import Operation
from allotrope.planning.plans import Plan
from allotrope.runtime.doors.graces import WORK_S, cancelled
from allotrope.runtime.effects.settling import settled
from allotrope.runtime.flows import Flights, Flow
from allotrope.runtime.intake.backlog import Backlog
from allotrope.runtime.intake.entrance import Beyond, Entrance
from allotrope.runtime.intake.inputs import Inputs, Receipt
from allotrope.runtime.intake.recovery import recover
from allotrope.runtime.intake.turns import Turn, Turns
from allotrope.runtime.options import Input, Options, patience
from allotrope.runtime.routes import Delivery, Route, key_of
from allotrope.runtime.sites.site import Joint, Site
from allotrope.runtime.telemetry.sinks import Collector
from allotrope.runtime.wiring import Ask
from allotrope.storage.ports import Entry, Envelope, Log

C = TypeVar("C")
log = logging.getLogger("allotrope")
_PLAIN = Input()


class Host:
    """A live app. `await start()`, then `publish` events, and call components through `of`."""

    def __init__(self, plan: Plan, log: Log, site: Site, options: Options | None = None) -> None:
        """Take the parts; nothing runs before `start`."""
        self.plan, self.options = plan, options or Options()
        self.log, self.site = log, site
        self.durable = plan.topology.durability != "none"
        self.chain = plan.topology.reply == "chain"
        self.inline = self.chain and not self.durable  # the caller's own task runs the chain
        self.services, self.wiring, self.routes = site.services, site.wiring, site.routes
        self.flights = Flights(plan.topology.window)
        accepts = self.durable and plan.topology.reply == "accepted"
        self.turns = Turns(self.flights, self._run) if accepts else None
        joint = self.joint = Joint(log, self.flights, self.spawn)
        site.join(joint)
        self._slow = site.covered is not None or self.options.disturbance is not None
        self.backlog = Backlog(joint, site, plan.topology.log.backlog, self._begin)
        beyond = Beyond(self._show, self._begin, lambda: self.stopped)
        self.entrance = Entrance(joint, site, beyond, self.backlog if accepts else None)
        self.inputs = Inputs(plan, self.flights, site, self.entrance, self._finished)
        self.collector = Collector(self.services.tracer, self.options.sinks) if self.options.sinks else None
        self._unready = Refused(f"{plan.app.name} is not started; `await host.start()` first")
        self.stopped: BaseException | None = self._unready  # why nothing is taken, now or any more
        self.watch: Callable[[Envelope, Any], None] | None = None  # sees each event
        self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._clocks: list[asyncio.Task[Any]] = []
        self._until_finish = 0

    # -- life

    async def start(self) -> None:
        """Take up what a former life left unfinished, then the ticks of the clock."""
        await self.log.open()
        if self.durable:
            await recover(self.joint, self.site, self.backlog, self.fly, self.turns)
        self.options.started()
        if self.stopped is self._unready:
            self.stopped = None
        if self.collector is not None:
            self.spawn(self.collector.run())
        if self.options.ticks:
            for component in self.plan.app.components.values():
                for operation in component.operations:
                    if operation.period is not None:
                        tick = self._tick(operation, operation.period // _MICROSECOND)
                        self._clocks.append(self.spawn(tick))

    async def settled(self, origin: int | None = None, deadline_s: float | None = None) -> None:
        """Return once every accepted input, or that of one origin, has had all its effects.

        That takes as long as a unit is away that they need. Lost, with what is waited for, at the deadline.
        """
        flow = None if origin is None else self.flights.flow(origin)
        if flow is not None and deadline_s is None:
            await flow.ended()
        elif origin is None or flow is not None:
            await settled(self.flights, self.site, deadline_s, flow)

    async def drain(self, grace_s: float = WORK_S) -> bool:
        """Take no more, finish what was accepted, close. Return whether all was finished within `grace_s`.

        What is not finished is not lost where the topology is durable: the next start takes it up.
        """
        self.stopped = self.stopped or Overloaded(
            f"{self.plan.app.name} is shutting down; send it again later", 1.0
        )
        for task in self._clocks:
            task.cancel()
        finished = False
        try:
            await self.settled(deadline_s=grace_s)
            finished = True
        except Lost as error:
            log.warning("%s: %s", self.plan.app.name, error)
        finally:
            await self.close()
        return finished

    async def close(self) -> None:
        """Stop at once and release the files; as much is kept as the durability promises. Twice is no fault."""
        if self._closed:
            return
        self._closed = True
        self.stopped = self.stopped or Refused(f"{self.plan.app.name} is closed")
        await cancelled(self._tasks)
        self.entrance.close(self.stopped)
        self.flights.abandon(self.stopped)
        if self.collector is not None:
            await self.collector.close()
        await self.site.close()
        await self.log.close()

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        """Run `work` beside everything else; a failure that nobody else sees stops the host."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.stop(error)

    def stop(self, error: BaseException) -> None:
        """Refuse everything from now on: a store has failed, and to go on could lose what was acknowledged."""
        self.stopped = self.stopped or error
        self.flights.abandon(error)

    # -- the ways in

    def of(self, kind: type[C]) -> C:
        """Return the app's component of a class, to be called from outside: its queries and commands."""
        component = self.plan.app.provider(kind)
        if component is None:
            raise Refused(f"app {self.plan.app.name} has no component {kind.__name__}")
        if component.is_view:
            return cast(C, self.wiring.view(component.name))
        return cast(C, self.wiring.proxy(component, "", self._told))

    async def publish(self, event: Event, given: Input = _PLAIN) -> int:
        """Accept an event and return its origin. Once this returns the event is kept as the durability says.

        Where the topology replies after the chain, all its effects have been committed as well.
        """
        if given.deadline_s is not None:
            async with patience(given.deadline_s, type(event).__name__):
                return await self.publish(event, msgspec.structs.replace(given, deadline_s=None))
        receipt = await self.inputs.event(event, given)
        if self.chain:
            await self.inputs.published(receipt)
        return receipt.origin

    async def tell(self, title: str, arguments: tuple[Any, ...], given: Input = _PLAIN) -> Any:
        """Run the command `Component.operation` and return its reply; raise its declared fault, or Failed.

        The same request id gives the same end, without a second effect; with other arguments it is Refused. Lost when
        the deadline cuts the waiting: the command itself is never cut.
        """
        if given.deadline_s is not None:
            async with patience(given.deadline_s, title):
                return await self.tell(title, arguments, msgspec.structs.replace(given, deadline_s=None))
        receipt = await self.inputs.command(title, arguments, given)
        await self.inputs.replied(receipt)
        return await self.inputs.answer(receipt)

    def let_go(self, receipt: Receipt) -> None:
        """Have an input go on whether anybody waits for it or not."""
        flow = receipt.flow
        if self.inline and flow is not None and not flow.flying:
            flow.flying = True
            self.spawn(self.fly(flow))

    def _told(self, operation: Operation) -> Ask:
        async def tell(*given: Any, **named: Any) -> Any:
            return await self.tell(
                operation.title, self.wiring.door(operation.title, "").arguments(given, named)
            )

        return tell

    # -- from input to flow

    def _begin(self, entry: Entry, value: Any, owed: list[Route] | None = None) -> Flow:
        """Return the new flow of an input: its event goes to those who take it, or to whom it is owed."""
        envelope = entry.envelope
        flow = self.flights.begin(envelope.origin)
        flow.position, flow.at = entry.position, envelope.at
        flow.trace = self.services.tracer.root(envelope.kind, envelope.trace)
        if flow.trace is not None:
            flow.trace.request = envelope.request
        if owed is None:
            self._emit(flow, envelope, value, entry.position)
        else:  # the views have seen it
            self._give(flow, envelope, value, entry.position, owed)
        if self.turns is not None:
            self.turns.start()
            if not flow.open:
                self._end(flow)
        elif not self.inline:
            if flow.next() is None:  # nobody takes it
                self._end(flow)
            else:
                self.spawn(self.fly(flow))
        return flow

    def _show(self, envelope: Envelope, value: Any) -> None:
        """Show an input to the views that begins later."""
        for view in self.routes.to(envelope)[0]:
            view.add(value, envelope.origin, envelope.path)
        if self.site.show is not None:
            self.site.show(envelope, value)

    def _emit(self, flow: Flow, envelope: Envelope, value: Any, position: int) -> None:
        """Show an event to the views, and put a delivery to each of its handlers on the flow's list."""
        if self.watch is not None:
            self.watch(envelope, value)
        views, routes = self.routes.to(envelope)
        for view in views:
            view.add(value, flow.origin, envelope.path)
        if self.site.show is not None:
            self.site.show(envelope, value)
        if routes:
            self._give(flow, envelope, value, position, routes)

    def _give(self, flow: Flow, envelope: Envelope, value: Any, position: int, routes: list[Route]) -> None:
        key = key_of(envelope)
        for route in routes:
            if self.turns is None:
                flow.push(Delivery(route, envelope, value, key, position))
            else:
                self.turns.add(flow, Delivery(route, envelope, value, key, position))

    async def fly(self, flow: Flow) -> None:
        """Run a flow to its end."""
        flights, take, first = self.flights, self.site.take, False  # the oldest stays that: origins rise
        while (head := flow.next()) is not None:
            if flow.lost is not None:
                flow.check()
            if not first:
                first = flights.floor() == flow.origin
                if not first and flights.blocking(flow, head) is not None:
                    await flights.turn(flow, head)
            if self._slow:
                await self._ready(flow, head)
            mark = self.backlog.mark
            for envelope, event in await take(flow, head):
                self._emit(flow, envelope, event, mark)
            flow.advance()
        self._end(flow)

    def _run(self, turn: Turn) -> None:
        """Have one delivery run, unless it has to wait: then this is called again once it need not."""
        assert self.turns is not None
        self.backlog.resumed(turn)
        if self.turns.hold(turn):
            self.backlog.lay(turn)
        else:
            self.spawn(self._take_turn(turn, self.turns))

    async def _take_turn(self, turn: Turn, turns: Turns) -> None:
        if turn.away:
            await self.backlog.load(turn)
        turn.flow.check()
        if self._slow:
            await self._ready(turn.flow, turn.delivery)
        mark = self.backlog.mark  # what this publishes goes into the log behind it
        for envelope, event in await self.site.take(turn.flow, turn.delivery):
            self._emit(turn.flow, envelope, event, mark)
        if turns.done(turn):
            self._end(turn.flow)
        turns.start()

    async def _ready(self, flow: Flow, delivery: Delivery) -> None:
        if (covered := self.site.covered) is not None:
            await covered(flow, delivery)
        if (disturbance := self.options.disturbance) is not None:
            await disturbance.pause(delivery.route.title)

    def _end(self, flow: Flow) -> None:
        if flow.trace is not None:
            self.services.tracer.end(flow.trace, origin=flow.origin)
        self.flights.end(flow)
        self._finish()

    @property
    def waiting(self) -> int:
        """Return how many accepted inputs wait for room, in the log or with all that they have led to."""
        return self.flights.waiting + (0 if self.turns is None else self.turns.aside)

    def _finish(self) -> None:
        """Move the floor, now and then: it is a hint that shortens the next start."""
        if self.flights.lost is not None:
            return  # what was given up is not finished
        self._until_finish -= 1
        if self._until_finish <= 0 or (self.durable and not self.flights.flows):
            self._until_finish = 64
            floor = self.flights.floor()
            self.site.finish(floor)
            self.log.acknowledge(self.plan.app.name, floor)

    async def _finished(self, flow: Flow) -> None:
        if flow.flying or not self.inline:  # a repeated request waits for the first one's flow
            await flow.ended()
            return
        flow.flying = True
        try:
            await self.fly(flow)
        except asyncio.CancelledError:  # the caller has gone, the input stays accepted
            if flow.origin in self.flights.flows:
                self.spawn(self.fly(flow))
            raise
        except BaseException as error:
            self.stop(error)
            raise

    async def _tick(self, operation: Operation, period: int) -> None:
        """Publish a tick at each multiple of the period; its request id keeps a second one out."""
        while True:
            due = (self.options.now() // period + 1) * period
            await asyncio.sleep((due - self.options.now()) / 1_000_000)
            while self.stopped is None:
                try:
                    await self.tick(operation.title, due)
                    break
                except Refused as error:  # a full disk, say: the tick is late, not lost
                    await asyncio.sleep(error.retry_after_s or 1.0)

    async def tick(self, title: str, at: int) -> None:
        """Accept the tick of an `every` operation at `at` microseconds since 1970."""
        envelope = Envelope("Tick", title, b"", time.time_ns() // 1000, 0, "", f"{title}@{at}", time=at)
        tick = Tick(title, at)
        envelope = msgspec.structs.replace(envelope, body=codec.encode(tick))
        flow, _ = await self.entrance.accept(envelope, tick)
        if self.chain and flow is not None:
            await self._finished(flow)


_MICROSECOND = timedelta(microseconds=1)
