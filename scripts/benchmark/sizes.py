"""How much of everything: enough for figures, or only enough to see that the benchmark works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    repeats: int
    """Of each contender; of works that take seconds, fewer are made."""
    long_repeats: int
    hits: int
    herds: tuple[int, ...]
    processes: int
    callers_a_process: int
    distinct: tuple[int, ...]
    creations: int
    read_rows: tuple[int, ...]
    rows_a_sample: int
    """A small shape is read so often that this many rows are read."""
    refreshed_rows: int
    live_shapes: int
    changes: int
    lags: int
    idle_seconds: float
    synced_rows: int
    live_clients: int
    snapshot_rows: int
    few_shapes: int
    many_shapes: int
    waiters: int
    followers: tuple[int, ...]
    growing_herd: tuple[int, ...]


FULL = Sizes(
    repeats=11,
    long_repeats=5,
    hits=20_000,
    herds=(1_000, 10_000),
    processes=4,
    callers_a_process=250,
    distinct=(1_000, 5_000),
    creations=300,
    read_rows=(1, 10, 100, 1_000, 10_000),
    rows_a_sample=20_000,
    refreshed_rows=100_000,
    live_shapes=10_000,
    changes=20_000,
    lags=200,
    idle_seconds=5.0,
    synced_rows=100_000,
    live_clients=1_000,
    snapshot_rows=1_000_000,
    few_shapes=1_000,
    many_shapes=1_000_000,
    waiters=10_000,
    followers=(10, 1_000),
    growing_herd=(10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000),
)

QUICK = Sizes(
    repeats=2,
    long_repeats=1,
    hits=1_000,
    herds=(100, 200),
    processes=2,
    callers_a_process=20,
    distinct=(100, 300),
    creations=50,
    read_rows=(1, 100, 10_000),
    rows_a_sample=1_000,
    refreshed_rows=10_000,
    live_shapes=100,
    changes=1_000,
    lags=10,
    idle_seconds=0.5,
    synced_rows=2_000,
    live_clients=20,
    snapshot_rows=10_000,
    few_shapes=100,
    many_shapes=5_000,
    waiters=2_000,
    followers=(10, 100),
    growing_herd=(10, 30, 100),
)
