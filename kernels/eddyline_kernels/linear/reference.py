"""Row-wise FP8 in plain torch: the contract, and the CPU path.

Shapes: W width, N results.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from eddyline_kernels.modulation import reference as modulation


def quantise_rows(
    x: Float[Tensor, "*rows W"], *, gelu: bool
) -> tuple[Float[Tensor, "*rows W"], Float[Tensor, "*rows 1"]]:
    """As `eddyline_kernels.linear.quantise_rows`; all of it in float32."""
    wide = x.float()
    return modulation.quantise_rows(F.gelu(wide, approximate="tanh") if gelu else wide)


def fp8_linear(
    rows: Float[Tensor, "*rows W"],
    row_scale: Float[Tensor, "*rows 1"],
    weight: Float[Tensor, "N W"],
    weight_scale: Float[Tensor, "N 1"],
    bias: Float[Tensor, " N"] | None,
    *,
    dtype: torch.dtype,
) -> Float[Tensor, "*rows N"]:
    """As `eddyline_kernels.linear.fp8_linear`: both sides back in float32, and multiplied."""
    product = F.linear(rows.float() * row_scale, weight.float() * weight_scale)
    return (product if bias is None else product + bias.float()).to(dtype)
