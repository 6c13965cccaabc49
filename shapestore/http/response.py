"""Answers, and their headers: what clients, browsers and caches need to know of each."""

from __future__ import annotations

import math
import random
import secrets
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, NoReturn

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

JSON = "application/json"
EVENTS = "text/event-stream"

# Seconds since then are what a cursor counts, as Electric's do.
_CURSOR_EPOCH = 1_728_432_000
_EXPOSED = (
    "electric-cursor, electric-handle, electric-has-data, electric-offset, electric-schema, electric-snapshot, "
    "electric-up-to-date, etag, retry-after"
)
# What is no browser's, or none new enough, says nothing; "none" is what a person opens, by the address bar for example.
_OF_NO_OTHER_PAGE = (None, "same-origin", "none")
FIRST = "public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746"
LIVE = "public, max-age=5, stale-while-revalidate=5"
REFETCH = "public, max-age=60, must-revalidate"
PRIVATE = "private, no-cache"
NO_CACHE = "no-cache"
NO_STORE = "no-store"


RawHeaders = Sequence[tuple[bytes, bytes]]
"""Headers as a server takes them."""


class Caching(NamedTuple):
    """How long answers may be kept by caches."""

    max_age: float
    """Seconds for which a page is fresh that is neither the first nor live."""
    stale_age: float
    """Seconds for which it may then be served while it is fetched again."""
    private: bool
    """Whether answers depend on who asks."""
    vary: tuple[str, ...]
    """Headers that decide who asks."""

    def of(self, shared: str) -> str:
        """The cache-control of an answer that caches could share."""
        return PRIVATE if self.private else shared

    @property
    def later(self) -> str:
        """The cache-control of a page that is neither the first nor live, if caches could share it."""
        return f"public, max-age={round(self.max_age)}, stale-while-revalidate={round(self.stale_age)}"


class Cors:
    """Which pages of other origins may ask, and read answers: those in ``origins``, or all, but without credentials."""

    def __init__(self, origins: Collection[str] | None, methods: str) -> None:
        shared = {"access-control-allow-methods": methods, "access-control-expose-headers": _EXPOSED}
        self.methods = methods
        self._of_all = None if origins is not None else raw({"access-control-allow-origin": "*", **shared})
        self._of_one = {
            one: raw({"access-control-allow-origin": one, "access-control-allow-credentials": "true", **shared})
            for one in origins or ()
        }

    def headers(self, request: Request) -> RawHeaders:
        """What every answer says of it."""
        if self._of_all is not None:
            return self._of_all
        return self._of_one.get(request.headers.get("origin", ""), ())

    def refuse_other_pages(self, request: Request) -> None:
        """Raise Refusal if a page asks that could not read the answer: it could have shapes created all the same.

        It needs no more for that than an image with such an address. But browsers say where a request comes from.
        """
        if self._of_all is not None or request.headers.get("sec-fetch-site") in _OF_NO_OTHER_PAGE:
            return
        if request.headers.get("origin") not in self._of_one:
            raise refused(
                403,
                "a page of another origin asked for this, and its origin is not allowed: name it in origins= of "
                "ShapeApp, or by --cors of `shapestore serve`",
            )

    @property
    def vary(self) -> tuple[str, ...]:
        return () if self._of_all is not None else ("origin",)

    def preflight(self, request: Request) -> Response:
        """The answer to OPTIONS: any header that a client wants to send is welcome."""
        asked = request.headers.get("access-control-request-headers")
        allowed = {} if asked is None else {"access-control-allow-headers": asked}
        headers = {"access-control-max-age": "86400", "cache-control": NO_STORE, **allowed}
        return Response(status_code=204, headers=headers)


class Answer:
    """The answer with a page: its headers are bytes as they are made, since thousands are woken by one change."""

    __slots__ = ("_body", "_headers", "_status")

    def __init__(self, status: int, headers: RawHeaders, body: bytes | None) -> None:
        self._status = status
        self._headers = headers if body is None else [*headers, (b"content-length", b"%d" % len(body))]
        self._body = body or b""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})


class Refusal(Exception):  # noqa: N818 - an answer, and no error of the store
    """An answer other than 200, raised wherever it is found out."""

    def __init__(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = msgspec.json.encode(body)
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """It may be cached only where its headers say so."""
        headers = {"content-type": JSON, **self.headers}
        if "cache-control" not in headers:
            headers |= {"cache-control": NO_STORE, "surrogate-control": NO_STORE}
        return Response(self.body, self.status, headers)


def refused(status: int, message: str, *, retry_after: float | None = None) -> Refusal:
    """A refusal with a message, and perhaps seconds after which to try again."""
    headers = {} if retry_after is None else {"retry-after": str(max(1, math.ceil(retry_after)))}
    return Refusal(status, {"message": message}, headers)


def invalid(parameter: str, why: str) -> NoReturn:
    """Raise the refusal of a request of which this parameter is not understood, or not accepted.

    No message says more than its sender may know.
    """
    raise Refusal(400, {"message": "Invalid request", "errors": {parameter: [why]}})


def must_refetch(handle: str, caching: Caching) -> Refusal:
    """409: begin again, by ``handle``."""
    body = [{"headers": {"control": "must-refetch"}}]
    return Refusal(409, body, {"cache-control": caching.of(REFETCH), "electric-handle": handle})


def cursor(asked: str | None, length: float) -> str:
    """What makes the URLs of live requests differ over time, and agree among clients: the end of this interval.

    If a cache had the client at it already, some later one.
    """
    interval = max(1, round(length))
    now = math.ceil((time.time() - _CURSOR_EPOCH) / interval) * interval
    before = int(asked) if asked is not None and asked.isascii() and asked.isdigit() and len(asked) < 16 else None
    return str(now if before is None or now > before else before + random.randint(1, 3600))


def etag(handle: str, asked: str, end: str, *, unique: bool = False) -> str:
    """Names the content of an answer. ``unique``: its content says nothing but that it is up to date, as of now."""
    suffix = f":{secrets.token_hex(8)}" if unique else ""
    return f'"{handle}:{asked}:{end}{suffix}"'


def matches(request: Request, tag: str) -> bool:
    """Whether the client has the content that ``tag`` names."""
    for name, given in request.scope["headers"]:  # as they are: most requests have no such header
        if name == b"if-none-match":
            return any(each.strip().removeprefix("W/") == tag for each in given.decode("latin-1").split(","))
    return False


def joined(messages: Iterable[bytes]) -> bytes:
    """Messages as the JSON array of a body."""
    return b"[" + b",".join(messages) + b"]"


def raw(headers: Mapping[str, str]) -> RawHeaders:
    """Headers as a server takes them."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def vary_on(names: Collection[str]) -> RawHeaders:
    return raw({"vary": ", ".join(names)}) if names else ()
