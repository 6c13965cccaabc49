"""What the READMEs show of the benchmark is what was measured, and is small enough for a repository."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "scripts" / "benchmark" / "results"


def table(text: str) -> list[list[str]]:
    lines = (line for line in text.splitlines() if line.startswith("| "))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_readme_shows_figures_of_the_results_that_are_kept() -> None:
    kept = (RESULTS / "results.md").read_text()
    assert "quick run" not in kept
    measured = {(work, beside, figure, absolute) for work, beside, _, figure, *_, absolute in judged(table(kept))}
    shown = table((ROOT / "README.md").read_text().partition("\n## Benchmarks\n")[2].partition("\n## ")[0])[1:]
    assert len(shown) >= 5
    assert [row for row in shown if tuple(row) not in measured] == []


def judged(rows: list[list[str]]) -> list[list[str]]:
    return [row for row in rows if len(row) == 7]


def test_the_plots_are_small_and_are_shown() -> None:
    readme = (ROOT / "scripts" / "README.md").read_text()
    for plot in ("peers.svg", "coalescing.svg"):
        assert f"/{(RESULTS / plot).relative_to(ROOT)})" in readme
        assert (RESULTS / plot).stat().st_size < 20_000
        assert ElementTree.parse(RESULTS / plot).getroot().tag.endswith("svg")
