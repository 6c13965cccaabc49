"""The places of ``max_creating``: so many creators run at once, and no more; the first to ask is the first to get."""

from __future__ import annotations

import asyncio


class Slots:
    """``count`` places. A place is asked for, granted in turn, and given back once."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._asked: dict[asyncio.Future[None], None] = {}

    def __len__(self) -> int:
        """How many wait for a place."""
        return len(self._asked)

    def ask(self) -> asyncio.Future[None]:
        """A future that is done when the place is granted: at once, if one is free."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked[place] = None
        self._grant()
        return place

    def give_back(self, place: asyncio.Future[None]) -> None:
        """Give a granted place back, or take the question back."""
        if place.done():
            self._free += 1
            self._grant()
        else:
            del self._asked[place]

    def _grant(self) -> None:
        while self._free and self._asked:
            place = next(iter(self._asked))
            del self._asked[place]
            self._free -= 1
            place.set_result(None)
