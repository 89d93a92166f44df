"""Linear layers that multiply in FP8, row by row, and the norm that makes rows ready for them.

Shapes: B batch, F latent frames, S tokens per frame, W width, N results.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from eddyline_kernels.linear import fp8_linear, quantise_rows
from eddyline_kernels.modulation import residual_norm, residual_norm_fp8


class Fp8Rows(NamedTuple):
    """Rows that are quantised already."""

    rows: Float[Tensor, "*rows W"]
    """As e4m3."""
    scale: Float[Tensor, "*rows 1"]
    """What to multiply each by."""


class Fp8Linear(nn.Module):
    """A linear layer with its weight as e4m3, one float32 for each row of it. It has no gradient.

    Every token is quantised by itself, so what is in a batch beside a view changes nothing in it.
    """

    weight: Float[Tensor, "N W"]
    weight_scale: Float[Tensor, "N 1"]
    bias: Float[Tensor, " N"] | None

    def __init__(self, plain: nn.Linear, *, gelu: bool = False) -> None:
        """`gelu`: whether tokens go through GELU (the one with tanh) on their way in."""
        super().__init__()
        weight, weight_scale = quantise_rows(plain.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", weight_scale)
        self.register_buffer("bias", None if plain.bias is None else plain.bias.detach())
        self._gelu = gelu
        self._dtype = plain.weight.dtype

    def forward(self, x: Float[Tensor, "*rows W"] | Fp8Rows) -> Float[Tensor, "*rows N"]:
        """In the dtype that the plain layer had; sums are float32."""
        rows, scale = x if isinstance(x, Fp8Rows) else quantise_rows(x, gelu=self._gelu)
        return fp8_linear(rows, scale, self.weight, self.weight_scale, self.bias, dtype=self._dtype)


def norm_for(
    layer: nn.Module,
    x: Float[Tensor, "B F S W"],
    scale: Float[Tensor, "*frames W"],
    shift: Float[Tensor, "*frames W"],
    *,
    branch: Float[Tensor, "B F S W"] | None = None,
    gate: Float[Tensor, "B F 1 W"] | None = None,
    base: float = 1.0,
    eps: float = 1e-5,
) -> tuple[Float[Tensor, "B F S W"], Float[Tensor, "B F S W"] | Fp8Rows]:
    """`residual_norm`, its result quantised in the same pass where `layer`, which takes it, multiplies in FP8."""
    if not isinstance(layer, Fp8Linear):
        return residual_norm(x, scale, shift, branch=branch, gate=gate, base=base, eps=eps)
    total, rows, row_scale = residual_norm_fp8(x, scale, shift, branch=branch, gate=gate, base=base, eps=eps)
    return total, Fp8Rows(rows, row_scale)
