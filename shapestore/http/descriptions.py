"""What the source says of its tables: asked for once a while, by one request for all."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from shapestore.errors import StoreClosedError, UnknownTableError
from shapestore.http.response import invalid, refused
from shapestore.http.tables import Tables, misnamed
from shapestore.logger import logger
from shapestore.shape.column_description import Description
from shapestore.shape.shape import Shape
from shapestore.store import ShapeStore

# A column that was added is seen after so many seconds.
KNOWN_SECONDS = 5.0
# How long requests wait for a source that describes a table once more, and for one that describes it the first time.
ASK_SECONDS = 2.0
FIRST_ASK_SECONDS = 30.0


class Descriptions:
    """Remembers what the creator of a store says of tables. Of one that says nothing, no column is known.

    ``tables`` are those that clients may name.
    """

    def __init__(self, store: ShapeStore, tables: Tables) -> None:
        self._store = store
        self._tables = tables
        self._known: dict[str, tuple[float, Description]] = {}
        self._asked: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, str] = {}
        """By table, what was logged last of why it could not be served; until it could again."""

    async def of(self, table: str) -> Description:
        """What is said of a table. Raises Refusal, and StoreClosedError."""
        while not self._is_known(table):
            await self._learn(table)
        return self._known[table][1]

    def _is_known(self, table: str) -> bool:
        return table in self._known and time.monotonic() <= self._known[table][0]

    async def _learn(self, table: str) -> None:
        asked = self._asked.get(table)
        if asked is None or asked.get_loop() is not asyncio.get_running_loop():
            asked = self._asked[table] = asyncio.create_task(self._ask(table), name=f"shapestore describe {table}")
            asked.add_done_callback(partial(self._has_asked, table))
        await asyncio.wait((asked,), timeout=ASK_SECONDS if table in self._known else FIRST_ASK_SECONDS)
        if asked.done():
            asked.result()
        elif not self._is_known(table):
            self._keep(table, TimeoutError("it does not answer"))

    def _has_asked(self, table: str, asked: asyncio.Task[None]) -> None:
        if self._asked.get(table) is asked:  # not of a later loop's
            del self._asked[table]
        if not asked.cancelled():
            asked.exception()  # raised to those who wait for it, if any are left

    async def _ask(self, table: str) -> None:
        try:
            description = await self._store._ask_source("describe", Shape(table))
        except UnknownTableError as error:  # whose message lists all tables, and is not for clients
            self._tell(
                table,
                f"the table {table!r} is served and asked for, but {error}. Clients get 400 until there is such a "
                "table again: if it was renamed or dropped, have the server name the tables that there are",
            )
            invalid("table", f'Table "{table}" does not exist')
        except StoreClosedError:
            raise
        except Exception as error:  # whatever the source raises; its text may tell about it
            self._keep(table, error)
        else:
            self._known[table] = (time.monotonic() + KNOWN_SECONDS, description or {})
            if table in self._tables and (why := misnamed(table, self._tables, description or {})):
                self._tell(table, why)
            else:
                self._told.pop(table, None)

    def _keep(self, table: str, error: Exception) -> None:
        """What was known of a table that cannot be asked for stays known: what is stored is served. Raises Refusal."""
        self._tell(table, f"the source could not be asked for the columns of {table!r}: {error!r}")
        if table not in self._known:
            raise refused(503, "the rows of this table could not be read", retry_after=1)
        self._known[table] = (time.monotonic() + KNOWN_SECONDS, self._known[table][1])

    def _tell(self, table: str, what: str) -> None:
        """Log it: once, however many ask."""
        if self._told.get(table) != what:
            self._told[table] = what
            logger.warning("%s", what)
