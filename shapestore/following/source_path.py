"""Where a source is: the path of its file, also where a link that leads to it is switched to another file."""

from __future__ import annotations

import os
from typing import Protocol

from shapestore.source.sqlite_feed.file import Meanings


class Source(Protocol):
    """What is followed: an SQLSource with ``follow=True``."""

    @property
    def nan_as_null(self) -> bool: ...

    def source_path(self) -> str: ...

    def named_path(self) -> str | None: ...

    def meanings(self) -> Meanings: ...


class SourcePath:
    """The path of one source's file."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._resolved = ""
        self.named = ""
        """As the source itself names it, where that leads to the file: over the links on the way."""

    def now(self) -> str:
        """The resolved path. Raises InvalidSourceError, or what connecting raises.

        The source is asked once, and again after a switch: an engine that connects creates a file where there is none
        any more.
        """
        if not self._resolved or self._was_switched():
            self._resolved = self._source.source_path()
            named = os.path.abspath(self._source.named_path() or self._resolved)
            self.named = named if os.path.realpath(named) == self._resolved else self._resolved
        return self._resolved

    def expected(self) -> str | None:
        """The resolved path where the file was last, or where it should be; None if the source does not name it."""
        named = self._resolved or self._source.named_path()
        return named and os.path.realpath(named)

    def _was_switched(self) -> bool:
        return os.path.realpath(self.named) != self._resolved and os.path.exists(self.named)
