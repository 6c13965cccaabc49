"""The package's logger. What the application does with its records must not break what they are about."""

from __future__ import annotations

import logging
import traceback
from typing import Any


class _Logger(logging.LoggerAdapter[logging.Logger]):
    """As ``logging.getLogger("shapestore")``; but a handler or a filter that raises is told of on stderr only."""

    def log(self, level: int, msg: object, *args: object, **more: Any) -> None:
        try:
            super().log(level, msg, *args, stacklevel=2, **more)
        except Exception:
            if logging.raiseExceptions:  # as logging does where it catches an error of a handler itself
                traceback.print_exc()


logger = _Logger(logging.getLogger("shapestore"))
