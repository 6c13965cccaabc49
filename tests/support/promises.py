"""How new the rows must be that a caller is given, and whether they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from recorded_source import COLUMNS, KEYS, SHAPES, RecordedSource, Row
from watched_logs import by_key

from shapestore import Shape

Versions = dict[int, int]
"""The version of the source from which on a row must be, under each key."""


class Promises:
    """What was promised to all who ask from now on.

    ``one_moment``: shapes are of one moment of their source, whatever was promised.
    """

    def __init__(self, source: RecordedSource, *, one_moment: bool) -> None:
        self._source = source
        self._one_moment = one_moment
        self._promised: dict[Shape, Versions] = {shape: defaultdict(int) for shape in SHAPES}
        self._touched: dict[Shape, Versions] = {shape: defaultdict(int) for shape in SHAPES}

    def promise(self, shapes: Iterable[Shape], version: int) -> None:
        """These shapes are not older from now on."""
        for shape in shapes:
            _raise(self._promised[shape], version, KEYS)

    def touched(self, table: str, keys: Iterable[int] | None, version: int) -> None:
        """These rows are not older from now on, except for those who wait for a shape's first creation."""
        for shape in SHAPES:
            if shape.table == table:
                _raise(self._touched[shape], version, KEYS if keys is None else keys)

    def now(self, shape: Shape, *, waits_for_first: bool, demands: bool) -> Versions:
        """What holds for one who asks now; ``demands`` that it is read after the call."""
        if demands:
            return dict.fromkeys(KEYS, self._source.version)
        promised, touched = self._promised[shape], self._touched[shape]
        return {key: max(promised[key], 0 if waits_for_first else touched[key]) for key in KEYS}

    def check(self, shape: Shape, found: list[dict[str, Any]], promised: Versions) -> None:
        """Assert that these rows are as new."""
        rows: list[Row] = [tuple(row[name] for name in COLUMNS) for row in found]
        if self._one_moment:
            since = min(promised.values())
            version = self._source.version_of(shape, rows, since=since)
            assert version is not None, f"{shape} was never so since version {since}: {rows}"
        for key, row in by_key(rows).items():
            version = self._source.version_of_row(shape, key, row, since=promised[key])
            assert version is not None, f"{key} of {shape} is {row}, which is older than version {promised[key]}"


def _raise(versions: Versions, version: int, keys: Iterable[int]) -> None:
    for key in keys:
        versions[key] = max(versions[key], version)
