"""What the verbs about dead letters share: how letters are named, found and asked for, running or not."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from allotrope import compose
from allotrope.cli.loading import planned
from allotrope.engines.desk import HOST, Desk
from allotrope.engines.processes.control import Nobody, Way
from allotrope.evidence.archive.history import History
from allotrope.kernel import codec
from allotrope.kernel.errors import Refused
from allotrope.runtime.effects.letters import DeadLetter, Found, Search
from allotrope.runtime.options import Options

T = TypeVar("T")
Component = Annotated[str, Parameter(help="Only those of one component.")]
KeyName = Annotated[str | None, Parameter(help="Only those of one key.")]
AppToStart = Annotated[
    str, Parameter(name="--app", help="The app, to be started for this when it does not run.")
]
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def moment(text: str) -> int:
    """Return a time in microseconds since 1970: `2026-01-31T12:00` in UTC, or `90m` ago. Refused when it is none."""
    if ago := _AGO.fullmatch(text):
        return int((time() - float(ago[1]) * _SECONDS[ago[2]]) * 1_000_000)
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(
            f"`{text}` is no time; write 2026-01-31T12:00, in UTC, or 90m for 90 minutes ago"
        ) from None
    return int((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def dead(folder: Path, search: Search) -> Found:
    """Return the letters of the app that runs in a folder, else of the one that has left it."""
    try:
        return asked(folder, "letters", search, Found, 30.0)
    except Nobody:
        pass
    if not folder.is_dir():
        raise Refused(f"{folder}: no such folder; `allotrope run` makes it, `--folder` names another one")
    history = History(folder)
    try:
        return history.letters(search)
    finally:
        history.close()


def asked(folder: Path, method: str, given: Any, kind: type[T], timeout_s: float | None = None) -> T:
    """Return what the app that runs in a folder answers. Raises Nobody when there is none."""
    answer: T = codec.decode(Way(folder, HOST).ask(method, codec.encode(given), timeout_s), kind)
    return answer


def started(folder: Path, app: str, topology: str, work: Callable[[Desk], Awaitable[T]]) -> T:
    """Return what comes of some work with an app that is started for it, without ticks, and stopped again."""
    if not app:
        raise Refused(f"{Way(folder, HOST).nothing}, or name the app with --app, and it is started for this")
    plan = planned(app, topology)
    host = compose.build(plan.app, plan, folder, Options(ticks=False))

    async def done() -> T:
        try:
            await host.start()
            came = await work(Desk(host))
            await host.drain()
            return came
        finally:
            await host.close()

    return asyncio.run(done())


def shown(micros: int) -> str:
    """Return a time as text."""
    return datetime.fromtimestamp(micros / 1e6, UTC).isoformat(sep=" ", timespec="seconds")[:19]


def handler(letter: DeadLetter) -> str:
    """Return how the letter of an event at one handler is named."""
    return f"{letter.name}/{letter.title}"
