"""The tables of a store's file, as SQLAlchemy metadata: what alembic compares its migrations with.

    shapes      shapes, their rows and logs, and what is kept of them
    attempts    attempts, their owners and outcomes
    rounds      rounds of logs, and the sources that live shapes follow
    totals      what is counted, and the triggers that count it
    columns     what the tables have in common
    views       what the tables say, in words

Names and values are plain, since people read them in the ``sqlite3`` shell.

- A column ending ``_ms`` is a time in integer milliseconds since the epoch, from the wall clock, for people.
- A column ending ``_boot_ms`` is a time since the machine started, and the column ``_boot`` beside it names that start:
  these are what ages are computed from.
- A shape is stored under a short number, its attempt's. Its rows and changes have the ids ``number << 28 | position``,
  so that all of a shape lies together in one range.
"""

from __future__ import annotations

from shapestore.storage.schema import attempts, rounds, shapes
from shapestore.storage.schema.columns import metadata
from shapestore.storage.schema.totals import TOTALS, TRIGGERS

__all__ = ["TOTALS", "TRIGGERS", "attempts", "metadata", "rounds", "shapes"]
