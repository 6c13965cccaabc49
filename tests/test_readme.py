"""The README's examples run, in the order in which they stand, in one namespace, as a reader would paste them."""

from __future__ import annotations

import ast
import asyncio
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parent.parent / "README.md"
APPS = Path(__file__).parent / "apps"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def reader_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the database that the examples read."""
    monkeypatch.chdir(tmp_path)
    connection = sqlite3.connect("chinook.db")
    connection.execute('CREATE TABLE "Track" ("TrackId" INTEGER PRIMARY KEY, "Name" TEXT, "AlbumId" INTEGER)')
    connection.executemany(
        "INSERT INTO Track VALUES (?, ?, ?)", [(1, "For Those About To Rock", 1), (2, "Balls to the Wall", 2)]
    )
    connection.commit()
    connection.close()
    return tmp_path


def test_the_examples_run(reader_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {"__name__": "readme", "archive_is_down": lambda: False}
    python = blocks("python")
    assert len(python) >= 3
    for block in python:
        run(block, namespace)
    assert "{'TrackId': 1, 'Name': 'For Those About To Rock'}" in capsys.readouterr().out


def run(block: str, namespace: dict[str, Any]) -> None:
    """Run a block; one with ``await`` outside a function runs in an event loop of its own."""
    code = compile(block, str(README), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, namespace)
    if result is not None:
        asyncio.run(result)


@pytest.mark.parametrize("name", ["fastapi_app.py", "test_with_a_store.py", "litestream.yml", "datasette.yml"])
def test_the_files_of_the_apps_are_shown_as_they_are_tested(name: str) -> None:
    language = "python" if name.endswith(".py") else "yaml"
    assert (APPS / name).read_text() in blocks(language)
