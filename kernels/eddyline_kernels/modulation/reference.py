"""Modulation in plain torch: the contract, and the CPU path.

adaLN (Peebles and Xie 2022, arXiv 2212.09748) scales, shifts and gates what each sub-block reads and gives, here with
numbers per latent frame (StreamDiT, arXiv 2507.03745, sec. 3.3). Queries and keys are normed by their root mean square
and turned by rotary positions (Su et al. 2021, arXiv 2104.09864).

Shapes: B batch, F latent frames, S tokens per frame, W width, N = F * S tokens, H heads, D head dimension.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from eddyline_kernels.formats import FP8, FP8_LARGEST, FP8_LEAST_SCALE


def residual_norm(
    x: Float[Tensor, "B F S W"],
    scale: Float[Tensor, "*frames W"],
    shift: Float[Tensor, "*frames W"],
    *,
    branch: Float[Tensor, "B F S W"] | None,
    gate: Float[Tensor, "B F 1 W"] | None,
    base: float,
    eps: float,
) -> tuple[Float[Tensor, "B F S W"], Float[Tensor, "B F S W"]]:
    """As `eddyline_kernels.modulation.residual_norm`."""
    total = x
    if branch is not None:
        total = x + branch if gate is None else torch.addcmul(x, gate, branch)
    width = (x.shape[-1],)
    if base == 0 and scale.ndim == 1:
        out = F.layer_norm(total, width, scale, shift, eps)
    else:
        out = torch.addcmul(shift, F.layer_norm(total, width, eps=eps), base + scale)
    return total.to(x.dtype), out.to(x.dtype)


def quantise_rows(x: Float[Tensor, "*rows W"]) -> tuple[Float[Tensor, "*rows W"], Float[Tensor, "*rows 1"]]:
    """Rows as e4m3 and the float32 number to multiply each by; the largest of a row becomes 448."""
    wide = x.float()
    row_scale = (wide.abs().amax(-1, keepdim=True) / FP8_LARGEST).clamp(min=FP8_LEAST_SCALE)
    return (wide / row_scale).clamp(-FP8_LARGEST, FP8_LARGEST).to(FP8), row_scale


def norm_rotate(
    qkv: Float[Tensor, "B N 3 H D"],
    q_weight: Float[Tensor, " D"],
    k_weight: Float[Tensor, " D"],
    rope: Float[Tensor, "2 N D"],
    *,
    eps: float,
) -> tuple[Float[Tensor, "B N H D"], Float[Tensor, "B N H D"], Float[Tensor, "B N H D"]]:
    """As `eddyline_kernels.modulation.norm_rotate`."""
    q, k, v = qkv.unbind(2)
    q, k = (
        rotate(F.rms_norm(t, (t.shape[-1],), weight.to(t.dtype), eps=eps), rope).to(qkv.dtype)
        for t, weight in ((q, q_weight), (k, k_weight))
    )
    return q, k, v


def rotate(x: Float[Tensor, "B N H D"], rope: Float[Tensor, "2 N D"]) -> Float[Tensor, "B N H D"]:
    """Rotary positions: pairs (i, i + D/2) turn by the token's angles."""
    table = rope.to(x.dtype)[:, None, :, None]
    cosine, sine = table[0], table[1]
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-second, first], dim=-1) * sine
