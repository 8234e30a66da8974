"""Pages: what the gateway says of itself. Health, metrics, OpenAPI and AsyncAPI documents, a page to try it.

The page's files hold nothing of the app, so that they are open; what it shows needs the key that is typed into it.
"""

from collections.abc import Callable
from importlib import resources
from typing import NamedTuple

Fields = tuple[tuple[bytes, bytes], ...]
_POLICY = b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'"
_SHUT: Fields = (
    (b"content-security-policy", _POLICY + b"; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_FRESH: Fields = ((b"cache-control", b"no-store"),)


class Page(NamedTuple):
    """One page; `read` returns its status and its body."""

    title: str
    media: bytes
    read: Callable[[], tuple[int, bytes]]
    open: bool
    fields: Fields = _FRESH


class Sources(NamedTuple):
    """Where the pages have it from."""

    described: Callable[[], bytes]
    channels: Callable[[], bytes]
    metrics: Callable[[], bytes]
    ready: Callable[[], bool]


def pages_of(sources: Sources, opened: tuple[str, ...]) -> dict[str, Page]:
    """Return the pages by path; those named in `opened` need no key."""

    def ready() -> tuple[int, bytes]:
        return (200, b'{"status":"ready"}') if sources.ready() else (503, b'{"status":"not ready"}')

    def file(name: str) -> Callable[[], tuple[int, bytes]]:
        body = resources.files("allotrope.gateway.pages").joinpath(name).read_bytes()
        return lambda: (200, body)

    json, text = b"application/json", b"text/plain; version=0.0.4; charset=utf-8"
    return {
        "/health/live": Page("health", json, lambda: (200, b'{"status":"live"}'), open=True),
        "/health/ready": Page("health", json, ready, open=True),
        "/metrics": Page("metrics", text, lambda: (200, sources.metrics()), "metrics" in opened),
        "/openapi.json": Page("docs", json, lambda: (200, sources.described()), "docs" in opened),
        "/asyncapi.json": Page("docs", json, lambda: (200, sources.channels()), "docs" in opened),
        "/docs": Page("docs", b"text/html; charset=utf-8", file("docs.html"), open=True, fields=_SHUT),
        "/docs.js": Page("docs", b"text/javascript; charset=utf-8", file("docs.js"), open=True, fields=_SHUT),
        "/docs.css": Page("docs", b"text/css; charset=utf-8", file("docs.css"), open=True, fields=_SHUT),
    }
