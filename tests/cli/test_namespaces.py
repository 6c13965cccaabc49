"""Stores of several namespaces in one file: which one each command means."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from command_line import in_a_pipe, on_a_terminal

from shapestore import Shape, ShapeStore, SQLSource

NAMESPACES = ("", "acme", "other one")
ALBUM = Shape("Track", where="AlbumId = :a", params={"a": 1})


@pytest.fixture
def source(tmp_path: Path) -> str:
    with closing(sqlite3.connect(tmp_path / "music.db")) as connection, connection:
        connection.execute("CREATE TABLE Track (TrackId INTEGER PRIMARY KEY, AlbumId INTEGER)")
        connection.execute("INSERT INTO Track VALUES (1, 1), (2, 1), (3, 2)")
    return f"sqlite:///{tmp_path}/music.db"


@pytest.fixture
async def file(path: str, source: str) -> str:
    """A file with the same shape in each namespace."""
    for namespace in NAMESPACES:
        async with ShapeStore(path, namespace=namespace, create=SQLSource(source)) as store:
            await store.get_or_create(ALBUM)
    return path


async def run(*command: str) -> Any:
    return await asyncio.to_thread(in_a_pipe, *command)


async def listed(*command: str) -> list[dict[str, Any]]:
    ran = await run(*command, "--json")
    assert (ran.status, ran.err) == (0, "")
    return [json.loads(line) for line in ran.out.splitlines()]


async def namespaces(file: str) -> list[str]:
    return [shape["namespace"] for shape in await listed("ls", file)]


async def test_ls_shows_all_of_them_or_one(file: str) -> None:
    assert await namespaces(file) == list(NAMESPACES)
    [shape] = await listed("ls", file, "--namespace", "acme", "--table", "Track")
    assert (shape["namespace"], shape["table"]) == ("acme", "Track")
    assert [shape["namespace"] for shape in await listed("ls", file, "--namespace", "")] == [""]
    screen = (await asyncio.to_thread(on_a_terminal, "ls", file)).out
    assert 'acme: Track where "AlbumId" = :a' in screen
    shown = (await run("show", file, shape["handle"])).out
    assert "\nnamespace\tacme\n" in shown


async def test_history_shows_all_of_them_or_one(file: str) -> None:
    assert [creation["namespace"] for creation in await listed("history", file)] == list(reversed(NAMESPACES))
    for namespace in NAMESPACES:
        [creation] = await listed("history", file, "--namespace", namespace)
        assert creation["namespace"] == namespace
    nothing = await asyncio.to_thread(on_a_terminal, "history", file, "--namespace", "new", "--table", "Track")
    assert nothing.out.startswith("no creations of Track; there are shapes of it in --namespace ''")


async def test_get_finds_and_makes_the_shape_of_its_namespace(file: str, source: str) -> None:
    command = ("get", file, "--source", source, "--table", "Track", "--where", "AlbumId = :a", "--param", "a=1")
    assert "the source was not asked" in (await run(*command, "--namespace", "acme")).err
    assert "the source was not asked" not in (await run(*command, "--namespace", "new")).err
    assert await namespaces(file) == ["", "acme", "new", "other one"]


async def test_explain_looks_in_its_namespace_alone(file: str) -> None:
    command = ("explain", file, "--table", "Track", "--where", "AlbumId = :a", "--param", "a=1")
    [acme] = await listed("ls", file, "--namespace", "acme")
    assert f"\nstored\tyes, as {acme['handle']}\n" in (await run(*command, "--namespace", "acme")).out
    [explained] = await listed(*command, "--namespace", "acme")
    assert explained["comparable"] == ALBUM.comparable_in("acme") == acme["comparable"]
    elsewhere = (await run(*command, "--namespace", "new")).out
    assert elsewhere.endswith("\nstored\tno; this namespace has no shapes\n")


async def test_a_store_explains_by_its_own_namespace_alone(file: str) -> None:
    async with ShapeStore(file, namespace="new") as store:
        assert (await store.explain(Shape("Artist"))).nearest is None
    async with ShapeStore(file, namespace="acme") as store:
        nearest = (await store.explain(Shape("Artist"))).nearest
    [acme] = await listed("ls", file, "--namespace", "acme")
    assert nearest is not None
    assert nearest.handle == acme["handle"]


async def test_refresh_reads_again_what_is_stored_under_the_same_handles(file: str, source: str) -> None:
    before = await listed("ls", file)
    with closing(sqlite3.connect(source.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("INSERT INTO Track VALUES (4, 1)")
    assert (await run("refresh", file, "--source", source, "--table", "Track", "--namespace", "acme")).status == 0
    assert [shape["row_count"] for shape in await listed("ls", file)] == [2, 3, 2]
    assert (await run("refresh", file, "--source", source, "--table", "Track")).status == 0
    after = await listed("ls", file)
    assert [shape["row_count"] for shape in after] == [3, 3, 3]
    assert [shape["handle"] for shape in after] == [shape["handle"] for shape in before]


async def test_rm_drops_in_one_or_in_all_and_by_handle_anywhere(file: str) -> None:
    assert (await run("rm", file, "--table", "Track", "--namespace", "acme")).err == (
        "dropped 1 shape of the table 'Track'\n"
    )
    assert await namespaces(file) == ["", "other one"]
    [other] = await listed("ls", file, "--namespace", "other one")
    assert (await run("rm", file, other["handle"])).status == 0
    assert await namespaces(file) == [""]


async def test_rm_by_table_drops_what_ls_shows(file: str) -> None:
    assert (await run("rm", file, "--table", "Track")).err == "dropped 3 shapes of the table 'Track'\n"
    assert await namespaces(file) == []


async def test_invalidate_means_one_namespace_and_names_the_others(file: str) -> None:
    assert (await run("invalidate", file, "Track")).err == "dropped 1 shape of the table 'Track'\n"
    again = await run("invalidate", file, "Track")
    assert again.err == (
        "dropped 0 shapes of the table 'Track'; there are shapes of it in --namespace acme, --namespace 'other one'\n"
    )
    assert (await run("invalidate", file, "Track", "--namespace", "other one")).err == (
        "dropped 1 shape of the table 'Track'\n"
    )
    assert await namespaces(file) == ["acme"]


@pytest.fixture
async def hanging(path: str) -> AsyncIterator[str]:
    """A file in which the creator of a shape in the namespace "acme" hangs."""

    async def hang(shape: Shape) -> list[dict[str, Any]]:
        await asyncio.Event().wait()
        raise AssertionError

    async with ShapeStore(path, namespace="acme", create=hang) as store:
        waiting = asyncio.create_task(store.get_or_create(ALBUM))
        while not await store.locks():
            await asyncio.sleep(0.001)
        yield path
        waiting.cancel()


async def test_unlock_frees_the_lock_in_its_namespace(hanging: str) -> None:
    command = ("unlock", hanging, "--table", "Track", "--where", "AlbumId = :a", "--param", "a=1")
    assert (await run(*command)).status == 1
    [before] = await listed("locks", hanging)
    ran = await run(*command, "--namespace", "acme")
    assert (ran.status, ran.err) == (0, f"freed {before['handle'][-12:]}\n")
    [outcome] = await listed("history", hanging)
    assert (outcome["outcome"], outcome["namespace"]) == ("released", "acme")


async def test_unlock_by_handle_knows_the_namespace(hanging: str) -> None:
    [before] = await listed("locks", hanging)
    ran = await run("unlock", hanging, "--handle", before["handle"])
    assert (ran.status, ran.err) == (0, f"freed {before['handle'][-12:]}\n")


@pytest.mark.parametrize("command", ["ls FILE", "invalidate FILE Track", "explain FILE --table Track"])
async def test_a_namespace_that_cannot_be_one_is_refused(file: str, command: str) -> None:
    ran = await run(*command.replace("FILE", file).split(), "--namespace", "x" * 257)
    assert ran.status == 2
    assert "namespace must be a str of at most 256 characters" in ran.err
