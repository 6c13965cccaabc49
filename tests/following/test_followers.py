"""Followers and the event loop that answers them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from shapestore import StoreClosedError
from shapestore.following.followers import Followers
from shapestore.following.store_side import StoreSide
from shapestore.storage.commands import UnfollowSource
from shapestore.storage.writer import Writer
from shapestore.telemetry import Telemetry

Refused = Callable[[StoreClosedError], object]


class SlowWriter:
    """Answers nothing by itself."""

    def __init__(self) -> None:
        self.sent: asyncio.Future[Refused] = asyncio.get_running_loop().create_future()

    def send(self, command: Any, answered: Any, refused: Refused) -> None:
        self.sent.set_result(refused)


@pytest.mark.parametrize("is_refused", [True, False], ids=["what is sent is refused", "nobody answers"])
def test_a_follower_ends_whose_loop_is_closed_while_it_waits_for_the_writer(is_refused: bool) -> None:
    """As where a program closes its loop, but not its store."""

    async def sent() -> Refused:
        writer = SlowWriter()
        store = Followers("shapes.db", cast(Writer, writer), cast(Telemetry, None), sweep_later=lambda _, __: None)
        answers.append(threads.submit(StoreSide(store).written, UnfollowSource(1)))
        return await writer.sent

    answers: list[Any] = []
    with ThreadPoolExecutor() as threads:
        loop = asyncio.new_event_loop()
        refuse = loop.run_until_complete(sent())
        loop.close()
        if is_refused:
            refuse(StoreClosedError("the writer was stopped"))
        with pytest.raises(StoreClosedError, match="was stopped" if is_refused else "was closed while"):
            answers[0].result(timeout=60.0)
