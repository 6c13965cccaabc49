"""The demo, run as its script runs it, on a small shop: what it says, and what it leaves in the store."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "_demo.py"

# What the shop says itself, beside the rows that the store was given.
COUNTED = {
    "customer": "SELECT count(*) FROM customer WHERE country IN ('Norway', 'Latvia')",
    "invoice_line": "SELECT count(*) FROM invoice_line WHERE copies = 5",
    "track": "SELECT count(*) FROM track WHERE title LIKE '%love%'",
    "sale": "SELECT count(*) FROM invoice_line JOIN invoice USING (invoice_id) WHERE day > '2024-01-01'",
}


@pytest.mark.parametrize("path", [os.environ["PATH"], ""], ids=["with a sqlite3 shell, if any", "without"])
def test_the_demo_creates_each_shape_once(tmp_path: Path, path: str) -> None:
    command = [sys.executable, "-W", "error", str(SCRIPT), "--folder", str(tmp_path), "--lines", "3000"]
    done = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

    with closing(sqlite3.connect(tmp_path / "store" / "shapes.db")) as store:
        outcomes = store.execute(
            "SELECT comparable ->> '$.table', outcome, count(*) FROM creations GROUP BY comparable"
        )
        assert sorted(outcomes) == sorted(
            [("artist_sales", "created", 1)] * 5
            + [("sale", "created", 1)] * 2
            + [(table, "created", 1) for table in ("customer", "invoice_line", "track")]
            + [("track", "failed", 1)]
        )
        stored = dict(store.execute("SELECT table_name, max(row_count) FROM shapes GROUP BY table_name"))
    with closing(sqlite3.connect(tmp_path / "music_shop-3000.db")) as shop:
        for table, query in COUNTED.items():
            assert (table, stored[table]) == (table, *shop.execute(query).fetchone())

    for said in (
        "1,000 callers ask at once for 5 shapes that are missing",
        "4 creations in all, and 4 handles",
        "1 attempt was made, and all 100 callers got its error:",
        'UnknownColumnError: the table "track" has no column "titel"; did you mean "title"?',
        "create_locks_in_words",
    ):
        assert said in done.stdout

    processes = done.stdout.partition("waited for the other")[2].splitlines()[1:3]
    figures = [[int(figure.replace(",", "")) for figure in line.split()[1:]] for line in processes]
    assert sum(created for _, created, *_ in figures) == 4
    for callers, created, waited_here, waited_for_the_other, found, _ in figures:
        assert callers == created + waited_here + waited_for_the_other + found == 1_000
        assert waited_here == created * 249


def test_the_live_demo_shows_what_is_written(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(SCRIPT), "--live", "--folder", str(tmp_path), "--writes", "120"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("live: true") == 3
    assert done.stdout.count("rows: the same") == 3
    assert re.search(r"^  (in Lima|cheap|let) +(insert|update) +\d+ .* \+ [\d.]+ ms$", done.stdout, re.MULTILINE)
    assert re.search(r"^  \d+ changes: \d+ deletes, \d+ inserts, \d+ updates$", done.stdout, re.MULTILINE)
    assert re.search(r"^  From commit to client, .*: median [\d.]+ ms, p99 [\d.]+ ms$", done.stdout, re.MULTILINE)


def test_a_shop_of_one_size_is_always_the_same(tmp_path: Path) -> None:
    make = (
        "import sys; from pathlib import Path; from _music_shop import music_shop; music_shop(Path(sys.argv[1]), 600)"
    )
    dumps = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        subprocess.run([sys.executable, "-c", make, folder], cwd=SCRIPT.parent, check=True)
        with closing(sqlite3.connect(folder / "music_shop-600.db")) as shop:
            dumps.append(list(shop.iterdump()))
    assert dumps[0] == dumps[1]
    assert len(dumps[0]) > 600
