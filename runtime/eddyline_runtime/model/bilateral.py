"""A bilateral filter: flat places become flat, outlines stay where they are.

What a decoder leaves in flat places is a weave along the cells it decodes, two to four levels high; nothing a codec of
drawn pictures is asked for looks like that. Neighbours of nearly one colour are evened out, others never meet.

Shapes: N frames, H W picture height and width.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

PAIRS = ((0, 1), (0, 2), *((down, right) for down in (1, 2) for right in range(-2, 3)))
"""Half of the 5x5 neighbours of a pixel, rows down and columns to the right; seen from those it is the other half."""


def bilateral_filter(frames: Float[Tensor, "N 3 H W"], *, reach: float) -> Float[Tensor, "N 3 H W"]:
    """Each pixel becomes the mean of the 5x5 around it, weighed by how near their colours are to its own.

    The weight of a neighbour whose colour is d away (Euclidean, over RGB) is max(0, 1 - (d / reach)^2)^2, Tukey's
    biweight: that of the pixel itself is 1, and nothing from `reach` on has any. So it is the filter of Tomasi and
    Manduchi 1998 ("Bilateral Filtering for Gray and Color Images") within a square, with the robust weight of Durand
    and Dorsey 2002 ("Fast Bilateral Filtering for the Display of High-Dynamic-Range Images"). What lies outside a frame
    has no weight, and frames do not see each other.

    Args:
        reach: in the units of the frames; above 0.

    Returns:
        As float32, whatever the frames are.
    """
    frames = frames.float()
    pull, weight = torch.zeros_like(frames), torch.ones_like(frames[:, :1])
    height, width = frames.shape[-2:]
    for down, right in PAIRS:
        rows, left = slice(0, max(0, height - down)), max(0, -right)
        one = (..., rows, slice(left, max(left, width - max(0, right))))
        other = (..., slice(down, height), slice(max(0, right), max(0, width - left)))
        apart = frames[other] - frames[one]
        near = F.relu(1 - apart.square().sum(1, keepdim=True) / reach**2).square()
        weight[one] += near
        weight[other] += near
        apart *= near
        pull[one] += apart
        pull[other] -= apart
    return frames + pull / weight
