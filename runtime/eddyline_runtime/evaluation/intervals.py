"""How sure a figure is: Wilson's interval of a rate, and the bootstrap of anything else.

Wilson 1927, "Probable inference, the law of succession, and statistical inference"; Efron 1979, "Bootstrap methods".
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from eddyline_runtime.evaluation.figures import Figure

DRAWS = 1000


def wilson(right: int, count: int, *, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a rate; (0, 1) where nothing was counted."""
    if not count:
        return 0.0, 1.0
    rate = right / count
    centre = rate + z * z / (2 * count)
    spread = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def bootstrap(
    statistic: Callable[[NDArray[np.intp]], float], count: int, *, draws: int = DRAWS, seed: int = 0
) -> NDArray[np.float64]:
    """The statistic of `draws` samples: each gets the indices of `count` units drawn with replacement."""
    rng = np.random.default_rng(seed)
    return np.array([statistic(rng.integers(count, size=count)) for _ in range(draws)])


def percentile_interval(drawn: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of bootstrap draws; draws that have no value (NaN) are left out."""
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def rate(hits: Sequence[bool], ceiling: float | None = None) -> Figure:
    """The share of hits; there is one at least."""
    right = sum(hits)
    return Figure(value=right / len(hits), ci95=wilson(right, len(hits)), n=len(hits), ceiling=ceiling)


def ratio(
    numerators: Sequence[float], denominators: Sequence[float], ceiling: float | None = None, *, n: int | None = None
) -> Figure:
    """The sum of numerators over that of denominators, one of each for every unit; units are what is drawn again.

    Args:
        n: what the figure says it was counted over, if not the units.
    """
    above, below = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    interval = percentile_interval(bootstrap(lambda drawn: _share(above[drawn], below[drawn]), len(above)))
    return Figure(value=_share(above, below), ci95=interval, n=len(above) if n is None else n, ceiling=ceiling)


def mean(values: Sequence[float], ceiling: float | None = None) -> Figure:
    """The mean of one value for every unit."""
    return ratio(values, np.ones(len(values)).tolist(), ceiling)


def median(values: Sequence[float], ceiling: float | None = None) -> Figure:
    """The median of one value for every unit."""
    known = np.asarray(values, np.float64)
    drawn = bootstrap(lambda chosen: float(np.median(known[chosen])), len(known))
    return Figure(value=float(np.median(known)), ci95=percentile_interval(drawn), n=len(known), ceiling=ceiling)


def _share(above: NDArray[np.float64], below: NDArray[np.float64]) -> float:
    whole = float(below.sum())
    return float(above.sum()) / whole if whole else float("nan")
