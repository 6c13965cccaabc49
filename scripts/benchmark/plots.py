"""The plots, as SVG, from the results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmark import coalescing
from benchmark.report import Results, figure
from benchmark.rows import SHAPESTORE, Row

OURS, THEIRS, OTHER = "#0b6e4f", "#8d99ae", "#d1495b"
COLOURS = {SHAPESTORE: OURS, coalescing.POLLS: THEIRS, coalescing.QUEUES: OTHER}


def draw(results: Results, folder: Path) -> None:
    # The same results give the same file, byte for byte.
    with mpl.rc_context(
        {"svg.hashsalt": "shapestore", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    ):
        _save(_growing_herds(results), folder / "coalescing.svg")
        _save(_peers(results), folder / "peers.svg")


def _save(plot: Figure, path: Path) -> None:
    plot.savefig(path, metadata={"Date": None}, facecolor="white")


def _growing_herds(results: Results) -> Figure:
    plot = Figure(figsize=(10, 3.4), layout="constrained")
    rows = [row for row in results.rows if row.callers is not None]
    works = (coalescing.QUEUE, coalescing.TIME, coalescing.CPU)
    for axes, work in zip(plot.subplots(1, len(works)), works, strict=True):
        growing = [row for row in rows if row.work.startswith(work)]
        for contender, colour in COLOURS.items():
            medians = [row.median(contender) for row in growing]
            axes.plot([row.callers for row in growing], medians, "o-", color=colour, label=contender, markersize=3.5)
        axes.set(xscale="log", yscale="log", xlabel="callers at once", title=f"{work}, {growing[0].unit}")
        axes.grid(alpha=0.25)
    plot.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return plot


def _peers(results: Results) -> Figure:
    plot = Figure(figsize=(10, 4.6), layout="constrained")
    chosen = [_row(results, start) for start in ("hit", "herd in one process", "herd over")]
    distinct = next(row for row in results.rows if "distinct shapes" in row.work)
    for axes, row in zip(plot.subplots(2, 2).flat, [*chosen, distinct], strict=True):
        _bars(axes, row, "more is better" if row is distinct else "less is better")
    return plot


def _row(results: Results, start: str) -> Row:
    return next(row for row in results.rows if row.work.startswith(start))


def _bars(axes: Any, row: Row, direction: str) -> None:
    contenders: Sequence[str] = sorted(row.samples, key=row.median, reverse="less" in direction)
    medians = [row.median(contender) for contender in contenders]
    colours = [OURS if contender.startswith(SHAPESTORE) else THEIRS for contender in contenders]
    bars = axes.barh(contenders, medians, color=colours)
    axes.bar_label(bars, [figure(value) for value in medians], padding=3)
    work = row.work.replace(", time over", ",\ntime over").replace(", latest", ",\nlatest")
    axes.set(xscale="log", title=f"{work}\n({row.unit}; {direction})")
    axes.margins(x=0.15)
