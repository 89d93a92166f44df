"""Residual, norm, scale and shift as callers use them: checked, and run by Triton or by the reference.

The Triton side are operators of `torch.library` with fake and autograd implementations, so that `torch.compile`
(fullgraph too) and CUDA graphs take each as one node; Triton itself is imported when it is launched first.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_kernels import backend
from eddyline_kernels.errors import KernelInputError
from eddyline_kernels.formats import DTYPES, FP8, FP8_CAPABILITY
from eddyline_kernels.modulation import reference
from eddyline_kernels.modulation.checks import check_residual_norm
from eddyline_kernels.modulation.plan import LARGEST_WIDTH

EPS = 1e-5


def residual_norm(
    x: Float[Tensor, "B F S W"],
    scale: Float[Tensor, "*frames W"],
    shift: Float[Tensor, "*frames W"],
    *,
    branch: Float[Tensor, "B F S W"] | None = None,
    gate: Float[Tensor, "B F 1 W"] | None = None,
    base: float = 1.0,
    eps: float = EPS,
) -> tuple[Float[Tensor, "B F S W"], Float[Tensor, "B F S W"]]:
    """What a sub-block gave goes into the tokens, and the tokens are made ready for the next: one pass over memory.

    total = x + gate * branch;  out = layer_norm(total) * (base + scale) + shift

    adaLN (Peebles and Xie 2022, arXiv 2212.09748) per latent frame (StreamDiT, arXiv 2507.03745, sec. 3.3). On a GPU
    this runs in Triton in bf16, fp16 and fp32 for widths up to 16384 and 65,535 frames in all, and otherwise in plain
    torch; see `eddyline_kernels.backend`.

    Args:
        x: tokens.
        scale, shift: of each frame, [B, F, 1, W], or of all, [W]; any floating dtype, as for `gate`.
        branch: what a sub-block made of the tokens, in the dtype of `x`; nothing is added without it.
        gate: how much of it each frame takes; all of it without one.
        base: 1 where `scale` is a deviation from 1 (adaLN), 0 where it is a learned weight.
        eps: added to the variance.

    Returns:
        total and out, in the dtype of `x`; without a branch, total is `x` itself.

    Raises:
        KernelInputError: shapes, dtypes or devices do not fit, or there is a gate for no branch; a ValueError.
        KernelChoiceError: the environment asks for Triton, and it cannot run.
    """
    check_residual_norm(x, scale, shift, branch, gate)
    if not backend.runs_triton("residual norm", x.device, _obstacle(x)):
        return reference.residual_norm(x, scale, shift, branch=branch, gate=gate, base=base, eps=eps)
    total, out = triton_residual_norm(x, branch, gate, _per_frame(scale, x), _per_frame(shift, x), base, eps)
    return (x if branch is None else total), out


def residual_norm_fp8(
    x: Float[Tensor, "B F S W"],
    scale: Float[Tensor, "*frames W"],
    shift: Float[Tensor, "*frames W"],
    *,
    branch: Float[Tensor, "B F S W"] | None = None,
    gate: Float[Tensor, "B F 1 W"] | None = None,
    base: float = 1.0,
    eps: float = EPS,
) -> tuple[Float[Tensor, "B F S W"], Float[Tensor, "B F S W"], Float[Tensor, "B F S 1"]]:
    """As `residual_norm`, with `out` quantised for an FP8 matrix product: each token by itself, so rows stay apart.

    Returns:
        total; out as e4m3, the largest of each token 448; and the float32 number to multiply each token by.

    Raises:
        KernelInputError: as `residual_norm`; there is no gradient, and asking for one raises it too.
        KernelChoiceError: the environment asks for Triton, and it cannot run.
    """
    check_residual_norm(x, scale, shift, branch, gate)
    needing = any(t is not None and t.requires_grad for t in (x, scale, shift, branch, gate))
    if torch.is_grad_enabled() and needing:
        raise KernelInputError(
            f"residual norm of {tuple(x.shape)} in FP8 has no gradient; call it under torch.no_grad(), or residual_norm"
        )
    if not backend.runs_triton("residual norm in FP8", x.device, _fp8_obstacle(x)):
        # quantised from what the sum and the norm are in float32, as the kernel does
        total, _ = reference.residual_norm(x, scale, shift, branch=branch, gate=gate, base=base, eps=eps)
        wide = (t.float() for t in (total, scale, shift))
        _, out = reference.residual_norm(*wide, branch=None, gate=None, base=base, eps=eps)
        return total, *reference.quantise_rows(out)
    total, out, row_scale = triton_residual_norm_fp8(
        x, branch, gate, _per_frame(scale, x), _per_frame(shift, x), base, eps
    )
    return (x if branch is None else total), out, row_scale


def _per_frame(t: Tensor, x: Tensor) -> Float[Tensor, "B F 1 W"]:
    batch, frames, _, width = x.shape
    return t.expand(batch, frames, 1, width)


def _obstacle(x: Tensor) -> str | None:
    """Why there is no Triton kernel for a tensor, or None."""
    if x.dtype not in DTYPES:
        return "there are kernels for bfloat16, float16 and float32 only"
    if x.shape[-1] > LARGEST_WIDTH:
        return f"there are kernels for widths up to {LARGEST_WIDTH} only"
    if x.shape[0] * x.shape[1] > backend.LARGEST_GRID:
        return f"there are kernels for at most {backend.LARGEST_GRID} frames of all batch rows"
    return None


def _fp8_obstacle(x: Tensor) -> str | None:
    if x.is_cuda and torch.cuda.get_device_capability(x.device) < FP8_CAPABILITY:
        return "the GPU does not know e4m3"
    return _obstacle(x)


@torch.library.custom_op("eddyline::residual_norm", mutates_args=())
def triton_residual_norm(
    x: Tensor, branch: Tensor | None, gate: Tensor | None, scale: Tensor, shift: Tensor, base: float, eps: float
) -> tuple[Tensor, Tensor]:
    """The Triton operator: total (empty without a branch) and out; scale, shift and gate are [B, F, 1, W]."""
    from eddyline_kernels.modulation import launch

    out = _like(x)
    if x.numel() == 0:
        return _like(x) if branch is not None else x.new_empty(0), out
    backend.launches["residual_norm"] += 1
    with torch.cuda.device_of(x):
        return launch.residual_norm(x, branch, gate, scale, shift, base, eps, out=out, row_scale=None), out


@torch.library.custom_op("eddyline::residual_norm_fp8", mutates_args=())
def triton_residual_norm_fp8(
    x: Tensor, branch: Tensor | None, gate: Tensor | None, scale: Tensor, shift: Tensor, base: float, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The Triton operator: total (empty without a branch), out as e4m3, and the number of each row."""
    from eddyline_kernels.modulation import launch

    out, row_scale = _like(x, FP8), _row_scale(x)
    if x.numel() == 0:
        return _like(x) if branch is not None else x.new_empty(0), out, row_scale
    backend.launches["residual_norm_fp8"] += 1
    with torch.cuda.device_of(x):
        total = launch.residual_norm(x, branch, gate, scale, shift, base, eps, out=out, row_scale=row_scale)
    return total, out, row_scale


@torch.library.custom_op("eddyline::residual_norm_backward", mutates_args=())
def _triton_backward(
    total_grad: Tensor | None,
    out_grad: Tensor,
    total: Tensor,
    branch: Tensor | None,
    gate: Tensor | None,
    scale: Tensor,
    base: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    from eddyline_kernels.modulation import launch

    if total.numel() == 0:
        x_grad, branch_grad, sums = _backward_shapes(total, gate)
        return x_grad, branch_grad, sums.zero_()
    backend.launches["residual_norm_backward"] += 1
    with torch.cuda.device_of(total):
        return launch.residual_norm_backward(total_grad, out_grad, total, branch, gate, scale, base, eps)


@triton_residual_norm.register_fake
def _(x: Tensor, branch: Tensor | None, *_: Any) -> tuple[Tensor, Tensor]:
    return _like(x) if branch is not None else x.new_empty(0), _like(x)


@triton_residual_norm_fp8.register_fake
def _(x: Tensor, branch: Tensor | None, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _like(x) if branch is not None else x.new_empty(0), _like(x, FP8), _row_scale(x)


@_triton_backward.register_fake
def _(
    total_grad: Tensor | None, out_grad: Tensor, total: Tensor, branch: Tensor | None, gate: Tensor | None, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return _backward_shapes(total, gate)


def _backward_shapes(total: Tensor, gate: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    batch, frames, _, width = total.shape
    sums = total.new_empty((2 if gate is None else 3, batch, frames, 1, width), dtype=torch.float32)
    return _like(total), total.new_empty(0) if gate is None else _like(total), sums


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, branch, gate, scale, shift, ctx.base, ctx.eps = inputs
    ctx.shift_dtype = shift.dtype
    # the branch itself is needed for the gradient of its gate alone
    ctx.has_branch = branch is not None
    ctx.save_for_backward(output[0] if branch is not None else x, None if gate is None else branch, gate, scale)


def _differentiate(ctx: Any, total_grad: Tensor, out_grad: Tensor) -> tuple[Tensor | None, ...]:
    total, branch, gate, scale = ctx.saved_tensors
    x_grad, branch_grad, sums = _triton_backward(
        total_grad if ctx.has_branch else None, out_grad, total, branch, gate, scale, ctx.base, ctx.eps
    )
    return (
        x_grad,
        None if not ctx.has_branch else x_grad if gate is None else branch_grad,
        None if gate is None else sums[2].to(gate.dtype),
        sums[0].to(scale.dtype),
        sums[1].to(ctx.shift_dtype),
        None,
        None,
    )


def _refuse_second_gradient(ctx: Any, *grads: Tensor) -> None:
    raise KernelInputError(
        f"residual norm of {ctx.shape} has no second gradient in Triton; set {backend.VARIABLE}=reference for it"
    )


def _keep_shape(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.shape = tuple(output[0].shape)


triton_residual_norm.register_autograd(_differentiate, setup_context=_keep)
_triton_backward.register_autograd(_refuse_second_gradient, setup_context=_keep_shape)


def _like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return torch.empty(x.shape, dtype=dtype or x.dtype, device=x.device)


def _row_scale(x: Tensor) -> Tensor:
    return torch.empty((*x.shape[:-1], 1), dtype=torch.float32, device=x.device)
