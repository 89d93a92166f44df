"""Launches the Triton kernel of the bilateral filter on tensors. Needs Triton to be imported.

Shapes: N frames, H W picture height and width.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_kernels.bilateral.triton_impl import bilateral_filter_kernel

PIXELS = 128
"""Of a program, one in each thread of four warps: a warp reads 32 numbers side by side of each neighbour, which lie in
one or two lines of the cache; with four pixels in a thread they would lie in four."""


def bilateral_filter(frames: Float[Tensor, "N 3 H W"], reach: float) -> Float[Tensor, "N 3 H W"]:
    """The filtered frames, contiguous, float32."""
    count, _, height, width = frames.shape
    out = torch.empty(frames.shape, dtype=torch.float32, device=frames.device)
    blocks = count * -(-height * width // PIXELS)
    bilateral_filter_kernel[(blocks,)](
        frames.contiguous(), out, 1.0 / reach**2, HEIGHT=height, WIDTH=width, BLOCK=PIXELS, num_warps=4
    )
    return out
