"""Launches the Triton kernel of row-wise FP8 on tensors. Needs Triton to be imported.

Shapes: W width.
"""

from jaxtyping import Float
from torch import Tensor

from eddyline_kernels.linear.triton_impl import quantise_rows_kernel

NUMBERS_PER_WARP = 1024
"""Of a row, 32 in each thread."""


def quantise_rows(
    x: Float[Tensor, "*rows W"],
    *,
    gelu: bool,
    out: Float[Tensor, "*rows W"],
    row_scale: Float[Tensor, "*rows 1"],
) -> None:
    """Write the rows of `x` into `out` as e4m3, and what to multiply each by into `row_scale`."""
    width = x.shape[-1]
    columns = 1 << (width - 1).bit_length()
    warps = max(1, min(32, columns // NUMBERS_PER_WARP))
    quantise_rows_kernel[(row_scale.numel(),)](
        x.contiguous(), out, row_scale, W=width, BLOCK=columns, GELU=gelu, num_warps=warps
    )
