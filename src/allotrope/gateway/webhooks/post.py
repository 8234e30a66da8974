"""The post: carries one delivery by HTTP and says how it ended. It follows no redirection and reads no answer."""

import socket
from typing import Any

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from allotrope.gateway.webhooks.reach import check_address, is_public
from allotrope.gateway.webhooks.signing import Message, headers
from allotrope.gateway.webhooks.subscriptions import Subscription
from allotrope.kernel.errors import Refused

ANSWER_S = 15.0
MOST_WAIT_S = 3600.0  # that a receiver may ask for


class End(msgspec.Struct, frozen=True):
    """How an attempt ended: its status, 0 without an answer; what went wrong; when to come back."""

    status: int = 0
    reason: str = ""
    retry_s: float = 0.0

    @property
    def good(self) -> bool:
        """Return whether the receiver has it."""
        return 200 <= self.status < 300


class Post:
    """Sends to public addresses, and to private ones where a subscription says so."""

    def __init__(self) -> None:
        """Connect with the first delivery."""
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def send(self, hook: Subscription, sent: Message, now: float) -> End:
        """Send one message, signed for a time in seconds since 1970."""
        try:
            check_address(hook.url, private=hook.private)
            given = headers(sent, hook.secrets_at(now), now)
            asked = self._session(private=hook.private).post(
                hook.url, data=sent.body, headers=given, allow_redirects=False
            )
            async with asked as answer:
                return End(
                    answer.status, f"answered {answer.status}", _retry_s(answer.headers.get("retry-after"))
                )
        except TimeoutError:
            return End(reason=f"no answer within {ANSWER_S:g} s")
        except (aiohttp.ClientError, OSError, Refused, ValueError) as error:
            return End(reason=_said(error))

    async def close(self) -> None:
        """Hang up."""
        for session in self._sessions.values():
            await session.close()

    def _session(self, *, private: bool) -> aiohttp.ClientSession:
        found = self._sessions.get(private)
        if found is None:
            resolver = None if private else _Public()
            found = self._sessions[private] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver),
                timeout=aiohttp.ClientTimeout(total=ANSWER_S),
                headers={"user-agent": "allotrope-webhooks"},
            )
        return found


class _Public(AbstractResolver):
    """Finds public addresses only, so that what was looked at is what is connected to."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        allowed = [each for each in found if is_public(each["host"])]
        if not allowed:
            raise OSError(f"{host} has no public address")
        return allowed

    async def close(self) -> None:
        await self._inner.close()


def _retry_s(given: Any) -> float:
    text = str(given or "")
    return min(float(text), MOST_WAIT_S) if text.isascii() and text.isdigit() else 0.0


def _said(error: Exception) -> str:
    """Return what went wrong without the URL, which may hold a secret."""
    if isinstance(error, Refused):
        return str(error)
    reason = getattr(error, "os_error", error)
    return f"{type(error).__name__}: {getattr(reason, 'strerror', None) or type(reason).__name__}"
