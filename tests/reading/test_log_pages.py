"""Pages that are read once for all who ask at a time."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from typing import Any

import pytest
from inspections import PATIENCE, eventually

from shapestore import Shape, ShapeGoneError, ShapeStore, StorageError, keyed
from shapestore.storage.log.pages import BEGINNING, Page


async def test_handles_that_no_shape_has_are_not_remembered(path: str) -> None:
    """Clients may ask for any text: each would be kept, and brought into the file, for nothing."""
    async with ShapeStore(path, create=lambda _: [{"id": 1}]) as store:
        stored = await store.get_or_create(Shape("Track"))
        access = store._live().access
        access.recent.clear()
        for handle in ("x" * 1_000_000, stored.handle):
            await store._log_pages().read(handle, BEGINNING, 1_000, "any", lambda _: object())
        assert list(access.recent) == [stored.handle]
        access.recent.clear()
        with pytest.raises(ShapeGoneError):
            await store.wait("x" * 1_000_000, 0)
        await store.wait(stored, 0)
        assert list(access.recent) == [stored.handle]


async def test_a_page_that_has_been_read_is_not_given_to_who_asks_after_that(path: str) -> None:
    """It is not kept, and may have ended in an error."""
    async with ShapeStore(path, create=lambda _: [{"id": 1}]) as store:
        stored = await store.get_or_create(Shape("Track"))
        pages = store._log_pages()

        async def read() -> object:
            return await pages.read(stored.handle, BEGINNING, 1_000, "any", lambda _: object())

        first = asyncio.ensure_future(read())
        while not pages._reading:
            await asyncio.sleep(0)
        while pages._reading:
            await asyncio.sleep(0)
        second = await read()
        assert second is not await first
        assert pages._reading == {}


async def test_a_page_that_is_being_read_is_not_shared_with_who_asks_after_a_commit(path: str) -> None:
    """Who has waited for the commit, and asks what it brought, would be told that there is nothing new."""
    rows = [{"id": 1}]
    is_read, goes_on = threading.Event(), threading.Event()

    def held(page: Page) -> int:
        is_read.set()
        assert goes_on.wait(PATIENCE)
        return page.log.standing.public

    async with ShapeStore(path, create=keyed(lambda _: rows, "id")) as store, ShapeStore(path) as another:
        stored = await store.get_or_create(Shape("Track"))
        pages = store._log_pages()
        first = asyncio.ensure_future(pages.read(stored.handle, BEGINNING, 1_000, "any", held))
        try:
            await eventually(is_read.is_set)
            rows.append({"id": 2})
            refreshed = await another.get_or_create(Shape("Track"), keyed(lambda _: rows, "id"), max_age=0)
            assert refreshed.position > stored.position
            second = asyncio.ensure_future(pages.read(stored.handle, BEGINNING, 1_000, "any", held))
            await asyncio.sleep(0)
        finally:
            goes_on.set()
        assert (await first, await second) == (stored.position, refreshed.position)


async def test_a_caller_who_is_cancelled_leaves_the_page_to_the_others(path: str) -> None:
    async with ShapeStore(path, create=lambda _: [{"id": 1}]) as store:
        stored = await store.get_or_create(Shape("Track"))
        pages = store._log_pages()
        read = [
            asyncio.ensure_future(pages.read(stored.handle, BEGINNING, 1_000, "any", lambda _: object()))
            for _ in range(3)
        ]
        while not pages._reading:
            await asyncio.sleep(0)
        read[0].cancel()
        first, second, third = await asyncio.gather(*read, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        assert second is third is not None


async def test_an_error_that_no_caller_waits_for_any_more_is_not_reported(path: str) -> None:
    """As where a server stops: its clients have gone, and the store is closed while pages are being read."""
    is_read, goes_on = threading.Event(), threading.Event()
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def fails(_: Page) -> None:
        is_read.set()
        assert goes_on.wait(PATIENCE)
        raise StorageError("the disk refuses")

    async with ShapeStore(path, create=lambda _: [{"id": 1}]) as store:
        stored = await store.get_or_create(Shape("Track"))
        pages = store._log_pages()
        caller = asyncio.ensure_future(pages.read(stored.handle, BEGINNING, 1_000, "any", fails))
        try:
            await eventually(is_read.is_set)
            caller.cancel()
            await asyncio.wait([caller])
            del caller
        finally:
            goes_on.set()
        await eventually(lambda: pages._reading == {})
    gc.collect()
    assert reported == []


async def test_an_error_is_told_to_all_who_ask_for_the_page(path: str) -> None:
    def fails(_: Page) -> None:
        raise ArithmeticError("no such message")

    async with ShapeStore(path, create=lambda _: [{"id": 1}]) as store:
        stored = await store.get_or_create(Shape("Track"))
        pages = store._log_pages()
        read = (pages.read(stored.handle, BEGINNING, 1_000, "any", fails) for _ in range(2))
        told = await asyncio.gather(*read, return_exceptions=True)
        assert [type(error) for error in told] == [ArithmeticError, ArithmeticError]
        assert pages._reading == {}


async def test_an_error_before_anything_is_read_is_told_too(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tasks begin at once, it comes before the caller has anything to wait for."""
    if sys.version_info >= (3, 12):
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)

    def refuses() -> None:
        raise StorageError("the disk refuses")

    async with ShapeStore(path, create=lambda _: [{"id": 1}]) as store:
        stored = await store.get_or_create(Shape("Track"))
        pages = store._log_pages()
        monkeypatch.setattr(pages._reader, "data_version", refuses)
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(StorageError):
                await pages.read(stored.handle, BEGINNING, 1_000, "any", lambda _: object())
        assert pages._reading == {}
        monkeypatch.undo()
