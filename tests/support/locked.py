"""Whether another process, or this one, has a lock."""

from __future__ import annotations

from shapestore.locking.file_lock import content_if_locked


def is_locked(path: str) -> bool:
    """Whether the file at ``path`` is locked. Raises OSError if that cannot be told."""
    return content_if_locked(path) is not None
