"""What can be asked of the writer, and what each does to the file inside the batch's transaction.

Commands of one kind are done together, in bulk statements. Those of one batch are concurrent (none has been
answered yet), so any order among them is a right one; they are done in the order of ``KINDS``, in which what
ends attempts comes before what publishes, and what frees keys before what claims them.
"""

from __future__ import annotations

from typing import Any

from shapestore.storage.commands.attempts import Abandon, AddRows, Claim, Fail, Publish, Release, Sweep, end_owner
from shapestore.storage.commands.command import Command
from shapestore.storage.commands.shapes import Delete, DeleteDiscarded, Evict, Invalidate, Note

KINDS: tuple[type[Command[Any]], ...] = (
    Abandon,
    Sweep,
    Release,
    Invalidate,
    Delete,
    Publish,
    Fail,
    AddRows,
    Claim,
    Note,
    Evict,
    DeleteDiscarded,
)

__all__ = [
    "KINDS",
    "Abandon",
    "AddRows",
    "Claim",
    "Command",
    "Delete",
    "DeleteDiscarded",
    "Evict",
    "Fail",
    "Invalidate",
    "Note",
    "Publish",
    "Release",
    "Sweep",
    "end_owner",
]
