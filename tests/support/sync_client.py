"""A client that holds a shape's rows by following its log, as Electric's own does; stricter about what it is told."""

from __future__ import annotations

from typing import Any

import httpx
from served_shapes import events_of

Row = dict[str, Any]


class SyncClient:
    """Goes on from wherever it is with any worker. ``params``: what it asks for, beside its place in the log."""

    def __init__(self, **params: Any) -> None:
        self.params = {"table": "Track"} | params
        self.rows: dict[str, Row] = {}
        self.offset = "-1"
        self.handle: str | None = None
        self.expired: str | None = None
        self.begun_again = 0
        self.is_up_to_date = False
        self._cursor: str | None = None

    async def step(self, client: httpx.AsyncClient, *, live: bool = False, sse: bool = False) -> None:
        """Ask once, live if it can be, and take what it is told."""
        live = live and self.is_up_to_date
        given = {
            "offset": self.offset,
            "handle": self.handle,
            "expired_handle": self.expired,
            "live": "true" if live else None,
            "live_sse": "true" if live and sse else None,
            "cursor": self._cursor if live else None,
        }
        asked = self.params | {name: value for name, value in given.items() if value is not None}
        answer = await client.get("/v1/shape", params=asked)
        if answer.status_code == 409:
            self._begin_again(answer)
            return
        assert answer.status_code == 200, (answer.status_code, answer.text)
        new = answer.headers["electric-handle"]
        assert new != self.expired
        self.handle, self.offset = new, answer.headers["electric-offset"]
        self._cursor = answer.headers.get("electric-cursor", self._cursor)
        if live and sse:
            self._take(list(events_of(answer.text)), sse=True)
        else:
            self.is_up_to_date = "electric-up-to-date" in answer.headers
            self._take(answer.json(), sse=False)

    async def catch_up(self, client: httpx.AsyncClient) -> None:
        """Ask until it is up to date."""
        self.is_up_to_date = False
        while not self.is_up_to_date:
            await self.step(client)

    def _begin_again(self, answer: httpx.Response) -> None:
        assert answer.json() == [{"headers": {"control": "must-refetch"}}]
        new = answer.headers["electric-handle"]
        assert new != self.handle
        self.expired, self.handle, self.offset = self.handle, new, "-1"
        self.rows, self.is_up_to_date = {}, False
        self.begun_again += 1

    def _take(self, messages: list[Any], *, sse: bool) -> None:
        for message in messages:
            headers = message["headers"]
            if headers.get("control") == "up-to-date" and sse:
                self.offset = f"{headers['global_last_seen_lsn']}_0"
            elif "key" in message:
                self._change(message["key"], headers["operation"], message["value"])
        if not sse:
            is_last = bool(messages) and messages[-1]["headers"].get("control") == "up-to-date"
            assert is_last == self.is_up_to_date

    def _change(self, key: str, operation: str, value: Row) -> None:
        match operation:
            case "insert":
                assert key not in self.rows, f"{key} came twice"
                self.rows[key] = value
            case "update":
                self.rows[key] = self.rows[key] | value
            case "delete":
                del self.rows[key]
