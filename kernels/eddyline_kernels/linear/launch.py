"""Launches the Triton kernel of row-wise FP8 on tensors. Needs Triton to be imported.

Shapes: W width.
"""

from jaxtyping import Float
from torch import Tensor

from eddyline_kernels.linear.triton_impl import quantise_rows_kernel
from eddyline_kernels.modulation.plan import rows_plan


def quantise_rows(
    x: Float[Tensor, "*rows W"],
    *,
    gelu: bool,
    out: Float[Tensor, "*rows W"],
    row_scale: Float[Tensor, "*rows 1"],
) -> None:
    """Write the rows of `x` into `out` as e4m3, and what to multiply each by into `row_scale`."""
    chosen = rows_plan(x.shape[-1], tokens=1)
    quantise_rows_kernel[(row_scale.numel(),)](
        x.contiguous(), out, row_scale, W=x.shape[-1], BLOCK=chosen.columns, GELU=gelu, num_warps=chosen.num_warps
    )
