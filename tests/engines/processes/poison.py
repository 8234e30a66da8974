"""A small app of which some inputs end the process that takes them."""

import asyncio
import contextlib
import os
import signal

import apsw

from allotrope import App, Count, Event, Table, View, command, component, on, query

ENDS = {
    "exit": lambda: os._exit(7),
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "memory": lambda: os.kill(os.getpid(), signal.SIGKILL),  # as the kernel does when there is none left
}


def stopping() -> bool:
    """Stop this process in the middle of a commit, if somebody has asked for that; the first to come takes it."""
    with contextlib.suppress(OSError):
        os.unlink(os.environ.get("STOP_AT_COMMIT", ""))
        os.kill(os.getpid(), signal.SIGSTOP)
    return False


apsw.connection_hooks.append(lambda connection: connection.set_commit_hook(stopping))


class Job(Event, key="name"):
    name: str
    number: int
    does: str = ""


class Done(Event, key="name"):
    name: str
    number: int


class Board(View[Done]):
    done = Count()


@component
class Works:
    done: Table[tuple[int, ...]]

    @on(Job)
    async def work(self, job: Job) -> Done:
        if job.does == "slow":
            await asyncio.sleep(0.02)
        elif job.does:
            ENDS[job.does]()
        await self.done.put(job.name, (*(await self.done.get(job.name) or ()), job.number))
        return Done(job.name, job.number)

    @command(key="name")
    async def order(self, name: str, does: str) -> int:
        if does:
            ENDS[does]()
        return os.getpid()

    @query
    async def numbers(self, name: str) -> tuple[int, ...]:
        return await self.done.get(name) or ()

    @query
    async def end(self, does: str) -> None:
        ENDS[does]()

    @query
    async def stay(self) -> None:
        await asyncio.Event().wait()

    @query
    async def give(self, size: int) -> str:
        return "x" * size

    @query
    async def take(self, text: str) -> int:
        return len(text)

    @query
    async def cancelled(self) -> None:
        raise asyncio.CancelledError


app = App("poison", Board, Works)
