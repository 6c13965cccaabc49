from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from example_store import NOW, example_store


@pytest.fixture(autouse=True)
def terminal_of_100_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": "100", "LINES": "40", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def empty_path(empty_path: str) -> str:
    """As every test has it, but private to its user, as a store makes it."""
    os.chmod(empty_path, 0o600)
    return empty_path


@pytest.fixture
def example(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The path of the example store, from its folder; the clock stands still."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.time", lambda: NOW)
    with example_store(empty_store, "shapes.db"):
        yield "shapes.db"
