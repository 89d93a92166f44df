"""Launches the Triton kernel of the root-mean-square norm on tensors. Needs Triton to be imported.

Shapes: D numbers of a row.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_kernels.norm.triton_impl import rms_norm_kernel

NUMBERS = 4096
"""Of a program, 32 in each thread of four warps."""


def rms_norm(x: Float[Tensor, "*rows D"], weight: Float[Tensor, " D"], eps: float) -> Float[Tensor, "*rows D"]:
    """The normed rows, contiguous."""
    dim = x.shape[-1]
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    columns = 1 << (dim - 1).bit_length()
    together, rows = max(1, NUMBERS // columns), x.numel() // dim
    rms_norm_kernel[(-(-rows // together),)](
        x.contiguous(), weight.contiguous(), out, rows, eps, D=dim, BLOCK=columns, ROWS=together, num_warps=4
    )
    return out
