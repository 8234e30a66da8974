"""`allotrope webhooks`: who gets which events, signed. A gateway that runs takes note within a second."""

import asyncio
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from cyclopts import Parameter

from allotrope import compose
from allotrope.cli.loading import Folder, many
from allotrope.compose.gates import NO_CLIENT
from allotrope.gateway.webhooks.signing import message
from allotrope.gateway.webhooks.states import State, forget, keep, kept
from allotrope.gateway.webhooks.subscriptions import Subscription, added, read, removed, rotated
from allotrope.kernel.errors import Refused

_RECEIVER = "check it with any library of Standard Webhooks"


@dataclass(frozen=True)
class Settings:
    """Which subscription, to what."""

    name: Annotated[str, Parameter(help="What the new one is called; by its host without it.")] = ""
    event: Annotated[
        tuple[str, ...], Parameter(help="A type of event that it gets; may be given again.")
    ] = ()
    key: Annotated[str | None, Parameter(help="Events of this key only.")] = None
    tenant: Annotated[str, Parameter(help="Events of this tenant; of those without one otherwise.")] = ""
    allow_private: Annotated[
        bool, Parameter(help="Let it be on this machine or in a private network, and take http.", negative="")
    ] = False
    folder: Folder = compose.FOLDER


def webhooks(
    action: Literal["add", "ls", "rm", "test", "rotate", "enable", "dead"],
    what: str = "",
    /,
    *,
    settings: Annotated[Settings, Parameter(name="*")] = Settings(),
) -> int:
    """Add one by its URL; list all; by its name remove, test, enable one, renew its secret, show what it gave up."""
    folder = settings.folder
    if action == "ls":
        return _list(folder)
    if not what:
        raise Refused(f"`allotrope webhooks {action}` needs a {'URL' if action == 'add' else 'NAME'}")
    if action in ("add", "test") and find_spec("aiohttp") is None:
        raise Refused(NO_CLIENT)
    if action == "add":
        return _add(what, settings)
    hook = read(folder).named(what)
    if action == "test":
        return _test(hook)
    if action == "rm":
        removed(folder, what)
        forget(folder, what)
        print(f"removed {what}")
    elif action == "rotate":
        print(f"{what} is signed with the old secret as well for a day; {_RECEIVER}:", file=sys.stderr)
        print(rotated(folder, what).secret)
    elif action == "enable":
        _enable(folder, what)
    else:
        _dead(folder, what)
    return 0


def _add(url: str, settings: Settings) -> int:
    name = settings.name or (urlsplit(url).hostname or "").replace(".", "-").replace(":", "-")
    wanted = Subscription(
        name, url, settings.event, "", "", settings.key, settings.tenant, settings.allow_private
    )
    hook = added(settings.folder, wanted)
    print(f"{hook.name} gets {', '.join(hook.events)} from now on; its secret, {_RECEIVER}:", file=sys.stderr)
    print(hook.secret)
    return 0


def _list(folder: Path) -> int:
    hooks = read(folder).webhooks
    if not hooks:
        print(f"no webhooks in {folder}", file=sys.stderr)
        return 0
    rows = [("name", "where", "events", "tenant", "sent", "dead", "state")]
    for hook in hooks:
        state = kept(folder, hook.name) or State(hook.made, 0)
        told = (str(state.sent), str(state.buried), _said(state))
        rows.append((hook.name, hook.place, ", ".join(hook.events), hook.tenant, *told))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _said(state: State) -> str:
    if state.disabled:
        return f"disabled: {state.disabled}"
    if state.failures:
        left = max(state.next - time.time(), 0)
        return f"failed {many(state.failures, 'time')}: {state.reason}; again in {left:.0f} s"
    return "ready"


def _test(hook: Subscription) -> int:
    from allotrope.gateway.webhooks.post import Post

    async def send() -> int:
        post, now = Post(), time.time()
        try:
            sent = message(f"msg_test_{int(now)}", "test", int(now * 1_000_000), {"webhook": hook.name})
            end = await post.send(hook, sent, now)
        finally:
            await post.close()
        print(f"{hook.name}: {end.reason}")
        return 0 if end.good else 1

    return asyncio.run(send())


def _enable(folder: Path, name: str) -> None:
    state = kept(folder, name)
    if state is None or not state.disabled:
        raise Refused(f"webhook `{name}` is not disabled")
    state.disabled, state.failures, state.since, state.next = "", 0, 0.0, 0.0
    keep(folder, name, state)
    print(f"{name} goes on from position {state.position} of the log")


def _dead(folder: Path, name: str) -> None:
    state = kept(folder, name)
    for one in state.dead if state is not None else ():
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(one.at))
        print(f"{at}  {one.kind} {one.name} at position {one.position}: {one.reason}")
