"""Time that passes for stored shapes, by changes of their file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any


def grow_old(path: str, seconds: float) -> None:
    """Move the moment at which the shapes were confirmed into the past."""
    edit(path, "UPDATE shapes SET confirmed_at_boot_ms = confirmed_at_boot_ms - ?", round(seconds * 1000))


def edit(path: str, statement: str, *parameters: Any) -> None:
    """Without the gate: the store of this very loop may be holding it. SQLite's own lock is held for a moment only."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
        connection.execute(statement, parameters)
