"""Processes killed at random points under load: nothing acknowledged is lost, nothing half-made seen, no key stuck."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from random import Random
from typing import Any

import pytest
from linearizability import Call, Held, Outcome, unexplained
from load import CHURNED, checksum
from processes import PATIENCE, ROWS_OF_NUMBER, Worker, Workers, assert_sound, owner_files, read, together, until

PROCESSES = 4
SEED = 4585


class Soak:
    """A few processes under load, one of which is killed every now and then, and replaced."""

    def __init__(self, workers: Workers, path: str, seed: int) -> None:
        self._workers = workers
        self._path = path
        self._random = Random(seed)
        self._history = f"{path}-history"
        self._stop = f"{path}-stop"
        self._working: dict[Worker, Future[Any]] = {}
        [self._spare] = workers.start()

    def run(self, kills: int) -> None:
        for _ in range(PROCESSES):
            self._put_to_work()
        for _ in range(kills):
            time.sleep(self._random.random() * 0.2)  # a random point, which is what this is about
            self._kill_one()
            self._put_to_work()
        time.sleep(0.2)
        Path(self._stop).touch()
        for load in self._working.values():
            load.result(PATIENCE)
        for worker in self._working:
            worker.end()

    def _put_to_work(self) -> None:
        """Have the spare process open the store and begin: now and then it is killed before it is done with that."""
        worker = self._spare
        [self._spare] = self._workers.start()
        opening = worker.send("open", path=self._path, note=0.5)
        if self._random.random() < 0.2:
            time.sleep(self._random.random() * 0.02)
            self._kill(worker)
            self._put_to_work()
            return
        opening.result(PATIENCE)
        seed = self._random.randrange(2**32)
        self._working[worker] = worker.send("load", history=self._history, seed=seed, stop=self._stop)

    def _kill_one(self) -> None:
        victim = self._random.choice(list(self._working))
        if self._random.random() < 0.3:  # it may be stopped before, inside a transaction, too
            victim.stop_anywhere()
            time.sleep(self._random.random() * 0.05)
        load = self._working.pop(victim)
        assert not load.done(), f"the load ended by itself: {load.exception()}"
        self._kill(victim)

    def _kill(self, worker: Worker) -> None:
        worker.kill()
        with open(self._history, "a") as history:
            history.write(json.dumps({"died": worker.pid, "at": time.monotonic_ns()}) + "\n")
        worker.clear_away()

    def calls(self) -> Iterator[tuple[Call, str | None]]:
        """Every call, and the checksum of the rows that it saw."""
        begun: dict[str, dict[str, Any]] = {}
        died: dict[str, int] = {}
        for line in map(json.loads, Path(self._history).read_bytes().splitlines()):
            if "died" in line:
                died[str(line["died"])] = line["at"]
            elif "kind" in line:
                begun[line["call"]] = line
            else:
                yield self._call(begun.pop(line["call"]), line["at"], line["result"]), line.get("rows")
        for first in begun.values():
            yield self._call(first, died[first["call"].split()[0]], Outcome.UNKNOWN), None

    @staticmethod
    def _call(first: dict[str, Any], returned: int, result: Any) -> Call:
        held = tuple(result) if isinstance(result, list) else result
        return Call(first["key"], first["kind"], first["at"], returned, held, first.get("handle"))


# A dozen kills in the short form. A failure of the long one is reproduced by its seed, as far as that goes.
@pytest.mark.parametrize(
    ("kills", "seed"), [(12, SEED), *(pytest.param(100, SEED + n, marks=pytest.mark.slow) for n in (1, 2, 3))]
)
def test_kills_at_random_points_under_load(workers: Workers, path: str, kills: int, seed: int) -> None:
    soak = Soak(workers, path, seed)
    soak.run(kills)
    calls = list(soak.calls())
    results = Counter((call.kind, call.result is not Outcome.UNKNOWN) for call, _ in calls)
    assert all(results[kind, True] > 3 * kills for kind in ("get_or_create", "get", "delete"))
    assert results["get_or_create", False] > kills / 2, "the kills interrupted nothing"

    assert_sound(path)
    assert unexplained(call for call, _ in calls) == []
    kept, seen = what_was_acknowledged(calls)
    assert len(kept) > 2 * kills
    assert {key: handles for key, handles in kept.items() if len(handles) > 1} == {}
    stored = dict(read(path, "SELECT table_name, handle FROM shapes"))
    for key, [handle] in kept.items():
        assert stored.get(key) == handle
        sums = set().union(*(sums for (of, _), sums in seen.items() if of == handle))
        assert rows_in_the_file(path, handle) in sums
    assert {held: sums for held, sums in seen.items() if len(sums) > 1} == {}
    assert_nothing_is_stuck(workers, path, set(kept) | set(CHURNED))


def what_was_acknowledged(calls: list[tuple[Call, str | None]]) -> tuple[dict[str, set[str]], dict[Held, set[str]]]:
    """The handles that were given for each key that is kept, and the checksums of the rows seen of each moment."""
    kept: defaultdict[str, set[str]] = defaultdict(set)
    seen: defaultdict[Held, set[str]] = defaultdict(set)
    for call, rows in calls:
        if isinstance(call.result, tuple):
            if call.key not in CHURNED:
                kept[call.key].add(call.result[0])
            if rows is not None:
                seen[call.result].add(rows)
    return kept, seen


def rows_in_the_file(path: str, handle: str) -> str:
    values = read(
        path, f"SELECT value FROM shapes JOIN shape_rows ON {ROWS_OF_NUMBER} WHERE handle = ? ORDER BY id", handle
    )
    return checksum([json.loads(value) for value in values])


def assert_nothing_is_stuck(workers: Workers, path: str, keys: set[str]) -> None:
    assert owner_files(path) == set(read(path, "SELECT owner FROM owners")) == set()
    fresh = workers.open(path, 2)
    assert fresh[0].call("locks") == []
    assert owner_files(path) == set(read(path, "SELECT owner FROM owners"))
    until(lambda: not read(path, "SELECT number FROM discarded"), "all discarded rows are deleted")
    for key in keys:
        handles = together(fresh, "get_or_create", key=key)
        assert handles[0] == handles[1]
    for worker in fresh:
        worker.end()
    assert_sound(path)
    assert read(path, "SELECT count(*) FROM create_locks") == [0]
