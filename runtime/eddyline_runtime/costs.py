"""What ticks took lately, and what the next ones are expected to take."""

import statistics
from collections import deque
from collections.abc import Hashable, Mapping

from eddyline_runtime.admission import BatchCosts
from eddyline_runtime.config import Profile


class TickCosts:
    """The last ticks of each profile: by the further rows that guidance took, and by the number of views."""

    def __init__(self, remembered: int) -> None:
        """`remembered` ticks of each kind count."""
        self._remembered = remembered
        self._by_rows: dict[tuple[Profile, int], deque[float]] = {}
        self._by_views: dict[Profile, dict[int, deque[float]]] = {}
        self.medians: Mapping[Hashable, BatchCosts] = {}
        """By profile and number of views, in seconds; replaced as a whole, so that any thread may read it."""

    def add(self, profile: Profile, *, views: int, further_rows: int, seconds: float) -> None:
        """Remember one tick; `further_rows` are those of the view that took most."""
        by_views = self._by_views.setdefault(profile, {})
        for taken in (
            self._by_rows.setdefault((profile, further_rows), deque(maxlen=self._remembered)),
            by_views.setdefault(views, deque(maxlen=self._remembered)),
        ):
            taken.append(seconds)
        medians = {count: statistics.median(taken) for count, taken in by_views.items()}
        self.medians = {**self.medians, profile: medians}

    def forget(self, profile: Profile, *, views: int) -> None:
        """Forget all ticks of a profile as far as pacing goes, and those of so many views."""
        self._by_rows = {kind: taken for kind, taken in self._by_rows.items() if kind[0] != profile}
        self._by_views[profile].pop(views)

    def expected_s(self, further_rows: Mapping[Profile, int]) -> dict[Hashable, float]:
        """What the next tick of each profile is expected to take: the 95th percentile of the last.

        Args:
            further_rows: of the view of a profile that may take most; where no tick took so many, rows are taken to
                cost alike.
        """
        expected: dict[Hashable, float] = {}
        for profile in {profile for profile, _ in self._by_rows}:
            further = further_rows.get(profile, 0)
            past = {rows: taken for (of, rows), taken in self._by_rows.items() if of == profile}
            nearest = min(past, key=lambda rows: abs(rows - further))
            cost = sorted(past[nearest])[int(0.95 * (len(past[nearest]) - 1))]
            expected[profile] = cost * max(1.0, (1 + further) / (1 + nearest))
        return expected
