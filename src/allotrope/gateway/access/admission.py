"""Admission: whether a request may come in at all: its proof, its scope, its rate, its place.

All of it is decided before the body is read. Not here: what each part knows (`keys`, `tokens`, `buckets`, `turnstile`).
"""

import time

from allotrope.gateway.access.buckets import Buckets, drawn
from allotrope.gateway.access.callers import Caller, anybody
from allotrope.gateway.access.keys import MARK, Keys
from allotrope.gateway.access.tokens import Denied, Tokens
from allotrope.gateway.access.turnstile import Turnstile
from allotrope.gateway.problems import Problem
from allotrope.kernel.errors import Refused
from allotrope.planning.topology import Gateway

Headers = dict[bytes, bytes]
LOOPBACK = ("127.0.0.1", "::1", "localhost")
LOCAL = (*LOOPBACK, "[::1]")
_MARKED = f"Bearer {MARK}".encode()


class Admission:
    """Who and how much, for one gateway."""

    def __init__(self, settings: Gateway, keys: Keys, tokens: Tokens | None) -> None:
        """Without a file of keys and tokens everybody may come in: the server then binds to this machine only."""
        self.keys, self.tokens = keys, tokens
        self.buckets = Buckets(settings.caller, settings.tenant)
        self.turnstile = Turnstile(settings.inflight, settings.queue)
        self._anybody = anybody() if tokens is None and not keys.there else None
        self._origins = frozenset(settings.cors)
        self._held: dict[str, int] = {}  # requests in flight of tenants that have a limit of their own

    @property
    def closed(self) -> bool:
        """Return whether one has to prove who one is."""
        return self._anybody is None

    def known(self, headers: Headers) -> Caller | None:
        """Return who asks with an API key, None for who may have another proof. Problem 401 for a wrong key."""
        if self._anybody is not None:
            self._check_local(headers)
            return self._anybody
        given = headers.get(b"authorization")
        if given is not None:
            if not given.startswith(_MARKED):
                return None
            key = given[7:]
        elif (key := headers.get(b"x-api-key", b"")) == b"":
            raise denied("this needs an API key or a token")
        caller = self.keys.caller(key.decode("latin-1"))
        if caller is None:
            raise denied("this API key is not known, or was revoked")
        return caller

    async def proved(self, headers: Headers) -> Caller:
        """Return whom a bearer token names. Problem 401 for one that proves nothing."""
        scheme, _, token = headers[b"authorization"].decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or self.tokens is None:
            raise denied("this kind of proof is not taken here")
        try:
            return await self.tokens.caller(token.strip())
        except Denied as error:
            raise denied(f"the token is not taken: {error}", b'Bearer error="invalid_token"') from None

    def permit(self, caller: Caller, title: str, cost: int) -> None:
        """Count a request. Problem 403 when its scopes do not hold `title`, 429 when it asks too much."""
        if not caller.may(title):
            raise Problem(
                403, "scope", f"{caller.name} may not ask for {title}; its key or token lacks the scope"
            )
        self.charge(caller, cost)

    def charge(self, caller: Caller, cost: int) -> None:
        """Take `cost` from what a caller and its tenant may ask. Problem 429 says when to come back."""
        now = time.monotonic()
        if caller.buckets is None:
            caller.buckets = self.buckets.of(caller.name, caller.tenant, now)
        if caller.buckets and cost and (wait := drawn(caller.buckets, cost, now)):
            raise Problem(429, "rate", "more was asked than the limit allows; come back later", wait)

    async def enter(self, caller: Caller) -> None:
        """Return once there is a place in flight. Overloaded when too many wait, Problem 429 when it has its share."""
        quota = self.buckets.quota(caller.tenant)
        if quota.places:
            held = self._held.get(caller.tenant, 0)
            if held >= quota.places:
                raise Problem(429, "rate", f"this tenant has {held} requests in flight, all that it may", 1.0)
            self._held[caller.tenant] = held + 1
        turn = None
        try:
            turn = self.turnstile.enter(caller.tenant, quota.weight)
            if turn is not None:
                await turn
        except BaseException:
            self._let_go(caller)
            if turn is not None:
                self.turnstile.quit(turn)
            raise

    def leave(self, caller: Caller) -> None:
        """Give the place back."""
        self._let_go(caller)
        self.turnstile.leave()

    def _let_go(self, caller: Caller) -> None:
        held = self._held.get(caller.tenant)
        if held is not None:
            if held > 1:
                self._held[caller.tenant] = held - 1
            else:
                del self._held[caller.tenant]

    def refresh(self) -> None:
        """Take note of keys that were made or revoked. The first one closes the door, and nothing opens it again."""
        if self._anybody is not None and self.keys.there:
            self._anybody = None  # before it is read: one that cannot be is no reason to let everybody in
        self.keys.refresh()

    def _check_local(self, headers: Headers) -> None:
        """Refuse what a page of another site has sent: without keys, only its being here speaks for a caller."""
        host = headers.get(b"host", b"").decode("latin-1")
        if _name(host) not in LOCAL:
            raise Problem(
                403, "host", "without keys this answers to localhost only; make one: allotrope keys new"
            )
        origin = headers.get(b"origin")
        if origin is not None:
            text = origin.decode("latin-1")
            if text not in self._origins and text.partition("://")[2] != host:
                raise Problem(
                    403, "origin", "pages of other sites may not call this; see cors in the topology"
                )


def check_reach(host: str, *, closed: bool) -> None:
    """Refuse to listen beyond this machine where nobody has to prove who they are."""
    if not closed and host not in LOOPBACK:
        raise Refused(
            f"--host {host}: others could reach this, and it has no keys; make one with `allotrope keys new NAME`, "
            "or set [gateway.bearer] in the topology"
        )


def _name(host: str) -> str:
    """Return a Host header without its port."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def denied(text: str, challenge: bytes = b"Bearer") -> Problem:
    """Return the problem of who has not proved who it is."""
    found = Problem(401, "denied", text)
    found.headers = ((b"www-authenticate", challenge),)
    return found
