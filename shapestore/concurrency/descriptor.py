"""A file descriptor that belongs to one object of one process."""

from __future__ import annotations

import os

from shapestore.concurrency import at_fork


class Descriptor:
    """Closes its descriptor once: when it is told to, when it is forgotten, and in a forked child at once.

    What the kernel ties to a descriptor, such as a lock, a child would share: one that outlives its parent would
    make the parent look alive. Closing the child's copy does not release it for the parent.
    """

    _fd = -1

    def _own(self, fd: int) -> None:
        self._fd = fd
        at_fork.register(self)

    def close(self) -> None:
        """Close it, which releases its locks. Closing twice does no harm."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def in_forked_child(self) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()  # a store that was dropped unclosed, its loop with it, has ended
