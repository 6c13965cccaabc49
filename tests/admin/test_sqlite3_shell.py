"""The file in the real sqlite3 shell: its views read well, and the recipes of cli/README answer the questions."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from example_store import PLAYLISTS_HANDLE, example_store

from shapestore.storage import schema
from shapestore.storage.schema import views

README = Path(__file__).resolve().parents[2] / "shapestore" / "cli" / "README.md"


def version() -> tuple[int, ...]:
    if shutil.which("sqlite3") is None:
        return ()
    told = subprocess.run(["sqlite3", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, told.split()[0].split(".")))


pytestmark = pytest.mark.skipif(version() < (3, 38), reason="there is no program sqlite3 that knows the operator ->>")


@pytest.fixture
def example(empty_store: Path, tmp_path: Path) -> Iterator[Path]:
    with example_store(empty_store, str(tmp_path / "shapes.db")):
        yield tmp_path / "shapes.db"


def sqlite3(path: Path, *commands: str) -> str:
    ran = subprocess.run(
        ["sqlite3", "-readonly", "-list", "-header", str(path), *commands], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def questions() -> list[str]:
    """The SQL of the README, one block a question."""
    return re.findall(r"^```sql\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


def test_the_tables_tell_what_is_in_them(example: Path) -> None:
    # Without the header that newer shells would print above the names.
    assert set(sqlite3(example, ".headers off", ".tables").split()) == {
        "alembic_version",
        *schema.metadata.tables,
        *views.VIEWS,
    }


def test_the_six_questions_of_the_readme_are_answered(example: Path) -> None:
    being_created, failed, biggest, saved, followed, left = (sqlite3(example, sql) for sql in questions())
    assert followed == ""
    assert re.search(r'^being created for \d+ days\|Invoice\|"Total" > 5\|{}\|2\|process 42 ', being_created, re.M)
    assert re.search(r"^failed \d+ days ago: OSError: gone\|MediaType\|", being_created, re.M)
    assert re.search(r"^\d+ days ago\|MediaType\|.*\|OSError: gone\|2$", failed, re.M)
    assert [line.split("|")[:2] for line in biggest.splitlines()[1:3]] == [["3", "Track"], ["2", "Note"]]
    assert re.search(r"^\d+ days\|Note\|", biggest, re.M)
    assert saved.splitlines() == [
        "table|creations|queries_saved|largest_herd",
        "Track|1|999|999",
        "Genre|1|3|3",
        "Note|1|0|0",
    ]
    assert left == ""


def test_what_is_left_behind_is_told_apart(example: Path) -> None:
    subprocess.run(
        [
            "sqlite3",
            str(example),
            "INSERT INTO discarded (number) VALUES (91);"
            " INSERT INTO shape_rows (id, value) SELECT column1 << 28 | column2, '{}'"
            " FROM (VALUES (91, 1), (92, 1), (92, 2), (93, 1));"
            " DELETE FROM owners WHERE owner = 'dead'",
        ],
        check=True,
    )
    lock = sqlite3(example, f"SELECT number FROM create_locks WHERE handle = '{PLAYLISTS_HANDLE}'").splitlines()[1]
    assert sqlite3(example, "SELECT * FROM left_behind ORDER BY number").splitlines() == [
        "what|number",
        f"a lock of a store that is gone|{lock}",
        "rows pending deletion|91",
        "rows that belong to no shape|92",
        "rows that belong to no shape|93",
    ]


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_199, "119 min"), (7_200, "2 h"), (172_800, "2 days"), (-60, "0 s")],
)
def test_ages_are_told_in_the_unit_that_fits(example: Path, seconds: int, age: str) -> None:
    before, told, after = "", "", "later"
    while before != after:  # the clock went on between the statements
        before, told, after = subprocess.run(
            [
                "sqlite3",
                str(example),
                "SELECT unixepoch('now');"
                f" UPDATE owners SET opened_at_ms = (unixepoch('now') - {seconds}) * 1000;"
                " SELECT DISTINCT age FROM owners_in_words; SELECT unixepoch('now')",
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
    assert told == age
