"""A signal to stop is noticed beside the handler that a server has set, and changes nothing about that."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from shapestore.http.serving import stopping
from shapestore.http.serving.stopping import Stopping


@pytest.fixture(autouse=True)
def _handlers_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


async def test_the_handler_that_was_set_is_called_and_live_answers_are_told() -> None:
    handled: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: handled.append(number))
    told = asyncio.Event()
    stop = Stopping()
    with stop.telling(told.set):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(told.wait(), 30)
    assert handled == [signal.SIGTERM]
    assert stop.begun


async def test_a_handler_is_wrapped_once_however_many_ask_for_it() -> None:
    handled: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: handled.append(number))
    stops = [Stopping() for _ in range(3)]
    for stop in stops * 2:
        stop.watch()
    os.kill(os.getpid(), signal.SIGTERM)
    while not all(stop.begun for stop in stops):
        await asyncio.sleep(0.01)
    assert handled == [signal.SIGTERM]


async def test_a_signal_that_ends_the_process_by_itself_is_left_alone() -> None:
    for handler in (signal.SIG_DFL, signal.SIG_IGN):
        signal.signal(signal.SIGTERM, handler)
        Stopping().watch()
        assert signal.getsignal(signal.SIGTERM) is handler


async def test_who_comes_after_the_beginning_is_told_at_once() -> None:
    stop, told = Stopping(), []
    stop.watch()
    stop.begin()
    with stop.telling(lambda: told.append(1)):
        assert told == [1]


def test_an_application_may_go_on_with_another_event_loop() -> None:
    stop = Stopping()

    async def begin() -> None:
        stop.watch()
        assert not stop.begun
        stop.begin()

    asyncio.run(begin())
    asyncio.run(begin())


def test_a_signal_after_the_end_of_the_loop_does_no_harm() -> None:
    handled: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: handled.append(number))
    stops = [Stopping()]

    async def watch() -> None:
        stops[0].watch()

    asyncio.run(watch())
    os.kill(os.getpid(), signal.SIGTERM)
    while not handled:
        pass
    stops.clear()
    gc.collect()
    os.kill(os.getpid(), signal.SIGTERM)
    while len(handled) < 2:
        pass


def test_in_another_thread_than_the_main_one_no_handler_is_touched() -> None:
    signal.signal(signal.SIGTERM, lambda *_: None)
    before = signal.getsignal(signal.SIGTERM)

    async def watch() -> None:
        Stopping().watch()

    thread = threading.Thread(target=asyncio.run, args=(watch(),))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
