"""When a kernel is right: it is off by at most twice as much as plain torch in the same precision.

How far a result is off is the length of its difference from what wide precision gives, over all of its numbers: one row
that is wrong is as long as what rounding does to all of some ten thousand rows.
"""

from collections.abc import Sequence

from torch import Tensor

ALLOWED = 2.0
"""How often as far off as plain torch in the same precision is right."""


def error(value: Tensor, exact: Tensor) -> float:
    """How far a result is off: the length of the difference."""
    return float((value.detach().double() - exact.detach().double()).norm())


def allowed_errors(plain: Sequence[Tensor], exact: Sequence[Tensor]) -> list[float]:
    """How far each result may be off, from those of plain torch in the same precision and in wide precision."""
    return [ALLOWED * error(a, b) for a, b in zip(plain, exact, strict=True)]


def fault(results: Sequence[Tensor], exact: Sequence[Tensor], allowed: Sequence[float]) -> str | None:
    """What is wrong with results, in words, or None; what is no number is wrong."""
    for number, (value, right, most) in enumerate(zip(results, exact, allowed, strict=True)):
        off = error(value, right)
        if not off <= most:
            return f"result {number} is off by {off:.3g}, at most {most:.3g} is right"
    return None
