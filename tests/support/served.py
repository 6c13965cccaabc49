"""Processes that serve one store on one port, as real clients see them, and that can be killed."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

SUPPORT = Path(__file__).resolve().parent
PATIENCE = 60.0


class Served:
    """A SQLite source with the table ``todo``, and processes that run ``synced_app`` over it and one store.

    The socket is the test's: clients find the same port while no process lives, and their connections wait for one.
    """

    def __init__(self, folder: Path, workers: int = 1) -> None:
        self.source = folder / "source.db"
        self.path = folder / "shapes.db"
        self._workers = workers
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._processes: list[subprocess.Popen[str]] = []
        self._complaints = tempfile.TemporaryFile("w+")
        self.sql("CREATE TABLE todo (id INTEGER PRIMARY KEY, title TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0)")
        self.sql("PRAGMA journal_mode = WAL")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def sql(self, statement: str, *values: Any) -> list[Any]:
        """Run one statement on the source, as an application beside the server would."""
        with closing(sqlite3.connect(self.source, timeout=PATIENCE)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def todos(self, where: str = "1") -> list[dict[str, Any]]:
        """The rows of the table that hold ``where``, as the clients must come to see them."""
        columns = ("id", "title", "done")
        found = self.sql(f"SELECT id, title, done FROM todo WHERE {where}")
        return [dict(zip(columns, row, strict=True)) for row in found]

    def start(self) -> None:
        """Start the processes that are not there. None has to be ready: connections wait in the socket."""
        descriptor = self._socket.fileno()
        command = [sys.executable, "-m", "synced_app", str(descriptor), str(self.path), str(self.source), "todo"]
        while len(self._processes) < self._workers:
            self._processes.append(
                subprocess.Popen(
                    command,
                    cwd=SUPPORT,
                    env=os.environ | {"PYTHONPATH": f"{SUPPORT}{os.pathsep}{SUPPORT.parents[1]}"},
                    pass_fds=[descriptor],
                    stdout=subprocess.DEVNULL,
                    stderr=self._complaints,
                    text=True,
                )
            )

    def kill(self) -> None:
        """Kill all of them at once, as ``kill -9`` does."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(PATIENCE)
        self._processes = []

    def stop(self) -> list[int]:
        """Stop them as a service manager does; their exit codes."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(PATIENCE) for process in self._processes]
        self._processes = []
        return codes

    def close(self) -> str:
        """Leave nothing; what the processes complained of."""
        self.kill()
        self._socket.close()
        self._complaints.seek(0)
        complaints = self._complaints.read()
        self._complaints.close()
        sys.stderr.write(complaints)  # pytest shows it if the test has failed
        return complaints
