"""The two plots, written as SVG by hand: a few kilobytes each, with text that stays text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from benchmark import coalescing
from benchmark.report import Results, figure
from benchmark.rows import SHAPESTORE

WIDTH = 840
OURS, THEIRS, OTHER = "#0b6e4f", "#8d99ae", "#d1495b"
COLOURS = {SHAPESTORE: OURS, coalescing.POLLS: THEIRS, coalescing.QUEUES: OTHER}


def draw(results: Results, folder: Path) -> None:
    (folder / "coalescing.svg").write_text(_svg(270, _growing_herds(results)))
    (folder / "peers.svg").write_text(_svg(480, _peers(results)))


def _svg(height: int, elements: Iterator[str]) -> str:
    style = "text { font: 11px sans-serif; fill: #222 } .title { font-weight: bold } polyline { fill: none }"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
    white = f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    return "\n".join([head, f"<style>{style}</style>", white, *elements, "</svg>", ""])


def _text(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'


class _Scale:
    """Where a value lies between two ends of an axis, by its logarithm."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._lowest, highest = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        self.decades = [10.0**power for power in range(self._lowest, highest + 1)]
        self._start = start
        self._step = (end - start) / max(1, highest - self._lowest)

    def __call__(self, value: float) -> float:
        return self._start + (math.log10(value) - self._lowest) * self._step


def _growing_herds(results: Results) -> Iterator[str]:
    """Three panels side by side: what grows with the number of callers, for each of the strategies."""
    rows = [row for row in results.rows if row.callers is not None]
    for column, work in enumerate((coalescing.QUEUE, coalescing.TIME, coalescing.CPU)):
        growing = [row for row in rows if row.work.startswith(work)]
        left, right, top, bottom = 60 + column * 270, 240 + column * 270, 30, 200
        x = _Scale([float(row.callers or 1) for row in growing], left, right)
        y = _Scale([row.median(name) for row in growing for name in COLOURS], bottom, top)
        yield _text(left, top - 12, f"{work}, {growing[0].unit}", kind="title")
        for decade in y.decades:
            yield f'<path d="M{left} {y(decade):.0f}H{right}" stroke="#ddd"/>'
            yield _text(left - 6, y(decade) + 4, f"{decade:,g}", anchor="end")
        for decade in x.decades:
            yield _text(x(decade), bottom + 16, f"{decade:,.0f}", anchor="middle")
        for name, colour in COLOURS.items():
            points = [(x(row.callers or 1), y(row.median(name))) for row in growing]
            line = " ".join(f"{across:.1f},{down:.1f}" for across, down in points)
            yield f'<polyline points="{line}" stroke="{colour}" stroke-width="2"/>'
            yield from (f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3" fill="{colour}"/>' for across, down in points)
    yield _text(WIDTH / 2, 232, "callers at once", anchor="middle")
    for index, (name, colour) in enumerate(COLOURS.items()):
        left = (150, 280, 450)[index]
        yield f'<rect x="{left}" y="246" width="14" height="10" fill="{colour}"/>'
        yield _text(left + 20, 255, name)


def _peers(results: Results) -> Iterator[str]:
    """Four panels, two by two: each work's contenders as bars, the best on top."""
    works = ("hit", "herd in one process", "herd over", "distinct shapes")
    chosen = [next(row for row in results.rows if work in row.work) for work in works]
    for index, row in enumerate(chosen):
        more_is_better = "second" in row.unit
        left, top = 20 + index % 2 * 420, 20 + index // 2 * 260
        direction = "more" if more_is_better else "less"
        work, _, rest = row.work.partition(", ")
        yield _text(left, top, work, kind="title")
        yield _text(left, top + 15, f"{rest} ({row.unit}; {direction} is better)".strip())
        contenders = sorted(row.samples, key=row.median, reverse=more_is_better)
        medians = [row.median(name) for name in contenders]
        bars = left + 190
        x = _Scale(medians, bars, bars + 140)
        for line, (name, value) in enumerate(zip(contenders, medians, strict=True)):
            y = top + 34 + line * 19
            colour = OURS if name.startswith(SHAPESTORE) else THEIRS
            yield _text(bars - 6, y, name, anchor="end")
            yield f'<rect x="{bars}" y="{y - 10}" width="{x(value) - bars + 2:.0f}" height="13" fill="{colour}"/>'
            yield _text(x(value) + 7, y, figure(value))
