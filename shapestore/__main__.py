"""``python -m shapestore`` is the command line."""

from __future__ import annotations

import sys

from shapestore.cli import main

sys.exit(main())
