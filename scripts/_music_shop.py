"""The demo's source: the database of a music shop. The same size gives the same rows, everywhere."""

import os
import random
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

GENRES = ("Rock", "Jazz", "Soul", "Folk", "Metal", "House", "Blues", "Samba")
COUNTRIES = ("Norway", "Peru", "Kenya", "Japan", "Canada", "Italy", "India", "Ghana", "Chile", "Latvia")

_ADJECTIVES = ("Blue", "Crooked", "Distant", "Electric", "Golden", "Hollow", "Lonesome", "Midnight", "Paper", "Quiet")
_NOUNS = ("Bridge", "Engine", "Garden", "Harbour", "Lantern", "Mirror", "Orchard", "Pilot", "River", "Sparrow", "Tower")
_PHRASES = ("Love Me in the {}", "Song for a {}", "{} Love", "Leaving the {}", "No More {}", "{} at Dawn", "Dear {}")
_GIVEN = ("Ada", "Ben", "Chidi", "Dalia", "Emil", "Farah", "Goro", "Hana", "Ines", "Jonas", "Kofi", "Lena", "Mateo")
_FAMILY = ("Abebe", "Berg", "Costa", "Diaz", "Eriksen", "Fontana", "Gupta", "Haas", "Ito", "Jensen", "Kaya", "Novak")

_SCHEMA = """
    CREATE TABLE artist (artist_id INTEGER PRIMARY KEY, name TEXT NOT NULL, genre TEXT NOT NULL);
    CREATE TABLE album (album_id INTEGER PRIMARY KEY, artist_id INTEGER NOT NULL, title TEXT NOT NULL, year INTEGER);
    CREATE TABLE track (track_id INTEGER PRIMARY KEY, album_id INTEGER NOT NULL, title TEXT NOT NULL, seconds INTEGER);
    CREATE TABLE customer (customer_id INTEGER PRIMARY KEY, name TEXT NOT NULL, country TEXT NOT NULL);
    CREATE TABLE invoice (invoice_id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL, day TEXT NOT NULL);
    CREATE TABLE invoice_line (
        line_id INTEGER PRIMARY KEY, invoice_id INTEGER NOT NULL, track_id INTEGER NOT NULL, cents INTEGER,
        copies INTEGER
    );

    CREATE VIEW sale AS
        SELECT line_id, day, customer.country, artist.name AS artist, artist.genre, track.title AS track, copies, cents,
            artist_id
        FROM invoice_line JOIN invoice USING (invoice_id) JOIN customer USING (customer_id)
            JOIN track USING (track_id) JOIN album USING (album_id) JOIN artist USING (artist_id);
    CREATE VIEW artist_sales AS
        SELECT artist, genre, count(*) AS sales, sum(copies) AS copies, sum(cents * copies) / 100.0 AS revenue
        FROM sale GROUP BY artist_id;
"""


def music_shop(folder: Path, lines: int) -> Path:
    """The file of a music shop that sold ``lines`` lines of invoices: found in ``folder``, or made there."""
    path = folder / f"music_shop-{lines}.db"
    if path.exists() and path.stat().st_mtime > Path(__file__).stat().st_mtime:
        return path
    # Renamed into place when it is whole, so that what was interrupted is not taken for a shop.
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        unfinished = Path(beside, path.name)
        with closing(sqlite3.connect(unfinished)) as database:
            database.executescript(_SCHEMA)
            for table, rows in _tables(lines):
                first = next(rows)
                insert = f"INSERT INTO {table} VALUES ({', '.join('?' * len(first))})"
                database.execute(insert, first)
                database.executemany(insert, rows)
            database.commit()
        os.replace(unfinished, path)
    return path


def _tables(lines: int) -> Iterator[tuple[str, Iterator[tuple[object, ...]]]]:
    chance = random.Random(1969)
    tracks, customers, invoices = max(lines // 15, 50), max(lines // 60, 20), max(lines // 6, 1)
    albums = tracks // 10
    artists = max(albums // 5, 1)
    opened = date(2021, 1, 1)

    def title() -> str:
        return f"{chance.choice(_ADJECTIVES)} {chance.choice(_NOUNS)}"

    def upto(last: int) -> range:
        return range(1, last + 1)

    yield "artist", ((n, f"The {title()} {chance.choice(_NOUNS)}s", chance.choice(GENRES)) for n in upto(artists))
    yield "album", ((n, chance.randint(1, artists), title(), chance.randint(1962, 2020)) for n in upto(albums))
    yield (
        "track",
        (
            (n, chance.randint(1, albums), chance.choice(_PHRASES).format(title()), chance.randint(90, 500))
            for n in upto(tracks)
        ),
    )
    yield (
        "customer",
        ((n, f"{chance.choice(_GIVEN)} {chance.choice(_FAMILY)}", chance.choice(COUNTRIES)) for n in upto(customers)),
    )
    yield (
        "invoice",
        ((n, chance.randint(1, customers), str(opened + timedelta(days=n * 1800 // invoices))) for n in upto(invoices)),
    )
    yield (
        "invoice_line",
        (
            (
                n,
                (n - 1) // 6 + 1,
                chance.randint(1, tracks),
                chance.choice((79, 99, 129)),
                chance.choice((1, 1, 1, 2, 5)),
            )
            for n in upto(lines)
        ),
    )
