"""Bearer tokens: JSON Web Tokens of one issuer, checked against its public keys, which come from a file or a URL.

Keys are read again when they are old, and at once, but rarely, when a token names one that is not known. Not here:
how a token is got; symmetric algorithms, which would make a public key a secret.
Source: RFC 7519, RFC 7517, RFC 8725, OpenID Connect Discovery 1.0.
"""

import asyncio
import hashlib
import logging
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from allotrope.gateway.access.callers import Caller
from allotrope.kernel.errors import Overloaded
from allotrope.planning.topology import Bearer

log = logging.getLogger("allotrope.gateway")
FRESH_S, RETRY_S, SKEW_S = 600.0, 10.0, 30.0
MOST = 10_000  # tokens whose check is remembered
CHECKED_S = 60.0  # for how long
LARGEST = 1 << 20  # bytes of a key set
_DISCOVERY = "/.well-known/openid-configuration"


class Denied(Exception):
    """The token proves nothing; the text may be shown."""


class Tokens:
    """Checks the tokens of one issuer."""

    def __init__(self, bearer: Bearer) -> None:
        """Read no keys yet: the issuer may start later than this."""
        self.bearer = bearer
        self._keys: dict[str, Any] = {}
        self._read_at = self._tried_at = float("-inf")
        self._checked: dict[bytes, tuple[float, Caller]] = {}
        self._callers: dict[tuple[str, str, tuple[str, ...]], Caller] = {}
        self._reading = asyncio.Lock()

    async def caller(self, token: str) -> Caller:
        """Return whom a token names. Denied says why it does not count; Overloaded that it cannot be checked."""
        mark = hashlib.sha256(token.encode()).digest()
        known = self._checked.get(mark)
        if known is not None and known[0] > time.time():
            return known[1]
        claims = await self._claims(token)
        caller = self._named(claims)
        if len(self._checked) >= MOST:
            self._checked.clear()
        self._checked[mark] = (min(claims["exp"] + SKEW_S, time.time() + CHECKED_S), caller)
        return caller

    async def _claims(self, token: str) -> dict[str, Any]:
        import jwt  # with its cryptography it takes 100 ms to load; a gateway without tokens never does

        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in self.bearer.algorithms:
                raise Denied(f"tokens signed by {header.get('alg')!s:.20} are not taken here")
            key = await self._key(str(header.get("kid", "")))
            claims: dict[str, Any] = jwt.decode(
                token, key, algorithms=[header["alg"]], audience=self.bearer.audience, issuer=self.bearer.issuer,
                leeway=SKEW_S, options={"require": ["exp", "iss", "aud", "sub"]},
            )  # fmt: skip
        except jwt.PyJWTError as error:
            raise Denied(str(error)) from None
        return claims

    def _named(self, claims: dict[str, Any]) -> Caller:
        scopes = claims.get(self.bearer.scope_claim, ())
        if isinstance(scopes, str):
            scopes = scopes.split()
        if not isinstance(scopes, list | tuple) or not all(isinstance(scope, str) for scope in scopes):
            raise Denied(f"the claim {self.bearer.scope_claim} is no list of scopes")
        tenant = claims.get(self.bearer.tenant_claim, claims["sub"])
        if not isinstance(tenant, str) or not tenant:
            raise Denied(f"the claim {self.bearer.tenant_claim} is no text")
        mark = (claims["sub"], tenant, tuple(scopes))
        if len(self._callers) >= MOST:
            self._callers.clear()
        return self._callers.setdefault(mark, Caller(*mark))

    async def _key(self, name: str) -> Any:
        if time.monotonic() - self._read_at > FRESH_S or name not in self._keys:
            async with self._reading:
                await self._refresh(name)
        if name in self._keys:
            return self._keys[name]
        if not name and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        raise Denied("it was signed with a key that is not known here")

    async def _refresh(self, name: str) -> None:
        now = time.monotonic()
        fresh = now - self._read_at <= FRESH_S
        if fresh and name in self._keys:
            return  # somebody else has read them meanwhile
        if now - self._tried_at < RETRY_S:
            if not self._keys:
                raise _unread()
            return
        self._tried_at = now
        try:
            self._keys = await asyncio.to_thread(read_keys, self.bearer)
            self._read_at = now
        except (OSError, ValueError) as error:
            if not self._keys:  # with old ones it goes on: an issuer that is down is no reason to be
                log.warning("the keys of %s cannot be read: %s", self.bearer.issuer, error)
                raise _unread() from None


def _unread() -> Overloaded:
    return Overloaded("tokens cannot be checked just now", RETRY_S)


def read_keys(bearer: Bearer) -> dict[str, Any]:
    """Return the public keys of an issuer by name; it blocks. OSError or ValueError without."""
    import jwt

    place = bearer.keyset
    if not place:
        place = _discovered(bearer.issuer)
        data = _fetched(place, local=_is_local(bearer.issuer))
    else:
        data = _fetched(place, local=_is_local(place)) if "://" in place else Path(place).read_bytes()
    try:
        keys = jwt.PyJWKSet.from_dict(msgspec.json.decode(data)).keys
        return {key.key_id or "": key for key in keys if key.key_type != "oct"}
    except Exception as error:  # whatever stands there: a library that reads it may fail in any way
        raise ValueError(f"{place}: no set of keys: {error}") from None


def _discovered(issuer: str) -> str:
    """Return where an issuer says that its keys are: a URL, whatever it answers."""
    url = issuer.rstrip("/") + _DISCOVERY
    found = msgspec.json.decode(_fetched(url, local=_is_local(issuer)))
    place = found.get("jwks_uri") if isinstance(found, dict) else None
    if not isinstance(place, str):
        raise ValueError(f"{url}: names no jwks_uri")
    return place


def _fetched(url: str, *, local: bool) -> bytes:
    """Return what is at a URL: over https all the way, or, where `local`, over http from this machine."""
    import urllib.request  # it loads a mail library
    from http.client import HTTPException

    _check_way(url, local=local)
    try:
        with _opener(local=local).open(urllib.request.Request(url), timeout=5.0) as answer:
            data: bytes = answer.read(LARGEST + 1)
    except HTTPException as error:
        raise ValueError(f"{url}: no HTTP answer: {error!r}") from None
    if len(data) > LARGEST:
        raise ValueError(f"{url}: over {LARGEST} bytes")
    return data


def _opener(*, local: bool) -> Any:
    """Return what opens URLs; it follows no redirect to where keys may not come from."""
    import urllib.request

    class Redirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            _check_way(newurl, local=local)
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    return urllib.request.build_opener(Redirects)


def _check_way(url: str, *, local: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (local and _is_local(url)):
        raise ValueError(f"{url}: keys come over https, or from an issuer on this machine")


def _is_local(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
