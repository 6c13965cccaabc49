"""One work, in a process of its own: ``python -m benchmark.run WORK SIZES FOLDER``. Its rows are its last line."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path

import msgspec

from benchmark.rows import Row
from benchmark.sizes import FULL, QUICK


def main(work: str, sizes: str, folder: str) -> None:
    module = importlib.import_module(f"benchmark.{work}")
    rows: list[Row] = asyncio.run(module.measure(QUICK if sizes == "quick" else FULL, Path(folder)))
    print(msgspec.json.encode(rows).decode(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
