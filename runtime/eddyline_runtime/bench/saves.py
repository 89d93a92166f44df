"""What saving costs: the time to take a snapshot of a view and to open a view that goes on from it, its size, and
whether memory is where it was after a thousand of each.

The view stands where a snapshot is largest: a chunk was just made, and none of its frames was shown. The engine's clock
stands still there; a snapshot waits for no tick, and the socket is not part of it.
"""

import argparse
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from eddyline_runtime.bench.served import load, open_views, surroundings
from eddyline_runtime.bench.stream import percentile
from eddyline_runtime.config import EngineConfig
from eddyline_runtime.engine import Engine
from eddyline_runtime.machine import resident_mb
from eddyline_runtime.snapshot import read_snapshot, write_snapshot
from eddyline_runtime.weights import World

WARM_UP = 50
"""Snapshots that are not counted; afterwards the allocator has what it needs."""
CHUNKS = 4
"""Chunks made before: a view that has history and frames to show."""
SAVED, RESTORED = 1, 2


@dataclass(frozen=True)
class Standing:
    """An engine with one view, and when its clock stopped: right after a chunk was made."""

    engine: Engine
    at_s: float


@dataclass(frozen=True)
class Save:
    """What one snapshot took to be taken, and to be gone on from, in seconds; and its size in bytes."""

    snapshot_s: float
    restore_s: float
    bytes: int


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds to take and to restore one, the bytes of the largest, and resident memory before and after.

    Raises:
        ConfigError: there is no such device or profile.
        WeightsError: there is no such world, or it is damaged.
    """
    world = load(arguments)
    profile = world.card.profile_name(arguments.profile)
    standing = standing_view(world, profile)
    saves: list[Save] = []
    with tqdm(total=WARM_UP + arguments.count, desc="bench", unit="snapshot", disable=None) as progress:
        for _ in range(WARM_UP):
            save_and_restore(standing, clock=time.perf_counter)
            progress.update()
        before_mb = _settled_mb()
        for _ in range(arguments.count):
            saves.append(save_and_restore(standing, clock=time.perf_counter))
            progress.update()
        after_mb = _settled_mb()
    return {
        "profile": profile,
        "count": len(saves),
        "snapshot_ms": _milliseconds([save.snapshot_s for save in saves]),
        "restore_ms": _milliseconds([save.restore_s for save in saves]),
        "bytes": max(save.bytes for save in saves),
        "resident_mb": {"before": before_mb, "after": after_mb},
        **surroundings(arguments, world),
    }


def standing_view(world: World, profile: str) -> Standing:
    """A view that just made a chunk, on a clock that stands still since."""
    now_s = 0.0
    engine = Engine(world, EngineConfig(), clock=lambda: now_s)
    open_views(engine, [SAVED], profile=profile, clock=lambda: now_s)
    while engine.ticks < CHUNKS:
        now_s = max(now_s, engine.next_start_s() or 0.0)
        engine.tick(now_s)
    return Standing(engine, now_s)


def save_and_restore(standing: Standing, *, clock: Callable[[], float]) -> Save:
    """Take a snapshot as a file, open a view that goes on from it, and close that view."""
    engine, at_s, card = standing.engine, standing.at_s, standing.engine.world.card
    begin_s = clock()
    saved = engine.save_view(SAVED, 1, at_s=at_s)
    assert saved.snapshot is not None, "the view's scene has begun"
    data = write_snapshot(saved.snapshot, card)
    taken_s = clock()
    read = read_snapshot(data, card)
    engine.revive_view(RESTORED, read.moment, at_s=at_s, unshown=read.unshown)
    restored_s = clock()
    engine.close_view(RESTORED)
    return Save(taken_s - begin_s, restored_s - taken_s, len(data))


def _settled_mb() -> float:
    gc.collect()
    return resident_mb()


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    return {f"p{share}": 1000 * percentile(seconds, share) for share in (50, 99)}


def table(results: dict[str, Any]) -> Iterator[str]:
    """The numbers as lines."""
    for name in ("snapshot_ms", "restore_ms", "bytes", "resident_mb"):
        value = results[name]
        cells = value if isinstance(value, dict) else {"": value}
        yield f"{name:<14}" + "".join(f"{label:>8} {number:>10.4g}" for label, number in cells.items())
