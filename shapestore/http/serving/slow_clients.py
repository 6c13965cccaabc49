"""Answers in pieces, each of which a client has to take in time: one that takes none holds no page in memory."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Send

PIECE_BYTES = 256 * 1024
PATIENCE = 30.0
"""Seconds for which a piece may be on its way."""


class GoneError(Exception):
    """The client takes nothing. The answer ends where it is, and the server closes the connection."""


def in_pieces(send: Send) -> Send:
    """As ``send``, but a large body in pieces. Raises GoneError if one is not taken in time."""

    async def send_in_pieces(message: Message) -> None:
        body = message.get("body", b"")
        if len(body) <= PIECE_BYTES:
            await send(message)
            return
        view, loop = memoryview(body), asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PATIENCE) as patience:
                for start in range(0, len(body), PIECE_BYTES):
                    end = start + PIECE_BYTES
                    more = message.get("more_body", False) or end < len(body)
                    await send({**message, "body": bytes(view[start:end]), "more_body": more})
                    patience.reschedule(loop.time() + PATIENCE)
        except TimeoutError as error:
            raise GoneError("the client does not read its answer") from error

    return send_in_pieces
