"""A store with one of everything that the command line shows, at a fixed time."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from file_rows import add_lock, add_outcome, add_owner, add_rows, add_shape

from shapestore import Shape
from shapestore.locking.create_lock import Failure
from shapestore.locking.file_lock import FileLock

NOW = 1_714_564_800  # 2024-05-01T12:00:00Z

ALBUM = Shape("Track", where="AlbumId = :album", params={"album": 1}, columns=["TrackId", "Name"])
NOTES = Shape("Note")
GENRES = Shape("Genre", columns=["GenreId", "Name"])
INVOICES = Shape("Invoice", where="Total > 5")
MEDIA = Shape("MediaType")
PLAYLISTS = Shape("Playlist")

ALBUM_HANDLE = "a1" * 16
NOTES_HANDLE = "b2" * 16
GENRES_HANDLE = "a3" * 16
INVOICES_HANDLE = "c4" * 16
MEDIA_HANDLE = "d5" * 16
PLAYLISTS_HANDLE = "e6" * 16

ROWS: dict[str, list[dict[str, Any]]] = {
    ALBUM_HANDLE: [
        {"TrackId": 1, "Name": "For Those About To Rock"},
        {"TrackId": 6, "Name": "Größe 形"},
        {"TrackId": 14, "Name": None},
    ],
    NOTES_HANDLE: [
        {"id": 1, "text": "tab\tand\nline end", "tags": ["a", "b"], "done": True},
        {"id": 2, "text": "\x1b[31mred\x1b[0m, or not?", "price": 1.5},
    ],
    INVOICES_HANDLE: [{"InvoiceId": 1}, {"InvoiceId": 2}],
}


@contextmanager
def example_store(empty_store: Path, path: str) -> Iterator[None]:
    """Make the store at ``path``. Inside the context, the owner "alive" holds its lock, and "dead" does not."""
    shutil.copyfile(empty_store, path)
    os.chmod(path, 0o600)
    with closing(sqlite3.connect(path)) as connection, connection:
        _fill(connection)
    os.mkdir(f"{path}-owners", 0o700)
    Path(f"{path}-gate").touch(0o600)
    with closing(FileLock(f"{path}-owners/alive")) as lock, closing(FileLock(f"{path}-owners/dead")):
        lock.lock()
        yield


def _fill(connection: sqlite3.Connection) -> None:
    def ms(seconds_ago: int) -> int:
        return (NOW - seconds_ago) * 1000

    def json_rows(handle: str) -> list[str]:
        return [json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in ROWS.get(handle, ())]

    add_owner(connection, "alive", pid=42, program="app.py", opened_at_ms=ms(600))
    add_owner(connection, "dead", pid=41, program="worker.py", opened_at_ms=ms(7_000))
    for handle, shape, created, read, read_order in (
        (ALBUM_HANDLE, ALBUM, 10_800, 30, 3),
        (NOTES_HANDLE, NOTES, 900_000, 900_000, 1),
        (GENRES_HANDLE, GENRES, 300, 200, 2),
    ):
        times = {"created_at_ms": ms(created), "last_read_at_ms": ms(read), "confirmed_at_ms": ms(created)}
        add_shape(connection, handle, shape, rows=json_rows(handle), read_order=read_order, **times)
    number = add_lock(connection, INVOICES_HANDLE, INVOICES, owner="alive", started_at_ms=ms(45))
    add_rows(connection, number, json_rows(INVOICES_HANDLE))
    gone = Failure("OSError", "gone", 30_000)
    add_lock(connection, MEDIA_HANDLE, MEDIA, owner="alive", failure=gone, started_at_ms=ms(9), failed_at_ms=ms(5))
    add_lock(connection, PLAYLISTS_HANDLE, PLAYLISTS, owner="dead", started_at_ms=ms(4_000))
    ended: list[tuple[str, Shape, str, dict[str, Any]]] = [
        (NOTES_HANDLE, NOTES, "created", {"duration_ms": 12, "row_count": 2, "finished_at_ms": ms(900_000)}),
        (
            ALBUM_HANDLE,
            ALBUM,
            "created",
            {"duration_ms": 2_150, "row_count": 3, "followers": 999, "finished_at_ms": ms(10_800)},
        ),
        ("f7" * 16, PLAYLISTS, "died", {"finished_at_ms": ms(5_000)}),
        (
            GENRES_HANDLE,
            GENRES,
            "created",
            {"duration_ms": 5, "row_count": 0, "followers": 3, "finished_at_ms": ms(300)},
        ),
    ]
    for handle, shape, outcome, columns in ended:
        add_outcome(connection, handle, shape, outcome, **columns)
    add_outcome(connection, MEDIA_HANDLE, MEDIA, failure=gone, duration_ms=4_000, followers=2, finished_at_ms=ms(5))
