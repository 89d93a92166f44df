"""The moving buffer: the clean chunk leaves at the front, noise enters at the back (StreamDiT, sec. 3).

Latents are [B, F, C, Y, X], oldest first: K reference frames, then N chunks of c latent frames, head first.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_runtime.config import Partition


def shift(
    latents: Float[Tensor, "B F C Y X"], partition: Partition, noise: Float[Tensor, "B c C Y X"]
) -> tuple[Float[Tensor, "B c C Y X"], Float[Tensor, "B F C Y X"]]:
    """Pop the clean head chunk and push a chunk of noise.

    The popped chunk joins the reference frames, whose oldest leave.

    Returns:
        the clean chunk, and the latents of the next tick.
    """
    clean = latents[:, partition.reference_frames :][:, : partition.chunk_frames]
    return clean, torch.cat([latents[:, partition.chunk_frames :], noise], dim=1)
