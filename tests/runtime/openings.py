"""Whole buffers at once, as scenes that begin fill them one by one."""

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_runtime.config import Partition
from eddyline_runtime.flow.sampler import Opening, VelocityFn, advance_openings


def warm_start(
    velocity_fn: VelocityFn, noise: Float[Tensor, "B F C Y X"], partition: Partition
) -> Float[Tensor, "B F C Y X"]:
    """Fill the slots of whole buffers at once: an `Opening` for each row, until it is complete."""
    openings = [Opening(row, partition) for row in noise]
    while not openings[0].complete:
        advance_openings(openings, velocity_fn)
    return torch.stack([opening.slots() for opening in openings])
