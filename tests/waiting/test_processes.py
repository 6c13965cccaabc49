"""Waiters in several processes: woken by each other's commits, spared by each other's evictions, killed."""

from __future__ import annotations

import pytest
from processes import Refused, Worker, Workers, assert_sound, read, until

ROWS = [{"id": 1, "n": 0}, {"id": 2, "n": 0}]


def put(worker: Worker, n: int, key: str = "a") -> tuple[str, int]:
    handle, position = worker.call("put", key=key, rows=[{"id": 1, "n": n}, {"id": 2, "n": 0}])
    return handle, position


def registered(path: str) -> set[str]:
    return set(read(path, "SELECT handle FROM readers JOIN shapes ON number = shape"))


def test_waiters_of_all_processes_are_woken_by_any_of_them(path: str, workers: Workers) -> None:
    started = workers.open(path, 3)
    handle, position = put(started[0], 0)
    for n in range(1, 7):
        waiting = [worker.send("wait", handle=handle, after=position) for worker in started for _ in range(3)]
        handle, position = put(started[n % 3], n)
        assert {each.result(60) for each in waiting} == {position}
    waiting = [worker.send("wait", handle=handle, after=position) for worker in started]
    started[1].call("delete", handle=handle)
    for each in waiting:
        with pytest.raises(Refused, match="ShapeGoneError"):
            each.result(60)
    for worker in started:
        worker.end()
    assert_sound(path)


def test_what_a_process_waits_for_is_evicted_last_by_every_other(path: str, workers: Workers) -> None:
    [waiter] = workers.open(path)
    [evicting] = workers.open(path, max_shapes=3)
    handle, position = put(waiter, 0)
    waiting = waiter.send("wait", handle=handle, after=position)
    until(lambda: registered(path) == {handle}, "the waiter is registered")
    for number in range(10):
        put(evicting, 0, f"other {number}")
    until(lambda: evicting.call("count") == 3, "the limit is kept")
    assert evicting.call("get", key="a") == handle
    assert put(evicting, 1)[1] == waiting.result(60)


def test_the_limit_is_kept_though_all_are_waited_for(path: str, workers: Workers) -> None:
    [waiter] = workers.open(path)
    stored = [put(waiter, 0, key) for key in "abc"]
    waiting = [waiter.send("wait", handle=handle, after=position) for handle, position in stored]
    until(lambda: len(registered(path)) == 3, "the waiters are registered")
    [evicting] = workers.open(path, max_shapes=2)
    until(lambda: any(each.done() for each in waiting), "one goes")
    with pytest.raises(Refused, match="ShapeGoneError"):
        waiting[0].result(60)
    assert evicting.call("count") == 2
    assert not waiting[1].done()
    assert not waiting[2].done()


def test_a_process_killed_while_it_waits_leaves_nothing_behind(path: str, workers: Workers) -> None:
    killed, other = workers.open(path, 2)
    handle, position = put(killed, 0)
    killed.send("wait", handle=handle, after=position)
    until(lambda: registered(path) == {handle}, "the waiter is registered")
    killed.kill()
    waiting = other.send("wait", handle=handle, after=position)
    [late] = workers.open(path)
    until(lambda: read(path, "SELECT count(*) FROM readers")[0] <= 1, "the dead one's registration has gone")
    assert put(late, 1)[1] == waiting.result(60)
    other.end()
    late.end()
    assert read(path, "SELECT count(*) FROM readers") == [0]
    assert_sound(path)
