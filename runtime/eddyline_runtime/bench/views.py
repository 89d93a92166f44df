"""What more views cost: how long a tick takes that makes one chunk for each of 1, 2, 4, ... views as one batch.

All views stay open; those that are not counted are parked. The counts take turns tick by tick, so that whatever slows
the machine for a while slows all of them alike, and the median of each is told.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from eddyline_runtime.bench.served import load, open_views, surroundings
from eddyline_runtime.config import EngineConfig
from eddyline_runtime.engine import Engine
from eddyline_runtime.view import Chunk
from eddyline_runtime.weights import World

WARM_UP_ROUNDS = 2
"""Rounds that are not counted: the first ticks of a batch of a new size are slow."""


@dataclass(frozen=True)
class Row:
    """So many views of a profile, the median of what a tick of them took, and the frames it made in a second."""

    profile: str
    views: int
    chunk_s: float
    frames_per_s: float


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The columns `profile`, `views`, `chunk_s` and `frames_per_s`, one entry a row, and what they were measured on.

    Raises:
        ConfigError: there is no such device or profile.
        WeightsError: there is no such world, or it is damaged.
    """
    world = load(arguments)
    profiles = sorted(world.card.profiles, key=lambda name: name != world.card.default_profile)
    chosen = profiles if arguments.profile is None else [arguments.profile]
    rows: list[Row] = []
    turns = (arguments.rounds + WARM_UP_ROUNDS) * len(arguments.views)
    with tqdm(total=turns * len(chosen), desc="bench", unit="tick", disable=None) as progress:
        for profile in chosen:
            rows += measure_profile(
                world, profile, arguments.views, arguments.rounds, clock=time.perf_counter, on_tick=progress.update
            )
    columns = ("profile", "views", "chunk_s", "frames_per_s")
    table = {column: [getattr(row, column) for row in rows] for column in columns}
    return {**table, "fps": world.card.fps, "rounds": arguments.rounds, **surroundings(arguments, world)}


def measure_profile(
    world: World,
    profile: str,
    counts: Sequence[int],
    rounds: int,
    *,
    clock: Callable[[], float],
    on_tick: Callable[[], object] = lambda: None,
) -> list[Row]:
    """A row for each count of views, from `rounds` ticks each."""
    most = max(counts)
    engine = Engine(world, EngineConfig(paced=False, max_views=most, max_batch=most), clock=clock)
    open_views(engine, range(1, most + 1), profile=profile, clock=clock)
    samples: dict[int, list[float]] = {count: [] for count in counts}
    for number in range(-WARM_UP_ROUNDS, rounds):
        for count in counts if number % 2 else reversed(counts):
            seconds = time_tick(engine, count, most, clock=clock)
            if number >= 0:
                samples[count].append(seconds)
            on_tick()
    frames = world.card.chunk_frames(world.card.profiles[profile])
    medians = {count: statistics.median(seconds) for count, seconds in samples.items()}
    return [Row(profile, count, medians[count], count * frames / medians[count]) for count in counts]


def time_tick(engine: Engine, count: int, most: int, *, clock: Callable[[], float]) -> float:
    """How long a tick takes that makes a chunk for each of the first `count` of `most` views, in seconds."""
    for view in range(1, most + 1):
        engine.rest(view, at_s=clock(), parked=view > count)
    begin_s = clock()
    outcomes = engine.tick(begin_s)
    seconds = clock() - begin_s
    made = sorted(outcome.view for outcome in outcomes if isinstance(outcome, Chunk))
    assert made == list(range(1, count + 1)), f"a tick of {count} views made chunks for {made}"
    return seconds


def table(results: dict[str, Any]) -> Iterator[str]:
    """The numbers as lines; `x one` is how much longer than with the fewest views of that profile."""
    heads = f"{'profile':<14}{'views':>6}{'chunk_s':>10}{'x one':>8}{'frames_per_s':>14}{'x real time':>13}"
    yield f"{heads}  ({results['networks']})"
    first: dict[str, float] = {}
    columns = (results[name] for name in ("profile", "views", "chunk_s", "frames_per_s"))
    for profile, views, chunk_s, frames_per_s in zip(*columns, strict=True):
        ratio = chunk_s / first.setdefault(profile, chunk_s)
        real_time = frames_per_s / views / results["fps"]
        yield f"{profile:<14}{views:>6}{chunk_s:>10.4f}{ratio:>8.2f}{frames_per_s:>14.1f}{real_time:>13.2f}"
