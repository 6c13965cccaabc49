"""An interrupt that reaches the store's own work, which continues: in a notebook the event loop runs on after it."""

from __future__ import annotations

import asyncio
from typing import NoReturn


def raise_from_loop(interrupt: KeyboardInterrupt | SystemExit) -> None:
    """Have the running event loop raise an interrupt to the program that runs it, as it does with those of tasks."""
    asyncio.get_running_loop().call_soon(_raise, interrupt)


def _raise(interrupt: BaseException) -> NoReturn:
    raise interrupt
