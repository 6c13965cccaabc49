"""The phases of an attempt, and all transitions between them."""

from __future__ import annotations

from enum import IntEnum


class Phase(IntEnum):
    """How far an attempt has come. As an int, since the hash of another Enum's member is slow."""

    CLAIMING = 1
    """Its claim is in the writer's queue."""
    CREATING = 2
    """Its lock row is committed, and its creator runs."""
    LANDING = 3
    """Its outcome is decided, and on its way to the file."""
    ENDED = 4
    """Its outcome is committed or void; or it never led."""


TRANSITIONS: dict[Phase, set[Phase]] = {
    Phase.CLAIMING: {
        Phase.CREATING,  # the claim is committed
        Phase.LANDING,  # the claim is committed, but the attempt was given up meanwhile: it is abandoned
        Phase.ENDED,  # another attempt was first, or the claim was refused
    },
    Phase.CREATING: {
        Phase.LANDING,  # the creator has ended, or its time is up, or the attempt was given up
        Phase.ENDED,  # an unexpected error
    },
    Phase.LANDING: {
        Phase.ENDED,  # the outcome is committed, or void, or the store closes and it cannot be written
    },
    Phase.ENDED: set(),
}
