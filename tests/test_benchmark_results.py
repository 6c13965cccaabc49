"""What the README shows of the benchmark is what was measured."""

from __future__ import annotations

from pathlib import Path

from benchmark.machine import in_words
from benchmark.report import judgement, read

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "scripts" / "benchmark" / "results"


def test_the_readme_shows_the_table_and_the_machine_of_the_results_that_are_kept() -> None:
    results = read(RESULTS)
    readme = (ROOT / "README.md").read_text()
    assert "\n".join(judgement(results)) in readme
    assert in_words(results.machine) in " ".join(readme.split())
    assert not results.quick


def test_the_readme_shows_the_plots_that_are_kept() -> None:
    readme = (ROOT / "README.md").read_text()
    plots = list(RESULTS.glob("*.svg"))
    assert len(plots) == 2
    for plot in plots:
        assert f"({plot.relative_to(ROOT)})" in readme
