from __future__ import annotations

import asyncio
import os
import stat
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from children import HOLD, child, children
from locked import is_locked
from processes import until

from shapestore.errors import StoreBusyError
from shapestore.locking.gate import _RUN_SECONDS, Gate

# Each turn reads a number from a file and writes it back, greater by one, and notes whose turn it was. Without a gate
# numbers would be lost. All take their turns at once, and each comes back as soon as it has left.
TAKE_TURNS = """
import asyncio, os, sys, time
from shapestore.locking.gate import _RUN_SECONDS, Gate

path, way, turns, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])

def take_turn():
    with open(path + ".count", "r+") as file:
        number = int(file.read() or 0)
        time.sleep(seconds)
        file.seek(0)
        file.write(str(number + 1))
    with open(path + ".turns", "a") as file:
        file.write(str(os.getpid()) + "\\n")
    return number

async def on_the_loop():
    gate = Gate(path)
    number = 0
    while number < turns:
        await gate.acquire()
        number = take_turn()
        gate.release()
    gate.close()

def blocking():
    gate = Gate(path)
    number = 0
    while number < turns:
        with gate.hold_blocking():
            number = take_turn()
    gate.close()

print("ready", flush=True)
sys.stdin.readline()
asyncio.run(on_the_loop()) if way == "loop" else blocking()
"""


@pytest.fixture
def gate(path: str) -> Gate:
    return Gate(path)


def test_a_gate_makes_no_file_before_it_is_entered(path: str, gate: Gate) -> None:
    assert not os.path.exists(f"{path}-gate")
    with gate.hold_blocking():
        assert stat.S_IMODE(os.stat(f"{path}-gate").st_mode) == 0o600
    gate.close()
    assert os.path.exists(f"{path}-gate")


async def test_one_is_inside_at_a_time(path: str, gate: Gate) -> None:
    another = Gate(path)
    await gate.acquire()
    with pytest.raises(StoreBusyError):
        await another.acquire(timeout=0)
    with pytest.raises(StoreBusyError), another.hold_blocking(timeout=0):
        pass
    gate.release()
    await another.acquire(timeout=0)
    another.release()
    gate.close()
    another.close()


@pytest.mark.parametrize("way", ["loop", "thread"])
@pytest.mark.parametrize("turns", [400, pytest.param(20_000, marks=pytest.mark.slow)])
def test_among_processes_no_two_are_inside_at_once(path: str, way: str, turns: int) -> None:
    Path(f"{path}.count").touch()
    with children(4, TAKE_TURNS, path, way, str(turns), "0.0001") as processes:
        assert [process.hear() for process in processes] == ["ready"] * 4
        for process in processes:
            process.say("go")
        assert [process.ended() for process in processes] == [0] * 4
    taken = Path(f"{path}.turns").read_text().split()
    assert len(taken) == int(Path(f"{path}.count").read_text()) == turns + 4


@pytest.mark.parametrize("turns", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_everybody_gets_turns_though_each_comes_back_as_soon_as_it_has_left(path: str, turns: int) -> None:
    Path(f"{path}.count").touch()
    with children(4, TAKE_TURNS, path, "loop", str(turns), "0.004") as processes:
        assert [process.hear() for process in processes] == ["ready"] * 4
        for process in processes:
            process.say("go")
        assert [process.ended() for process in processes] == [0] * 4
    taken = Counter(Path(f"{path}.turns").read_text().split())
    assert len(taken) == 4
    assert min(taken.values()) > turns / 40  # a fair share were a quarter of them


async def test_who_waits_too_long_is_told_what_is_in_the_way_and_holds_nothing(path: str, gate: Gate) -> None:
    with child(HOLD, gate.path) as holder:
        assert holder.hear() == "locked"
        with pytest.raises(
            StoreBusyError, match=r"could not acquire the write gate .*shapes\.db-gate.* within 0\.02 s"
        ) as caught:
            await gate.acquire(timeout=0.02)
        assert caught.value.retry_after > 0
        with pytest.raises(StoreBusyError, match="nothing was written"), gate.hold_blocking(timeout=0.02):
            pass
        holder.say("go")
        assert holder.ended() == 0
    assert not is_locked(gate.path)
    await gate.acquire(timeout=0)
    gate.release()
    gate.close()


async def test_the_gate_of_a_killed_process_is_free(gate: Gate) -> None:
    with child(HOLD, gate.path) as holder:
        assert holder.hear() == "locked"
        holder.kill()
        await gate.acquire(timeout=0)
        gate.release()
    gate.close()


async def test_who_waits_gets_in_when_the_other_leaves_and_blocks_nobody_meanwhile(path: str, gate: Gate) -> None:
    another = Gate(path)
    await another.acquire()
    waiting = asyncio.create_task(gate.acquire())
    for _ in range(100):
        await asyncio.sleep(0)
    assert not waiting.done()
    another.release()
    await waiting
    assert is_locked(gate.path)
    gate.release()
    gate.close()
    another.close()


async def test_one_who_is_cancelled_while_it_waits_holds_nothing(path: str, gate: Gate) -> None:
    another = Gate(path)
    await another.acquire()
    for turns in range(10):
        waiting = asyncio.create_task(gate.acquire())
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    another.release()
    assert not is_locked(gate.path)
    await gate.acquire(timeout=0)
    gate.release()
    gate.close()
    another.close()


async def test_an_exception_inside_leaves_the_gate(gate: Gate) -> None:
    with pytest.raises(ZeroDivisionError), gate.hold_blocking():
        raise ZeroDivisionError
    assert not is_locked(gate.path)
    gate.close()


# --- the gate's file is removed, as a tidy administrator might do


async def test_a_gate_whose_file_was_removed_is_the_file_that_is_there_then(path: str, gate: Gate) -> None:
    await gate.acquire()
    gate.release()
    os.unlink(gate.path)
    newcomer = Gate(path)
    await newcomer.acquire()
    with pytest.raises(StoreBusyError):
        await gate.acquire(timeout=0.02)
    newcomer.release()
    await gate.acquire()
    with pytest.raises(StoreBusyError):
        await newcomer.acquire(timeout=0.02)
    gate.release()
    gate.close()
    newcomer.close()


async def test_a_gate_whose_file_was_removed_and_not_made_again_makes_it(gate: Gate) -> None:
    await gate.acquire()
    gate.release()
    os.unlink(gate.path)
    await gate.acquire()
    assert is_locked(gate.path)
    gate.release()
    gate.close()


async def test_one_who_waits_while_the_file_is_removed_ends_up_at_the_new_one(path: str, gate: Gate) -> None:
    old, new = Gate(path), Gate(path)
    await old.acquire()
    waiting = asyncio.create_task(gate.acquire())
    await asyncio.sleep(0.005)
    os.unlink(gate.path)
    await new.acquire()
    old.release()  # the waiter now gets the lock on the file that is no gate any more
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert not waiting.done()
    new.release()
    await waiting
    assert is_locked(gate.path)
    for one in (gate, old, new):
        one.close()


# --- turns


async def test_one_who_is_alone_may_come_back_at_once(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Being fair to others is to cost nothing where there are none."""
    pauses = 0
    sleep = asyncio.sleep

    async def counted(seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", counted)
    until = time.monotonic() + 10 * _RUN_SECONDS
    while time.monotonic() < until:
        await gate.acquire()
        gate.release()
    gate.close()
    assert pauses <= 1  # at first, for what it does not know yet


async def test_a_thread_gets_in_between_the_turns_of_one_who_never_stays_away(path: str, gate: Gate) -> None:
    came_in = threading.Event()

    def enter() -> None:
        another = Gate(path)
        with another.hold_blocking():
            came_in.set()
        another.close()

    thread = threading.Thread(target=enter)
    thread.start()
    while not came_in.is_set():
        await gate.acquire()
        await asyncio.sleep(0.003)
        gate.release()
    until(lambda: not thread.is_alive(), "the thread has ended")
    gate.close()
