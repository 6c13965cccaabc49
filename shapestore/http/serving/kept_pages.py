"""Pages of snapshots that were put into messages, kept for the clients that come after."""

from __future__ import annotations

from collections import OrderedDict

from shapestore.storage.log.pages import SnapshotRange

# What keeping a body takes beside its own bytes, about: small shapes have bodies of no more than a hundred.
ENTRY_BYTES = 400


class KeptPages:
    """The bodies of the pages that were asked for last, of ``most_bytes`` together.

    What a range names never changes, so a body that is kept cannot be out of date. Who may have it was decided before:
    its name says of which shape it is, and so for whom.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._bodies: OrderedDict[SnapshotRange, bytes] = OrderedDict()

    def get(self, range_: SnapshotRange) -> bytes | None:
        """The body of these rows, if it is kept."""
        body = self._bodies.get(range_)
        if body is not None:
            self._bodies.move_to_end(range_)
        return body

    def put(self, range_: SnapshotRange, body: bytes) -> None:
        """Keep a body, and forget those that were not asked for the longest, until all have room.

        One that is too large by itself is not kept. Of clients who were given the same page, each brings it.
        """
        if range_ in self._bodies or _size(body) > self._most_bytes:
            return
        self._bodies[range_] = body
        self._bytes += _size(body)
        while self._bytes > self._most_bytes:
            _, forgotten = self._bodies.popitem(last=False)
            self._bytes -= _size(forgotten)


def _size(body: bytes) -> int:
    return ENTRY_BYTES + len(body)
