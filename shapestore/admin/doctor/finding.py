"""A finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"
    """Damage, or a store that cannot work."""
    WARNING = "warning"
    """The store works, but something needs attention."""
    NOTE = "note"
    """Nothing has to be done: it is normal, or the next store that opens the file clears it away."""


@dataclass(frozen=True, slots=True)
class Finding:
    severity: Severity
    name: str
    """A fixed name, for programs: "row-count", "dead-owner"."""
    what: str
    """What was found, in a sentence."""
    to_do: str
    """What to do about it, in a sentence."""
