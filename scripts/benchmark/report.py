"""The results as JSON, which the plots are made from too, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from benchmark.machine import Machine, in_words
from benchmark.rows import SHAPESTORE, Row, Target


class Results(msgspec.Struct, kw_only=True):
    machine: Machine
    quick: bool
    rows: list[Row]
    """Those that have targets, and those of what is only shown."""


def write(results: Results, folder: Path) -> None:
    encoded = msgspec.json.format(msgspec.json.encode(results), indent=1)
    (folder / "results.json").write_bytes(encoded)
    (folder / "results.md").write_text("\n".join(_markdown(results)) + "\n")


def read(folder: Path) -> Results:
    return msgspec.json.decode((folder / "results.json").read_bytes(), type=Results)


def _markdown(results: Results) -> Iterator[str]:
    judged = [(row, target) for row in results.rows for target in row.targets]
    met = sum(row.is_met(target) for row, target in judged)
    yield "# shapestore and its peers"
    yield ""
    if results.quick:
        yield "**A quick run: it shows that the benchmark works. Its figures mean nothing.**"
        yield ""
    yield in_words(results.machine)
    yield ""
    yield (
        "A figure is a ratio of medians of repeats made in turns; behind it, the middle half of the ratios, repeat by "
        f"repeat. {met} of {len(judged)} targets are met."
    )
    yield ""
    yield from judgement(results)
    yield ""
    yield "## All contenders"
    yield ""
    yield "The CPU time is that of the whole process, for each operation or caller."
    for row in results.rows:
        if row.callers is None:
            yield ""
            yield f"### {row.work[0].upper()}{row.work[1:]}"
            yield ""
            yield from _table(("", row.unit, "ratio", "CPU, µs"), list(_contenders(row)))
    yield ""
    yield "## As callers grow"
    yield ""
    yield from _growth([row for row in results.rows if row.callers is not None])


def judgement(results: Results) -> Iterator[str]:
    """The table of all targets, which the README shows too."""
    yield from _table(
        ("work", "beside", "target", "figure", "", "met", "absolute"),
        [_judged(row, target) for row in results.rows for target in row.targets],
    )


def _judged(row: Row, target: Target) -> tuple[str, ...]:
    sign = "≥" if target.at_least else "≤"
    lower, upper = (figure(ratio) for ratio in row.spread(target))
    met = "yes" if row.is_met(target) else "**no**"
    ours = figure(row.median(target.contender))
    what = target.contender.removeprefix(SHAPESTORE).lstrip(", ")
    work = f"{row.work}: {what}" if what else row.work
    if target.peer is None:
        bound = f"{sign} {figure(target.bound)} {row.unit}".rstrip()
        return work, "", bound, ours, f"{lower} to {upper}", met, f"{ours} {row.unit}".rstrip()
    absolute = f"{ours} / {figure(row.median(target.peer))} {row.unit}"
    bound = f"{sign} {figure(target.bound)} x"
    return work, target.peer, bound, f"{figure(row.ratio(target))} x", f"{lower} to {upper}", met, absolute


def _contenders(row: Row) -> Iterator[tuple[str, ...]]:
    """All, with what each has to what the first has."""
    first = next(iter(row.samples))
    for contender in row.samples:
        ratio = row.median(contender) / row.median(first)
        cpu = figure(_median(row.cpu_us[contender])) if contender in row.cpu_us else ""
        yield contender, figure(row.median(contender)), figure(ratio), cpu


def _growth(rows: Sequence[Row]) -> Iterator[str]:
    contenders = list(rows[0].samples) if rows else []
    yield from _table(
        ("", "unit", *contenders),
        [(row.work, row.unit, *(figure(row.median(contender)) for contender in contenders)) for row in rows],
    )


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def figure(value: float) -> str:
    """Three digits, or all of a larger number."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
