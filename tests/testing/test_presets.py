import inspect
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from allotrope import compose
from allotrope.kernel.errors import Refused
from allotrope.kernel.messages import Fault
from allotrope.testing.presets import START, Live, every_preset, live
from tests.cli import shop
from tests.evidence.clean.caught import app as caught
from tests.evidence.clean.counter import Clerk as Counter
from tests.evidence.clean.counter import app as counter
from tests.evidence.clean.failing import app as failing
from tests.evidence.clean.hourly import app as hourly
from tests.evidence.clean.till import Broke, Paid, Till
from tests.evidence.clean.till import app as till
from tests.evidence.clean.views import Spending
from tests.evidence.clean.views import app as views
from tests.evidence.planted.asked_twice import app as asked_twice
from tests.evidence.shop import Counted, Noted, Ordered

seen: list[str] = []


def ordered(number: int = 1, customer: str = "ann", amount: float = 2.5) -> Ordered:
    return Ordered(f"o{number}", customer, "apple", amount, START)


@every_preset(counter, seeds=3)
async def test_events_go_in_and_answers_come_out(live: Live) -> None:
    for number in range(4):
        await live.publish(ordered(number))
    await live.publish(ordered(9, "bob"))
    await live.settled()
    assert [counted.number for counted in live.events(Counted)] == [1, 2, 3, 4, 1]
    assert await live.of(Counter).total("ann") == 4


@every_preset(till)
async def test_commands_reply_publish_and_raise_their_faults(live: Live) -> None:
    assert await live.of(Till).pay("ann", 20.0) == Paid("ann", 20.0)
    again = [await live.tell("Till.pay", "ann", 30.0, request="same") for _ in range(2)]
    with pytest.raises(Broke) as broke:
        await live.tell("Till.pay", "ann", 1000.0)
    assert live.events(Paid) == ()  # nobody has waited for them
    await live.settled()
    assert again == [Paid("ann", 30.0)] * 2
    assert (broke.value.short, await live.of(Till).balance("ann")) == (850.0, 150.0)
    assert live.events(Paid) == (Paid("ann", 20.0), Paid("ann", 30.0))


@every_preset(hourly, seeds=2)
async def test_time_passes_when_it_is_told_to(live: Live) -> None:
    await live.publish(ordered())
    await live.at(timedelta(minutes=14))
    assert live.events(Noted) == ()
    await live.at(START + timedelta(minutes=31))
    assert live.events(Noted) == (Noted("o1", "swept"),)
    assert live.now == START + timedelta(minutes=31)
    with pytest.raises(Refused, match="cannot go back"):
        await live.at(START)


@every_preset(views, presets=["loopback"])
async def test_views_can_be_read(live: Live) -> None:
    await live.publish(ordered(amount=2.5))
    await live.settled()
    assert (await live.of(Spending).of("ann", START)).total == 2.5


@every_preset(caught, seeds=2)
async def test_events_are_known_once_all_has_settled(live: Live) -> None:
    await live.publish(ordered())
    assert live.events(Noted) == ()  # under any preset, so that a test which forgets to wait fails under all
    await live.settled()
    assert live.events(Noted) == (Noted("o1", "5"),)


@every_preset(shop.app)
async def test_what_a_handler_raised_is_known_wherever_it_ran(live: Live) -> None:
    await live.publish(shop.Ordered("o1", "ann", Decimal(13), START))
    await live.settled()
    (failure,) = live.failures()
    assert failure.startswith("Till.price on Ordered: Failed: Till.price failed: ValueError")


@every_preset(counter, presets=["monolith"])
async def test_other_parameters_are_fixtures(live: Live, tmp_path: Path) -> None:
    assert tmp_path.name


class TestMethods:
    @every_preset(counter, presets=["monolith"])
    async def test_methods_are_tests_too(self, live: Live) -> None:
        await live.publish(ordered())
        await live.settled()


def test_each_preset_is_a_test_with_its_name(request: pytest.FixtureRequest) -> None:
    ids = [item.name for item in request.session.items if "test_commands_reply" in item.name]
    assert ids in (
        [],
        [f"test_commands_reply_publish_and_raise_their_faults[{p}]" for p in compose.presets()],
    )


def test_a_plain_call_runs_every_preset() -> None:
    cases: list[str] = []

    @every_preset("tests.evidence.clean.counter", seeds=2)
    async def body(live: Live) -> None:
        cases.append(str(live.case))

    body()
    assert cases == [name for preset in compose.presets() for name in (preset, f"{preset}-seed1")]


def test_a_failing_test_says_under_which_preset() -> None:
    @every_preset(counter, presets=["modular-monolith"])
    async def body(live: Live) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no") as failed:
        body()
    assert failed.value.__notes__ == ["under modular-monolith"]


async def test_a_query_that_answers_a_repeat_otherwise_fails_the_test() -> None:
    with pytest.raises(
        AssertionError, match=r"under loopback:\n  Numbers.next, asked twice, answered 1 and then 2"
    ):
        async with live(asked_twice, "loopback") as it:
            await it.publish(ordered())


async def test_a_handler_that_fails_fails_the_test_unless_it_asks() -> None:
    with pytest.raises(AssertionError, match=r"Clerk.note on Ordered: Failed: .*ValueError: no apple left"):
        async with live(failing, "monolith") as it:
            await it.publish(ordered(3))
    async with live(failing, "monolith") as it:
        await it.publish(ordered(3))
        await it.settled()
        assert len(it.failures()) == 1


async def test_no_file_stays_behind() -> None:
    async with live(counter) as it:
        await it.publish(ordered())
        folder = Path(it.host.log.path).parent if hasattr(it.host.log, "path") else None
    assert folder is None or not folder.exists()


def test_it_needs_no_pytest() -> None:
    code = (
        "from allotrope.testing.presets import every_preset, Live\n"
        "import sys; assert 'pytest' not in sys.modules\n"
        "from tests.evidence.clean.counter import app\n"
        "@every_preset(app)\n"
        "async def test(live): print(live.case)\n"
        "test()\n"
    )
    root = Path(__file__).resolve().parent.parent.parent
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True, timeout=60
    )
    assert tuple(found.stdout.split()) == compose.presets()


def test_the_decorated_test_keeps_its_name_and_place() -> None:
    assert test_views_can_be_read.__name__ == "test_views_can_be_read"
    assert inspect.unwrap(test_views_can_be_read).__code__.co_filename == __file__
    assert issubclass(Broke, Fault)
