"""Sources for tests: rows in memory that a test changes, and a creator that reads them."""

from __future__ import annotations

from typing import Any

from shapestore import Shape

Row = dict[str, Any]


class Rows:
    """The rows that a creator gives, by their key ``id``. Every table holds the same."""

    def __init__(self, *ids: int) -> None:
        self.rows: dict[int, Row] = {}
        self.reads = 0
        self.put(*ids, n=0)

    def put(self, *ids: int, n: int) -> None:
        """Rows with these keys from now on."""
        for id_ in ids:
            self.rows[id_] = {"id": id_, "n": n}

    def remove(self, *ids: int) -> None:
        for id_ in ids:
            del self.rows[id_]

    def key_columns(self, _: Shape) -> list[str]:
        return ["id"]

    def __call__(self, shape: Shape) -> list[Row]:
        self.reads += 1
        return list(self.rows.values())
