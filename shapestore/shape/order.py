"""The order of rows, where it is asked for."""

from __future__ import annotations

from msgspec import Struct


class Order(Struct, frozen=True):
    """One column that rows are sorted by."""

    column: str
    descending: bool = False
    nulls_first: bool = False
