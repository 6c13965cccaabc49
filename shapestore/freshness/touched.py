"""An application tells that rows of its source may have changed: they are read, and what is different is published.

    marked      attempts that are reading the table now count as stale when they are published
    looked at   the table's shapes, a part of them at a time, and the newest number of the ring of touched keys
    read        by key, as of one moment of the source, which is later than the call
    published   unless something was published since the look that may have been read later, or a refresh has begun that
                may read later: then all of it once more

So what was read earlier is never published over what was read later. What cannot be read by key is marked as stale, and
refreshed when it is asked for or waited for.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple, Protocol

import msgspec

from shapestore.concurrency.futures import refuse, resolve
from shapestore.creating.services import Services
from shapestore.shape.shape import Shape
from shapestore.source.creator import Creator
from shapestore.storage.commands import MarkStale, MarkTheseStale, MarkTouched, PublishTouched
from shapestore.storage.commands import touched_queries as queries
from shapestore.storage.log.keys import encode_key
from shapestore.storage.log.read import one_moment
from shapestore.storage.log.wanted import WantedRow
from shapestore.storage.row_codec import as_json, encode_row

KEYS_AT_ONCE = 500
# Rows that are read and published at once, at most.
ROWS_AT_ONCE = 5_000
# In larger shapes, to find a row by its key takes as long as a refresh may.
MOST_ROWS = 50_000
# Rows of shapes that one transaction goes through, to find the keys; but one shape is always taken whole.
ROWS_GONE_THROUGH = 200_000
MOST_CALLS = 4
_TRIES = 5

Key = tuple[Any, ...]
Keys = dict[str, Key]
"""Keys by their texts."""


class ByKey(Protocol):
    """A creator that can read some rows of several shapes of one table by their keys; SQLSource is one."""

    def rows_by_key(self, shapes: Sequence[Shape], keys: Sequence[Key]) -> Generator[Any, None, None]:
        """The columns of the key first, or None; then the place of a shape, a key and a row, again and again."""


class _Seen(NamedTuple):
    """A stored shape of the table."""

    number: int
    comparable: str
    where_as_written: str | None
    confirmed_by: str
    live: int
    row_count: int
    key_columns: str | None
    refreshed_by: str | None
    """The attempt at it that is in progress."""

    @property
    def is_by_key(self) -> bool:
        """Whether its rows are read by key. A live shape is refreshed: rounds may change it meanwhile."""
        return not self.live and self.key_columns is not None and self.row_count <= MOST_ROWS


class _Look(NamedTuple):
    """Some shapes of the table, and the newest key of the ring, of one moment."""

    newest_key: int
    shapes: list[_Seen]


class TouchedRows:
    """Publishes what an application tells of, ``MOST_CALLS`` calls at a time."""

    def __init__(self, services: Services, creator: Creator | None) -> None:
        self._services = services
        self._source: ByKey | None = creator if hasattr(creator, "rows_by_key") else None
        self._turn = asyncio.Semaphore(MOST_CALLS)

    async def touched(self, table: str, keys: Iterable[Any] | None) -> None:
        """These rows of the table may have changed; None: any."""
        if keys is not None and (isinstance(keys, (str, bytes, Mapping)) or not isinstance(keys, Iterable)):
            # The parts of a text would be taken for keys, of rows that are not there.
            raise TypeError(f"keys is an iterable of keys, as in [1, 2], not {type(keys).__name__}: {keys!r:.100}")
        if keys is None or self._source is None:
            await self._mark_stale(table, refusable=True)
            return
        given = {encode_key(key): key for key in map(_as_key, keys)}
        marked = self._services.writer.submit(MarkTouched(self._services.namespace, table), refusable=True)
        try:
            await marked
            async with self._turn:
                remaining = iter(given.items())
                while some := dict(itertools.islice(remaining, KEYS_AT_ONCE)):
                    await self._publish(self._source, table, some)
        except BaseException:  # the caller's cancellation too: what it told of is not lost
            self._mark_stale(table, refusable=False)
            raise

    def _mark_stale(self, table: str, *, refusable: bool) -> asyncio.Future[None]:
        """Have all shapes of the table count as stale. It is done also if the waiter of the future is cancelled."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def mark(after: int | None) -> None:
            if after is None:
                resolve(done, None)
            else:
                self._services.send(behind(after), mark, partial(refuse, done))

        behind = partial(MarkStale, self._services.namespace, table)
        self._services.send(behind(0), mark, partial(refuse, done), refusable=refusable)
        return done

    async def _publish(self, source: ByKey, table: str, keys: Keys) -> None:
        """Publish these rows of all shapes of the table, some shapes at a time."""
        after: int | None = 0
        while after is not None:
            for _ in range(_TRIES):
                look = await self._look(table, after, limit=max(1, ROWS_AT_ONCE // len(keys)))
                if await self._publish_in(source, table, keys, look.shapes, look.newest_key):
                    break
            else:  # others publish these keys again and again
                await self._services.writer.submit(MarkTheseStale([shape.number for shape in look.shapes]))
            after = look.shapes[-1].number if look.shapes else None

    async def _look(self, table: str, after: int, limit: int) -> _Look:
        given = {"namespace": self._services.namespace, "table": table, "after": after, "limit": limit}

        def look(connection: sqlite3.Connection) -> _Look:
            with one_moment(connection):
                ((newest,),) = connection.execute(queries.NEWEST_TOUCHED_KEY).fetchall()
                shapes = connection.execute(queries.SHAPES_OF_TOUCHED_TABLE, given).fetchall()
            return _Look(newest, _gone_through_at_once(list(itertools.starmap(_Seen, shapes))))

        return await self._services.reader.run(look)

    async def _publish_in(self, source: ByKey, table: str, keys: Keys, shapes: list[_Seen], newest_key: int) -> bool:
        """Publish these rows of these shapes. False if something was published meanwhile: look again."""
        by_key = [shape for shape in shapes if shape.is_by_key]
        _check(table, keys.values(), by_key)
        wanted = None
        if by_key:
            read = self._services.threads.run(lambda: _read(source, by_key, keys), name="shapestore touched")
            wanted = await _unless_unreadable(read)
        others = [shape.number for shape in shapes if wanted is None or not shape.is_by_key]
        if others:
            await self._services.writer.submit(MarkTheseStale(others))
        if not wanted:
            return True
        judged = {shape.number: (shape.confirmed_by, shape.refreshed_by) for shape in shapes}
        publish = PublishTouched(self._services.namespace, table, list(keys), newest_key, judged, wanted)
        return await self._services.writer.submit(publish)


def _gone_through_at_once(shapes: list[_Seen]) -> list[_Seen]:
    """The first of them, as many as keep the transaction short."""
    rows = itertools.accumulate(shape.row_count if shape.is_by_key else 0 for shape in shapes)
    return shapes[: max(1, sum(1 for so_far in rows if so_far <= ROWS_GONE_THROUGH))]


def _as_key(key: Any) -> Key:
    return tuple(key) if isinstance(key, (tuple, list)) else (key,)


def _check(table: str, keys: Iterable[Key], shapes: list[_Seen]) -> None:
    """Raise ValueError for keys that have another number of columns than the table's."""
    for shape in shapes:
        columns = msgspec.json.decode(shape.key_columns or "[]")
        for key in keys:
            if len(key) != len(columns):
                raise ValueError(
                    f'{key!r:.100} is not a key of the table "{table}": its rows are told apart by {", ".join(columns)}'
                )


async def _unless_unreadable(read: asyncio.Future[list[WantedRow] | None]) -> list[WantedRow] | None:
    try:
        return await read
    except Exception:  # the source refuses: a refresh will say why, to those who ask
        return None


def _read(source: ByKey, shapes: Sequence[_Seen], keys: Keys) -> list[WantedRow] | None:
    """What the shapes should hold under these keys; None if they have other keys by now."""
    asked = [Shape.from_comparable(shape.comparable, shape.where_as_written) for shape in shapes]
    with closing(source.rows_by_key(asked, list(keys.values()))) as rows:
        columns = next(rows)
        if columns is None or any(shape.key_columns != as_json(list(columns)) for shape in shapes):
            return None
        wanted: dict[tuple[int, str], str | None] = {(shape.number, key): None for key in keys for shape in shapes}
        for place, key, row in rows:
            wanted[shapes[place].number, encode_key(key)] = encode_row(row, 1)
    return [WantedRow(number, key, row) for (number, key), row in wanted.items()]
