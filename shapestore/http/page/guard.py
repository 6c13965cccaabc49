"""Requests for another host's name are refused."""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class HostGuard:
    """Passes on requests whose Host header is one of ``hosts``, with any port.

    A web page elsewhere, whose name was made to lead to this machine, would otherwise read the database through
    a browser on this machine (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] != "lifespan":
            name = _name(Headers(scope=scope).get("host", ""))
            if name not in self._hosts:
                message = f"nothing is served here under the name {name!r:.200}"
                app = JSONResponse({"message": message}, 421, {"cache-control": "no-store"})
        await app(scope, receive, send)


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    name, _, port = host.rpartition(":")
    return (name if port.isdecimal() else host).lower()
