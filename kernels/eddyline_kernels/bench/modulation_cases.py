"""The kernels of modulation against plain torch, eager and compiled: all are bound by memory, so bytes are counted."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from eddyline_kernels.bench.contest import Case, Method, Tensors
from eddyline_kernels.bench.place import Place
from eddyline_kernels.modulation import norm_rotate, reference, residual_norm, residual_norm_fp8

EPS, HEADS_EPS = 1e-5, 1e-6


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """The tokens of one call: latent frames, tokens of each, and heads of `dim` numbers that make the width."""

    frames: int
    per_frame: int
    heads: int
    dim: int

    @property
    def width(self) -> int:
        """Numbers of a token."""
        return self.heads * self.dim

    @property
    def numbers(self) -> int:
        """Of all tokens."""
        return self.frames * self.per_frame * self.width


def modulation_cases(tokens: Tokens, place: Place, *, ours: bool = True) -> list[Case]:
    """Every kernel of modulation, forward and backward; `ours` are there where Triton runs."""
    tensor = tokens.numbers * torch.empty(0, dtype=place.dtype).element_size()
    draw_rows, draw_heads = partial(_rows, tokens, place), partial(_packed, tokens, place)
    gated, rotated = ("residual_norm", _gated, _plain_gated), ("norm_rotate", _rotated, _plain_rotated)
    # with the values: theirs is a third of the gradient of a packed QKV
    parted = ("norm_rotate", _parted, _plain_parted)
    table: list[tuple[str, float, Callable[..., Tensors], tuple[str, _Function, _Function], tuple[int, ...]]] = [
        ("norm, scale, shift", 2, lambda g: draw_rows(g)[:3], ("residual_norm", _normed, _plain_normed), ()),
        ("gate, residual, norm, scale, shift", 4, draw_rows, gated, ()),
        ("gate, residual, norm, scale, shift, e4m3", 3 + 1 / place.dtype.itemsize, draw_rows,
         ("residual_norm_fp8", _quantised, _plain_quantised), ()),
        ("gate, residual, norm, scale, shift, backward", 6, draw_rows, gated, (0, 1, 2, 3, 4)),
        ("norm, rotary positions", 4, draw_heads, rotated, ()),
        ("norm, rotary positions, backward", 8, draw_heads, parted, (0, 1, 2)),
    ]  # fmt: skip
    cases = []
    for name, tensors, draw, (operator, compute, plain), differentiated in table:
        counted = f"{operator}_backward" if differentiated else operator
        cases.append(
            Case(
                name=name,
                unit="TB/s",
                work=tensors * tensor,
                draw=draw,
                plain=plain,
                methods=(
                    *([Method(name="ours", compute=compute, operator=counted)] if ours else []),
                    Method(name="plain torch", compute=plain),
                    *_compiled(plain, place),
                ),
                differentiated=differentiated,
            )
        )
    return cases


_Function = Callable[..., Tensors]


def _compiled(plain: _Function, place: Place) -> list[Method]:
    if place.compile is None:
        return []
    return [Method(name="torch.compile", compute=place.compile(plain), compiled=True)]


def _rows(tokens: Tokens, place: Place, generator: torch.Generator) -> Tensors:
    """Tokens; scale and shift of each frame; branch; gate."""
    size = (1, tokens.frames, tokens.per_frame, tokens.width)
    x, branch = (torch.randn(size, generator=generator, device=place.device).to(place.dtype) for _ in range(2))
    per_frame = (1, tokens.frames, 1, 3 * tokens.width)
    numbers = torch.randn(per_frame, generator=generator, device=place.device).to(place.dtype)
    scale, shift, gate = numbers.chunk(3, dim=-1)
    return x, scale, shift, branch, gate


def _packed(tokens: Tokens, place: Place, generator: torch.Generator) -> Tensors:
    """QKV as a linear layer makes it, learned scales, angles."""
    count = tokens.frames * tokens.per_frame
    size = (1, count, 3, tokens.heads, tokens.dim)
    qkv = torch.randn(size, generator=generator, device=place.device).to(place.dtype)
    weights = torch.randn(2, tokens.dim, generator=generator, device=place.device).to(place.dtype)
    angles = torch.randn(count, tokens.dim // 2, generator=generator, device=place.device).repeat(1, 2)
    return qkv, weights[0], weights[1], torch.stack([angles.cos(), angles.sin()])


def _normed(x: Tensor, scale: Tensor, shift: Tensor) -> Tensors:
    return (residual_norm(x, scale, shift, eps=EPS)[1],)


def _plain_normed(x: Tensor, scale: Tensor, shift: Tensor) -> Tensors:
    return (reference.residual_norm(x, scale, shift, branch=None, gate=None, base=1.0, eps=EPS)[1],)


def _gated(x: Tensor, scale: Tensor, shift: Tensor, branch: Tensor, gate: Tensor) -> Tensors:
    return residual_norm(x, scale, shift, branch=branch, gate=gate, eps=EPS)


def _plain_gated(x: Tensor, scale: Tensor, shift: Tensor, branch: Tensor, gate: Tensor) -> Tensors:
    return reference.residual_norm(x, scale, shift, branch=branch, gate=gate, base=1.0, eps=EPS)


def _quantised(x: Tensor, scale: Tensor, shift: Tensor, branch: Tensor, gate: Tensor) -> Tensors:
    total, values, row_scale = residual_norm_fp8(x, scale, shift, branch=branch, gate=gate, eps=EPS)
    return total, values, row_scale


def _plain_quantised(x: Tensor, scale: Tensor, shift: Tensor, branch: Tensor, gate: Tensor) -> Tensors:
    total, out = _plain_gated(x, scale, shift, branch, gate)
    return total, *reference.quantise_rows(out)


def _rotated(qkv: Tensor, q_weight: Tensor, k_weight: Tensor, rope: Tensor) -> Tensors:
    return _parted(qkv, q_weight, k_weight, rope)[:2]


def _plain_rotated(qkv: Tensor, q_weight: Tensor, k_weight: Tensor, rope: Tensor) -> Tensors:
    return _plain_parted(qkv, q_weight, k_weight, rope)[:2]


def _parted(qkv: Tensor, q_weight: Tensor, k_weight: Tensor, rope: Tensor) -> Tensors:
    return norm_rotate(qkv, q_weight, k_weight, rope, eps=HEADS_EPS)


def _plain_parted(qkv: Tensor, q_weight: Tensor, k_weight: Tensor, rope: Tensor) -> Tensors:
    return reference.norm_rotate(qkv, q_weight, k_weight, rope, eps=HEADS_EPS)
