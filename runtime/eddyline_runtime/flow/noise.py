"""Noise that can be drawn again: counter-based, keyed by seed, epoch and latent index.

The bits come from Philox on the host, so every device, process and batch sees the same noise; a run can be repeated,
forked and rewound by its numbers alone.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_UINT64 = 2**64


def noise_latents(
    *, seed: int, epoch: int, first_index: int, frames: int, shape: tuple[int, int, int]
) -> Float[Tensor, "F C Y X"]:
    """Standard normal noise for `frames` latent frames from `first_index` on, float32 on the host.

    Args:
        seed: any integer, taken modulo 2**64.
        epoch: >= 0, counts cuts, restarts and rewinds of a view.
        first_index: >= 0, index of the first latent frame within the epoch.
        shape: channels, height and width of one latent frame.
    """
    drawn = np.stack([_latent_frame(seed, epoch, first_index + i, shape) for i in range(frames)])
    return torch.from_numpy(drawn)


def _latent_frame(seed: int, epoch: int, index: int, shape: tuple[int, int, int]) -> np.ndarray:
    key = np.array([seed % _UINT64, epoch % _UINT64], dtype=np.uint64)
    counter = np.array([0, 0, 0, index % _UINT64], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter)).standard_normal(shape, dtype=np.float32)
