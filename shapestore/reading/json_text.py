"""Rows as bytes of JSON, as they are stored: nothing is decoded."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from shapestore.storage.log.read import Batch


async def as_array(batches: AsyncGenerator[Batch, None]) -> AsyncGenerator[bytes, None]:
    """One JSON array, a piece for each batch of rows that commas separate."""
    opening = b"["
    async with aclosing(batches):
        async for batch in batches:
            if batch.row_count:
                yield opening + batch.text
                opening = b","
    yield b"[]" if opening == b"[" else b"]"


async def as_lines(batches: AsyncGenerator[Batch, None]) -> AsyncGenerator[bytes, None]:
    """Newline-delimited JSON, a piece for each batch of rows that newlines separate."""
    async with aclosing(batches):
        async for batch in batches:
            if batch.row_count:
                yield batch.text + b"\n"
