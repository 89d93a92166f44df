"""Whether one more view fits in real time: pure arithmetic on what ticks were measured to cost.

Views of one group are denoised as one batch. The load is the share of time that the ticks of some views take; at 1 they
follow each other without a rest, and beyond it every view misses its deadlines.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

BatchCosts = Mapping[int, float]
"""Views in a batch -> seconds that a tick of it took lately. Empty: none was made yet."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a view asks of the engine: a chunk every `chunk_s` seconds, made in the batches of its group."""

    group: Hashable
    """Views of one group are one batch: equal profile."""
    every_chunk_s: float
    """How long a chunk lasts at stride 1, in seconds."""
    stride: int = 1

    @property
    def chunk_s(self) -> float:
        """How long a chunk of this view lasts, in seconds."""
        return self.every_chunk_s * self.stride


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a view does not fit, and what would."""

    wanted: Demand
    cost_s: float
    """What a tick of such a view alone takes."""
    load: float
    """Of the views that are open, without it."""
    capacity: int
    """So many such views, and no others, fit in real time; 1 at least, however slow the machine is."""
    stride: int | None
    """The smallest stride at which it would fit beside those that are open; None: at none."""


def batch_s(costs: BatchCosts, views: int) -> float:
    """What a tick of a batch of `views` views takes: never less than that of a smaller batch.

    Between sizes that were measured it is on the line between them; below the smallest it is as much as that, beyond
    the largest it grows as the number of views does. 0 where nothing was measured.
    """
    if not costs or views < 1:
        return 0.0
    sizes = sorted(costs)
    known = [(size, max(costs[smaller] for smaller in sizes if smaller <= size)) for size in sizes]
    if views <= known[0][0]:
        return known[0][1]
    for (below, below_s), (above, above_s) in pairwise(known):
        if views <= above:
            return below_s + (above_s - below_s) * (views - below) / (above - below)
    most, most_s = known[-1]
    return most_s * views / most


def load(demands: Iterable[Demand], costs: Mapping[Any, BatchCosts]) -> float:
    """The share of time that ticks of these views take.

    The fastest view of a group needs a tick for each of its chunks; slower ones make some of these ticks larger.
    """
    chunks: dict[Hashable, list[float]] = {}
    for demand in demands:
        chunks.setdefault(demand.group, []).append(demand.chunk_s)
    total = 0.0
    for group, lasting in chunks.items():
        known = costs.get(group, {})
        for views, chunk_s in enumerate(sorted(lasting), start=1):
            total += (batch_s(known, views) - batch_s(known, views - 1)) / chunk_s
    return total


def refusal(
    wanted: Demand,
    opened: Sequence[Demand],
    costs: Mapping[Any, BatchCosts],
    *,
    strides: Iterable[int],
    max_load: float,
    max_views: int,
) -> Refusal | None:
    """Why a view may not be opened beside those that are open; None when it may.

    The first view always may, slow as it will be, and so may one whose cost nobody has measured yet.
    """
    known = costs.get(wanted.group, {})
    if not opened or not known or load([*opened, wanted], costs) <= max_load:
        return None
    slower = (replace(wanted, stride=stride) for stride in sorted(strides) if stride > wanted.stride)
    fits = (other.stride for other in slower if load([*opened, other], costs) <= max_load)
    return Refusal(
        wanted=wanted,
        cost_s=batch_s(known, 1),
        load=load(opened, costs),
        capacity=capacity(wanted, costs, max_load=max_load, max_views=max_views),
        stride=next(fits, None),
    )


def capacity(wanted: Demand, costs: Mapping[Any, BatchCosts], *, max_load: float, max_views: int) -> int:
    """How many such views, and no others, fit in real time: at least 1, at most `max_views`."""
    count = 1
    while count < max_views and load([wanted] * (count + 1), costs) <= max_load:
        count += 1
    return count


def told(refusal: Refusal, *, profile: str, fps: float) -> str:
    """A refusal in words. `fps` is the world's rate."""
    wanted, capacity = refusal.wanted, refusal.capacity
    fit = f"{capacity} such views fit" if capacity > 1 else "one such view fits"
    if refusal.stride is None:
        cure = "close one first"
    else:
        cure = f"open it with stride={refusal.stride} ({fps / refusal.stride:g} frames a second), or close one first"
    return (
        f"another view of profile {profile!r} at {fps / wanted.stride:g} frames a second would make those that are "
        f"open late: beside what else runs here a chunk of it takes {refusal.cost_s:.3f} s to make, lasting "
        f"{wanted.chunk_s:.3f} s, "
        f"{fit} in real time here, and those that are open take {refusal.load:.0%} of the "
        f"time; {cure}"
    )
