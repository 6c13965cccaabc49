"""Which clients wait for which shape: the live requests that are being answered."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from shapestore.http.handles import parse_handle
from shapestore.http.request import is_true, wants_events

_LONGEST_AGENT = 200


@dataclass(frozen=True, slots=True, eq=False)
class WaitingClient:
    """One live request."""

    handle: str
    address: str
    agent: str
    by_events: bool
    began_at: float

    def told(self) -> dict[str, Any]:
        """For people."""
        return {
            "address": self.address,
            "agent": self.agent,
            "how": "server-sent events" if self.by_events else "long poll",
            "seconds": time.monotonic() - self.began_at,
        }


class LiveRequests:
    """Passes requests on, and knows the live ones until their answers have ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._waiting: set[WaitingClient] = set()

    def of(self, handle: str) -> list[WaitingClient]:
        """The clients that wait for the shape with this handle, the first to come first."""
        return sorted((one for one in self._waiting if one.handle == handle), key=lambda one: one.began_at)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = _waiting_client(Request(scope)) if scope["type"] == "http" else None
        if client is None:
            await self._app(scope, receive, send)
            return
        self._waiting.add(client)
        try:
            await self._app(scope, receive, send)
        finally:
            self._waiting.remove(client)


def _waiting_client(request: Request) -> WaitingClient | None:
    query = request.query_params
    if not is_true(query.get("live")) or "handle" not in query:
        return None
    return WaitingClient(
        handle=parse_handle(query["handle"]).handle,
        address="" if request.client is None else request.client.host,
        agent=request.headers.get("user-agent", "")[:_LONGEST_AGENT],
        by_events=wants_events(query),
        began_at=time.monotonic(),
    )
