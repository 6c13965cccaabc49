"""Processes that are asked, and answer, in lines."""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType
from typing import Self


class Child:
    """``python -m benchmark.MODULE ARGUMENT ...``; it ends when its standard input does."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._command = (sys.executable, "-m", f"benchmark.{module}", *arguments)
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        stdin.close()
        await self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, line: str) -> str:
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(f"{line}\n".encode())
        return await self.hear()

    async def hear(self) -> str:
        stdout = self._process.stdout
        assert stdout is not None
        heard = (await stdout.readline()).decode().strip()
        if not heard:
            raise RuntimeError(f"{' '.join(self._command)} ended with status {await self._process.wait()}")
        return heard


async def said_by(module: str, *arguments: str) -> str:
    """The one line that a child says."""
    async with Child(module, *arguments) as child:
        return await child.hear()
