"""The bilateral filter in plain torch: the contract of the kernel, and what runs on a CPU.

Each pair of neighbours is looked at once and adds to both: half the work of going through all neighbours of each pixel.
All that can be in place is, since on a CPU memory is what it waits for.

Shapes: N frames, H W picture height and width.
"""

from collections.abc import Iterator
from types import EllipsisType

import torch
from jaxtyping import Float
from torch import Tensor

Part = tuple[EllipsisType, slice, slice]
"""Rows and columns of every plane."""
PAIRS = ((0, 1), (0, 2), *((down, right) for down in (1, 2) for right in range(-2, 3)))
"""Half of the 5x5 neighbours of a pixel, rows down and columns to the right; seen from those it is the other half."""


def bilateral_filter(frames: Float[Tensor, "N 3 H W"], reach: float) -> Float[Tensor, "N 3 H W"]:
    """As the operator; float64 stays float64."""
    if frames.dtype != torch.float64:
        frames = frames.float()
    pull, weight = torch.zeros_like(frames), torch.ones_like(frames[:, :1])
    for one, other in _pairs(*frames.shape[-2:]):
        apart = frames[other] - frames[one]
        near = apart.square().sum(1, keepdim=True).div_(-(reach**2)).add_(1).relu_().square_()
        weight[one].add_(near)
        weight[other].add_(near)
        apart.mul_(near)
        pull[one].add_(apart)
        pull[other].sub_(apart)
    return frames + pull.div_(weight)


def _pairs(height: int, width: int) -> Iterator[tuple[Part, Part]]:
    """For each of `PAIRS` where its one pixels lie, and where its other ones do."""
    for down, right in PAIRS:
        rows, left = slice(0, max(0, height - down)), max(0, -right)
        one = (..., rows, slice(left, max(left, width - max(0, right))))
        other = (..., slice(down, height), slice(max(0, right), max(0, width - left)))
        yield one, other
