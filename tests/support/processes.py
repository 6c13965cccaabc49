"""Real processes for tests: workers (see worker.py) that can be told, killed, stopped and continued."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any, TypeVar

from shapestore.locking.gate import Gate

T = TypeVar("T")

SUPPORT = Path(__file__).resolve().parent

# Nothing takes nearly as long; it only keeps a test that hangs from hanging for ever.
PATIENCE = 60.0

# The name of a file that no creator will see.
NEVER = "/nonexistent/file"


class Refused(Exception):
    """A worker's command raised; ``str`` of it is "Type: message"."""


class Gone(Exception):
    """The worker ended before it answered."""


class Worker:
    """A process that runs worker.py."""

    def __init__(self) -> None:
        self._complaints = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "default", "-m", "worker"],
            cwd=SUPPORT,
            env=os.environ | {"PYTHONPATH": f"{SUPPORT}{os.pathsep}{SUPPORT.parents[1]}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
        )
        self._path: str
        self._numbers = itertools.count(1)
        self._asked: dict[int, Future[Any]] = {}
        self._events: list[dict[str, Any]] = []
        self._heard = threading.Condition()
        self._gone = False
        self._listener = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    # --- telling it, and being told

    def send(self, do: str, **arguments: Any) -> Future[Any]:
        """Ask for something; the answer comes by the future, as a Refused if the command raised."""
        if do == "open":
            self._path = arguments["path"]
        answer: Future[Any] = Future()
        number = next(self._numbers)
        with self._heard:
            if self._gone:
                raise Gone(self._how_it_ended())
            self._asked[number] = answer
        _stdin(self.process).write(json.dumps({"id": number, "do": do} | arguments) + "\n")
        _stdin(self.process).flush()
        return answer

    def call(self, do: str, **arguments: Any) -> Any:
        """Ask for something, and wait for the answer."""
        return self.send(do, **arguments).result(PATIENCE)

    @property
    def creations(self) -> int:
        """How many creators have begun to run."""
        return len(self._events)

    def wait_for_creations(self, how_many: int = 1) -> None:
        """Wait until so many creators have begun to run."""
        with self._heard:
            self._heard.wait_for(lambda: self._gone or self.creations >= how_many, PATIENCE)
        if self.creations < how_many:
            raise Gone(f"{self.creations} creators have begun, not {how_many}; {self._how_it_ended()}")

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._heard:
                self._hear(json.loads(line))
        with self._heard:
            self._gone = True
            asked, self._asked = self._asked, {}
            self._heard.notify_all()
        for answer in asked.values():
            answer.set_exception(Gone(self._how_it_ended()))

    def _hear(self, said: dict[str, Any]) -> None:
        if "event" in said:
            self._events.append(said)
            self._heard.notify_all()
        elif "error" in said:
            self._asked.pop(said["id"]).set_exception(Refused(f"{said['error']}: {said['message']}"))
        else:
            self._asked.pop(said["id"]).set_result(said["ok"])

    # --- its life and death

    def end(self) -> None:
        """Have it end in good order: quickly, with status 0 and without a word of complaint."""
        _stdin(self.process).close()
        self.process.wait(PATIENCE)
        assert (self.process.returncode, self.complaints()) == (0, "")

    def kill(self) -> None:
        """Kill it as ``kill -9`` does, and reap it."""
        self.kill_without_reaping()
        self.process.wait(PATIENCE)

    def kill_without_reaping(self) -> None:
        """Leave a zombie: the process is dead, but nobody asked what it died of."""
        os.kill(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stop it as ``kill -STOP`` does, outside its write transactions; it has stopped when this returns.

        An answer comes while the gate is still held: a process that is stopped there keeps all others out.
        """
        with Gate(str(Path(self._path).resolve())).hold_blocking():
            self.stop_anywhere()

    def stop_anywhere(self) -> None:
        """Stop it at once, perhaps in the middle of a write transaction."""
        os.kill(self.pid, signal.SIGSTOP)
        self.wait_until_stopped()

    def wait_until_stopped(self) -> None:
        def stopped() -> bool:
            pid, status = os.waitpid(self.pid, os.WUNTRACED | os.WNOHANG)
            assert not pid or os.WIFSTOPPED(status), self._how_it_ended()
            return bool(pid)

        until(stopped, "the worker has stopped")

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def clear_away(self) -> None:
        """Leave nothing of it, whatever has become of it. Once more does no harm."""
        if self._complaints.closed:
            return
        if self.process.returncode is None:
            self.kill()
        self._listener.join(PATIENCE)
        with contextlib.suppress(BrokenPipeError):
            _stdin(self.process).close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        sys.stderr.write(self.complaints())  # pytest shows it if the test has failed
        self._complaints.close()

    def complaints(self) -> str:
        """What it wrote to its stderr."""
        self._complaints.seek(0)
        return self._complaints.read()

    # --- what many tests do

    def lead(self, key: str, rows: int = 0, **options: Any) -> Future[Any]:
        """Have it lead, write so many rows, and then wait for ever, unless ``until`` names a file to come."""
        begun = self.creations
        answer = self.send("get_or_create", **{"key": key, "rows": rows + 3, "before": rows, "until": NEVER} | options)
        self.wait_for_creations(begun + 1)
        return answer

    def follow(self, key: str, **options: Any) -> Future[Any]:
        """Have it ask for what another leads; it waits when this returns."""
        polls = self.call("stats")["polls"]
        answer = self.send("get_or_create", key=key, **options)
        until(lambda: self.call("stats")["polls"] > polls + 1, "the worker follows")
        return answer

    def _how_it_ended(self) -> str:
        return f"the worker's status is {self.process.returncode}; it wrote: {self.complaints() or 'nothing'}"


class Spares:
    """Workers that are started before a test asks for them: Python and the package take a while to load."""

    _KEPT = 4

    def __init__(self) -> None:
        self._waiting: list[Worker] = []

    def take(self, how_many: int) -> list[Worker]:
        self._start(how_many)
        taken, self._waiting = self._waiting[:how_many], self._waiting[how_many:]
        self._start(self._KEPT)
        return taken

    def _start(self, how_many: int) -> None:
        self._waiting += [Worker() for _ in range(how_many - len(self._waiting))]

    def close(self) -> None:
        for worker in self._waiting:
            worker.clear_away()


class Workers:
    """The workers of one test. The file of their store, where it is missing, is a copy of ``empty_store``."""

    def __init__(self, empty_store: Path, spares: Spares) -> None:
        self._empty_store = empty_store
        self._spares = spares
        self._started: list[Worker] = []

    def start(self, how_many: int = 1) -> list[Worker]:
        """So many, with no store yet."""
        started = self._spares.take(how_many)
        self._started += started
        return started

    def open(self, path: str | Path, how_many: int = 1, **options: Any) -> list[Worker]:
        """So many, each with a store on the file at ``path``."""
        started = self.start(how_many)
        if not os.path.exists(path):
            shutil.copyfile(self._empty_store, path)
        together(started, "open", path=str(path), **options)
        return started

    def close(self) -> None:
        """Leave none."""
        for worker in self._started:
            worker.clear_away()


def together(workers: Iterable[Worker], do: str, **arguments: Any) -> list[Any]:
    """Ask several at once for the same, and wait for all of their answers."""
    answers = [worker.send(do, **arguments) for worker in workers]
    return [answer.result(PATIENCE) for answer in answers]


def _stdin(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdin is not None
    return process.stdin


def until(holds: Callable[[], T], what: str) -> T:
    """Look until something holds; what it gave."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.002)


# --- the file, as an operator sees it


@contextlib.contextmanager
def _connected(path: str | Path, mode: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"file:{path}?mode={mode}", uri=True, isolation_level=None, timeout=60)
    with contextlib.closing(connection):
        yield connection


def read(path: str | Path, statement: str, *parameters: Any) -> list[Any]:
    """The rows that a statement gives: bare values, where it asks for one column."""
    with _connected(path, "ro") as connection:
        found = connection.execute(statement, parameters).fetchall()
    return [row[0] if len(row) == 1 else row for row in found]


def edit(path: str | Path, statement: str, *parameters: Any) -> None:
    """Change the file by hand."""
    with Gate(str(Path(path).resolve())).hold_blocking(), _connected(path, "rw") as connection:
        assert connection.execute(statement, parameters).rowcount > 0


@contextlib.contextmanager
def edited(path: str | Path) -> Iterator[sqlite3.Connection]:
    """The file, to be changed by hand in one transaction."""
    with Gate(str(Path(path).resolve())).hold_blocking(), _connected(path, "rw") as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")


def owner_files(path: str | Path) -> set[str]:
    return set(os.listdir(f"{path}-owners"))


def lock_of(path: str | Path, key: str) -> tuple[str, str] | None:
    """(handle, state) of a key's lock row."""
    return next(iter(read(path, "SELECT handle, state FROM create_locks WHERE table_name = ?", key)), None)


def attempt_of(path: str | Path, key: str) -> str:
    """The handle of a key's lock row."""
    lock = lock_of(path, key)
    assert lock is not None
    return lock[0]


# All rows of a number lie in one range of ids: found by the number alone, each of them would be looked at.
ROWS_OF_NUMBER = "shape_rows.id > number << 28 AND shape_rows.id < (number + 1) << 28"

_HANDLES = """
    WITH handles (number, handle) AS (
        SELECT number, handle FROM shapes
        UNION ALL SELECT number, handle FROM kept
        UNION ALL SELECT number, handle FROM create_locks WHERE number NOT IN (SELECT number FROM discarded))
"""


def rows_of(path: str | Path, handle: str) -> int:
    """How many rows are in the file under a handle, visible or not."""
    [count] = read(
        path, f"{_HANDLES} SELECT count(*) FROM handles JOIN shape_rows ON {ROWS_OF_NUMBER} WHERE handle = ?", handle
    )
    return int(count)


def handles_with_rows(path: str | Path) -> list[str]:
    """The handles of which there are rows in the file, in order; of what has no handle any more, the number."""
    return read(
        path,
        f"{_HANDLES} SELECT coalesce(handle, 'number ' || shape)"
        " FROM (SELECT DISTINCT shape FROM shape_rows) LEFT JOIN handles ON number = shape ORDER BY 1",
    )


def kept(path: str | Path) -> list[str]:
    """The handles that are kept for their readers, the oldest first."""
    return read(path, "SELECT handle FROM kept ORDER BY sequence")


def outcomes(path: str | Path) -> list[tuple[str, str]]:
    """(handle, outcome) of every attempt that has ended, oldest first."""
    return read(path, "SELECT handle, outcome FROM creations ORDER BY number")


def assert_sound(path: str | Path) -> None:
    """Whatever has happened: the file is whole, and nothing in it is half."""
    with _connected(path, "rw") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for table in ("shapes", "kept"):
            wrong = connection.execute(
                "SELECT handle, row_count, bytes, count(shape_rows.id) AS found,"
                " coalesce(sum(length(CAST(value AS BLOB))), 0) AS size"
                f" FROM {table} LEFT JOIN shape_rows ON {ROWS_OF_NUMBER}"
                # Until a round is finished, its rows are there, and not counted.
                f" GROUP BY number HAVING (found <> row_count AND written = {table}.position) OR size <> bytes"
            )
            assert wrong.fetchall() == []
        assert dict(connection.execute("SELECT name, value FROM totals")) == _totals(connection)
        for table in ("shape_rows", "shape_changes"):
            orphans = connection.execute(
                f"SELECT DISTINCT shape FROM {table} WHERE shape NOT IN (SELECT number FROM shapes UNION"
                " SELECT number FROM kept UNION SELECT number FROM discarded UNION SELECT number FROM create_locks)"
            )
            assert orphans.fetchall() == []
        [(newest,)] = connection.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'create_locks'")
        for table in ("shapes", "kept", "create_locks", "discarded"):
            [(last,)] = connection.execute(f"SELECT max(number) FROM {table}")
            assert (last or 0) <= (newest or 0), "a number would be used again"


def _totals(connection: sqlite3.Connection) -> dict[str, int]:
    """What the counters should say."""
    totals = {}
    for table, count, size in (("shapes", "shapes", "bytes"), ("kept", "kept", "kept_bytes")):
        [(totals[count], totals[size])] = connection.execute(
            f"SELECT count(*), coalesce(sum(bytes + log_bytes), 0) FROM {table}"
        )
    return totals
