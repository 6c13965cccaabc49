"""Callers who ask stores for anything at any time, and what they must be given."""

from __future__ import annotations

import contextlib

from ordered_stores import Stores
from recorded_source import KEYS, SHAPES

from shapestore import Shape, ShapeGoneError, ShapeStore

LEAVINGS = ("create_locks", "readers", "kept", "discarded")
MOST_SECONDS = 200.0
"""Within so many, maintenance has cleared them away."""


class World(Stores):
    """Stores, and what is asked of them at random."""

    async def act(self) -> None:
        """One of the things that may happen, at random."""
        if len(self.calls) >= self.options.calls_at_once:
            return
        weights = self.options.weights
        [what] = self.random.choices(list(weights), list(weights.values()))
        name = self.random.choice(list(self.stores))
        await getattr(self, f"_{what}")(name, self.stores[name], self.random.choice(self.options.shapes))

    async def _write(self, name: str, store: ShapeStore, _: Shape) -> None:
        table, keys = self.source.write()
        self.simulation.note(f"test: version {self.source.version}, {table} {keys}")
        if self.kind in ("touched", "by a function") and self.random.random() < 0.8:
            self._tell(name, store, table, keys if self.kind == "touched" and self.random.random() < 0.8 else None)

    async def _touch(self, name: str, store: ShapeStore, shape: Shape) -> None:
        self._tell(name, store, shape.table, self.random.choice((None, None, [1, 2])))

    def _tell(self, name: str, store: ShapeStore, table: str, keys: list[int] | None) -> None:
        version = self.source.version

        async def tell() -> None:
            await store.touched(table, keys)
            self.promises.touched(table, keys, version)

        self.begin(name, f"touched({table}, {keys}) of version {version}", tell)

    async def _get(self, name: str, store: ShapeStore, shape: Shape) -> None:
        """The rows must be at least as new as was promised when they were asked for; with max_age=0, as the call."""
        max_age = self.random.choice((None, None, 0))
        waits_for_first = self._waits_for_first(store, shape)
        promised = self.promises.now(shape, waits_for_first=waits_for_first, demands=max_age == 0)
        in_parts = self.random.random() < 0.5

        async def get() -> None:
            if in_parts:
                stored = await store.get_or_create(shape, max_age=max_age)
                with contextlib.suppress(ShapeGoneError):
                    found = [row async for row in store.rows(stored, batch_size=self.random.choice((1, 2, 1_000)))]
                    self.promises.check(shape, found, promised)
            else:
                self.promises.check(shape, await store.fetch(shape, max_age=max_age), promised)

        self.begin(name, f"{'rows' if in_parts else 'fetch'} of {shape!r:.80}, max_age={max_age}", get)

    def _waits_for_first(self, store: ShapeStore, shape: Shape) -> bool:
        flight = store._live().coalescer.get(shape.comparable)
        return not self.logs.has(shape.comparable) or (flight is not None and flight.older is None)

    async def _refresh(self, name: str, store: ShapeStore, shape: Shape) -> None:
        self.begin(name, f"refresh {shape!r:.80}", lambda: store.refresh(shape))

    async def _follow(self, name: str, store: ShapeStore, _: Shape) -> None:
        version = self.source.version
        present = [shape for shape in SHAPES if self.logs.has(shape.comparable)]

        async def follow() -> None:
            await store.followed()
            self.promises.promise(present, version)

        self.begin(name, f"followed() of version {version}", follow)

    async def _changes(self, name: str, store: ShapeStore, shape: Shape) -> None:
        """A client who begins with the snapshot, and waits for more a few times."""
        waits, limit = self.random.choice((1, 2, 5)), self.random.choice((1, 2, 100))

        async def take_changes() -> None:
            stored, position = await store.get_or_create(shape), 0
            for _ in range(waits):
                end = await store.wait(stored, position, timeout=0.5)
                page = await store.read_log(stored, after=position, limit=limit)
                # The log may have been cut meanwhile: only who has read nothing goes on then, and there may be no rows.
                assert page or end == position or not position, f"nothing follows {position}, but it ends at {end}"
                position = page[-1].position if page else position

        self.begin(name, f"changes of {shape!r:.80}", take_changes)

    async def _invalidate(self, name: str, store: ShapeStore, shape: Shape) -> None:
        what, version = self.random.choice((shape, shape.table)), self.source.version

        async def invalidate() -> None:
            await store.invalidate(what)
            self.promises.promise([each for each in SHAPES if what in (each, each.table)], version)

        self.begin(name, f"invalidate({what!r:.80}) of version {version}", invalidate)

    async def _delete(self, name: str, store: ShapeStore, shape: Shape) -> None:
        async def delete() -> None:
            stored = await store.get(shape)
            if stored is not None:
                await store.delete(stored)

        self.begin(name, f"delete {shape!r:.80}", delete)

    async def _release(self, name: str, store: ShapeStore, shape: Shape) -> None:
        self.begin(name, f"release {shape!r:.80}", lambda: store.release_lock(shape))

    async def _cancel(self, *_: object) -> None:
        if self.calls:
            task = self.random.choice(list(self.calls))
            self.simulation.note(f"test: cancel {self.calls[task].name}")
            task.cancel()

    async def _pass_time(self, *_: object) -> None:
        self.simulation.now += self.random.choice((0.5, 2.0, 6.0, 70.0))

    async def _close(self, name: str, *_: object) -> None:
        await self.close_one(name)
        await self.open()

    async def _kill(self, name: str, *_: object) -> None:
        await self.kill(name)
        await self.open()

    # --- the end

    async def settle(self) -> None:
        """Nothing is written or asked any more: every shape is what its source is, and nothing is left over."""
        await self.finish(*self.calls)
        for name, store in self.stores.items():
            for table in ("t", "s"):
                if self.kind in ("touched", "by a function"):
                    self._tell(name, store, table, None)
        await self.finish(*self.calls)
        newest = dict.fromkeys(KEYS, self.source.version)
        for name, store in self.stores.items():
            for shape in self.options.shapes:
                max_age = 0 if self.kind in ("live", "read again") else None

                async def get(store: ShapeStore = store, shape: Shape = shape, max_age: float | None = max_age) -> None:
                    self.promises.check(shape, await store.fetch(shape, max_age=max_age), newest)

                await self.finish(self.begin(name, f"the last fetch of {shape!r:.80}", get))
        await self._cleared_away()
        for name in list(self.stores):
            await self.close_one(name)
        assert self.logs.count("owners") == 0

    async def _cleared_away(self) -> None:
        """Maintenance leaves nothing but shapes."""
        self.simulation.is_fair = True
        last = self.simulation.now + MOST_SECONDS
        while left := {table: count for table in LEAVINGS if (count := self.logs.count(table))}:
            assert self.simulation.now < last, left
            await self.turn()
        self.simulation.is_fair = False
