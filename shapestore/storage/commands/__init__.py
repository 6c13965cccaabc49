"""What can be asked of the writer, and what each does to the file inside the batch's transaction.

    command        what a command is
    attempts       lock rows: claimed, failed, abandoned, released, swept
    publication    the rows of an attempt, and the shape that is made of them
    history        how an attempt's end is recorded
    shapes         stored shapes are read, dropped, evicted
    rounds         what a follower writes
    touched        rows of a source may have changed, as an application says; touched_queries has its statements
    compaction     logs are cut, and what is pending deletion is deleted

Commands of one kind are carried out together, in bulk statements. Those of one batch are concurrent (none has been
answered yet), so any order among them is right; they are carried out in the order of ``KINDS``, in which what ends
attempts comes before what publishes, and what frees keys before what claims them.
"""

from __future__ import annotations

from typing import Any

from shapestore.storage.commands.attempts import Abandon, Claim, EndOwner, Fail, Release, Sweep, end_owner
from shapestore.storage.commands.command import Command
from shapestore.storage.commands.compaction import Compact, DeletePiece, TrimLog
from shapestore.storage.commands.publication import AddRows, CopyRows, Publish, PublishDifference, Void
from shapestore.storage.commands.rounds import FollowRound, Unfollow, UnfollowSource
from shapestore.storage.commands.shapes import Delete, Evict, ForgetKept, Invalidate, InvalidateKey, Note, Register
from shapestore.storage.commands.touched import MarkStale, MarkTheseStale, MarkTouched, PublishTouched

KINDS: tuple[type[Command[Any]], ...] = (
    Abandon,
    Sweep,
    Release,
    EndOwner,
    Invalidate,
    InvalidateKey,
    Delete,
    Unfollow,
    UnfollowSource,
    Register,
    Note,  # what was read comes before what is published now, which is read last
    MarkTouched,
    MarkStale,
    MarkTheseStale,
    Publish,
    PublishDifference,
    PublishTouched,
    FollowRound,
    Fail,
    AddRows,
    CopyRows,
    Claim,
    Evict,
    ForgetKept,
    Compact,
    TrimLog,
    DeletePiece,
)

__all__ = [
    "KINDS",
    "Abandon",
    "AddRows",
    "Claim",
    "Command",
    "Compact",
    "CopyRows",
    "Delete",
    "DeletePiece",
    "EndOwner",
    "Evict",
    "Fail",
    "FollowRound",
    "ForgetKept",
    "Invalidate",
    "InvalidateKey",
    "MarkStale",
    "MarkTheseStale",
    "MarkTouched",
    "Note",
    "Publish",
    "PublishDifference",
    "PublishTouched",
    "Register",
    "Release",
    "Sweep",
    "TrimLog",
    "Unfollow",
    "UnfollowSource",
    "Void",
    "end_owner",
]
