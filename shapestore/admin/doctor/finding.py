"""What the doctor says: one finding at a time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"
    """Damage, or a store that cannot work."""
    WARNING = "warning"
    """The store works, but something is left behind, set wrongly or in the way."""
    NOTE = "note"
    """Good to know; nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    severity: Severity
    name: str
    """One word for programs: "row-count", "dead-owner"."""
    what: str
    """What was found, in a sentence."""
    to_do: str
    """What to do about it, in a sentence."""
