"""The command: measures every work, or some, and writes the table and the plots."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from benchmark import machine, plots, report
from benchmark.rows import Row

WORKS = (
    "hit",
    "reading",
    "herd",
    "herd_of_processes",
    "distinct",
    "alone",
    "slow_and_quick",
    "beside_a_writer",
    "snapshot",
    "layout",
    "refreshing",
    "live",
    "http",
    "million_shapes",
    "memory",
    "opening",
    "followers",
    "coalescing",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure shapestore beside its peers.")
    parser.add_argument(
        "--quick", action="store_true", help="only to see that it works: less than a minute, no figures"
    )
    parser.add_argument("--output", type=Path, default=Path(".bench"), help="where results go (default: .bench)")
    parser.add_argument("--plots", action="store_true", help="measure nothing: draw the results that are there")
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"only these, without plots: {', '.join(WORKS)}")
    options = parser.parse_args()
    if unknown := set(options.works) - set(WORKS):
        parser.error(f"no such work: {', '.join(sorted(unknown))}")
    options.output.mkdir(parents=True, exist_ok=True)
    if not options.plots:
        _measure(options.output, options.works or WORKS, quick=options.quick)
    if not options.works:
        plots.draw(report.read(options.output), options.output)
    print(f"Results: {options.output / 'results.md'}", file=sys.stderr)


def _measure(output: Path, works: list[str] | tuple[str, ...], *, quick: bool) -> None:
    # Beside the results, and so on a disk: the usual place of temporary files may be in memory.
    with tempfile.TemporaryDirectory(dir=output) as folder:
        described = machine.describe(Path(folder))
    rows: list[Row] = []
    failed: list[str] = []
    for work in works:
        print(work, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=output) as folder:
            measured = _run(work, "quick" if quick else "full", os.path.abspath(folder))
        rows += measured
        if not measured or any(row.has_no_figure() for row in measured):
            failed.append(work)
    results = report.Results(machine=described, quick=quick, rows=rows)
    report.write(results, output)
    print((output / "results.md").read_text())
    if failed:
        sys.exit(f"There are no figures, or not all, of: {', '.join(failed)}")


def _run(work: str, sizes: str, folder: str) -> list[Row]:
    """The rows of one work; none, if it failed, which it will have said why."""
    command = [sys.executable, "-m", "benchmark.run", work, sizes, folder]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    return [] if done.returncode else msgspec.json.decode(done.stdout.splitlines()[-1], type=list[Row])


if __name__ == "__main__":
    main()
