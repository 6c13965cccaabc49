"""What the tables have in common."""

from __future__ import annotations

from sqlalchemy import Column, Computed, Integer, MetaData, Text, text

metadata = MetaData()


def number(name: str, default: int | None = None) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=None if default is None else text(str(default)))


def definition() -> list[Column[str]]:
    """What a shape is. The where is kept as it was written too: that is what is executed."""
    return [
        Column("comparable", Text, nullable=False, unique=True),
        Column("namespace", Text, nullable=False),
        Column("table_name", Text, nullable=False),
        Column("where_as_written", Text),
    ]


def log() -> list[Column[int]]:
    """Where the log of a shape stands. ``floor``: changes up to there are forgotten."""
    return [
        number("row_count"),
        number("snapshot"),  # the first snapshot has the positions 1 to this
        number("position"),  # the last that readers see
        number("written"),  # the last in the file: beyond position only while a round is unfinished
        number("round", 0),  # of position; 0 for the first snapshot
        number("floor", 0),
        number("floor_round", 0),
        number("bytes"),  # of the rows, as JSON in UTF-8
        number("log_bytes", 0),
    ]


_POSITION_COLUMNS = (
    ("shape", "id >> 28"),
    ("position", "id & 268435455"),
)


def ids() -> list[Column[int]]:
    return [
        Column("id", Integer, primary_key=True),
        *(Column(name, Integer, Computed(formula, persisted=False)) for name, formula in _POSITION_COLUMNS),
    ]
