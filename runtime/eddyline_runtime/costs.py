"""What ticks took lately, and what the next ones are expected to take."""

import statistics
from collections import deque
from collections.abc import Hashable, Mapping, Sequence

from eddyline_runtime.admission import BatchCosts, batch_s
from eddyline_runtime.config import Profile


class TickCosts:
    """The last ticks of each profile: by the rows of the batch, those that guidance took included, for the pace; by the
    number of views for admission."""

    def __init__(self, remembered: int) -> None:
        """`remembered` ticks of each kind count."""
        self._remembered = remembered
        self._by_rows: dict[Profile, dict[int, deque[float]]] = {}
        self._by_views: dict[Profile, dict[int, deque[float]]] = {}
        self._last: tuple[tuple[dict[int, deque[float]], int], ...] = ()
        self.medians: Mapping[Hashable, BatchCosts] = {}
        """By profile and number of views, in seconds; replaced as a whole, so that any thread may read it."""

    def add(self, profile: Profile, *, views: int, rows: int, seconds: float) -> None:
        """Remember one tick of a batch of so many views, which took so many rows of the network."""
        by_views = self._by_views.setdefault(profile, {})
        self._last = ((self._by_rows.setdefault(profile, {}), rows), (by_views, views))
        for sizes, size in self._last:
            sizes.setdefault(size, deque(maxlen=self._remembered)).append(seconds)
        medians = {count: statistics.median(taken) for count, taken in by_views.items()}
        self.medians = {**self.medians, profile: medians}

    def forget_last(self) -> None:
        """Forget the tick that was added last."""
        for sizes, size in self._last:
            sizes[size].pop()
            if not sizes[size]:
                del sizes[size]
        self._last = ()

    def expected_s(self, rows: Mapping[Profile, int]) -> dict[Hashable, float]:
        """What the next tick of each profile is expected to take: the 95th percentile of the last of so many rows.

        Args:
            rows: of the next batch of a profile, 1 where it says nothing. What so many took nobody may have measured;
                then it is guessed from those that were (`admission.batch_s`).
        """
        return {
            profile: batch_s({size: _slow(taken) for size, taken in sizes.items()}, rows.get(profile, 1))
            for profile, sizes in self._by_rows.items()
        }


def _slow(taken: Sequence[float]) -> float:
    """The 95th percentile."""
    return sorted(taken)[int(0.95 * (len(taken) - 1))]
