"""The event loop that tests and their worker processes run on: what `scripts/test --loop` names."""

from __future__ import annotations

import asyncio
import os

KINDS = ("asyncio", "uvloop", "eager")

VARIABLE = "SHAPESTORE_TEST_LOOP"


def new_loop() -> asyncio.AbstractEventLoop:
    kind = os.environ.get(VARIABLE, "asyncio")
    if kind == "uvloop":
        import uvloop  # noqa: PLC0415 - not on every system

        return uvloop.new_event_loop()
    loop = asyncio.new_event_loop()
    if kind == "eager":
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]  # from 3.12 on
    return loop
