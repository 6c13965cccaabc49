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

from shapestore import Shape
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

    connection.executemany(
        "INSERT INTO owners VALUES (?, ?, 'host', ?, ?)",
        [("alive", 42, "app.py", ms(600)), ("dead", 41, "worker.py", ms(7_000))],
    )
    connection.executemany(
        "INSERT INTO shapes VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (ALBUM_HANDLE, ALBUM.comparable, "Track", 3, ms(10_800), ms(30), 3),
            (NOTES_HANDLE, NOTES.comparable, "Note", 2, ms(900_000), ms(900_000), 1),
            (GENRES_HANDLE, GENRES.comparable, "Genre", 0, ms(300), ms(200), 2),
        ],
    )
    connection.executemany(
        "INSERT INTO create_locks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (INVOICES.comparable, "Invoice", "in_progress", "alive", INVOICES_HANDLE, ms(45), None, None, None, None),
            (MEDIA.comparable, "MediaType", "failed", "alive", MEDIA_HANDLE, ms(9), ms(5), "OSError", "gone", 30_000),
            (PLAYLISTS.comparable, "Playlist", "in_progress", "dead", PLAYLISTS_HANDLE, ms(4_000), *[None] * 4),
        ],
    )
    connection.executemany(
        "INSERT INTO shape_rows VALUES (?, ?, ?)",
        [
            (handle, position, json.dumps(row, ensure_ascii=False, separators=(",", ":")))
            for handle, rows in ROWS.items()
            for position, row in enumerate(rows, 1)
        ],
    )
    connection.executemany(
        "INSERT INTO creations (handle, comparable, outcome, error_type, error_message, retry_after_ms, duration_ms,"
        " row_count, followers, finished_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (NOTES_HANDLE, NOTES.comparable, "created", None, None, None, 12, 2, 0, ms(900_000)),
            (ALBUM_HANDLE, ALBUM.comparable, "created", None, None, None, 2_150, 3, 999, ms(10_800)),
            ("f7" * 16, PLAYLISTS.comparable, "died", None, None, None, None, None, 0, ms(5_000)),
            (GENRES_HANDLE, GENRES.comparable, "created", None, None, None, 5, 0, 3, ms(300)),
            (MEDIA_HANDLE, MEDIA.comparable, "failed", "OSError", "gone", 30_000, 4_000, None, 2, ms(5)),
        ],
    )
