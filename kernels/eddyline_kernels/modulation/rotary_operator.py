"""Norm and rotary positions of queries and keys as callers use them: checked, run by Triton or by the reference.

The Triton side is an operator of `torch.library` with a fake and an autograd implementation, so that `torch.compile`
(fullgraph too) and CUDA graphs take it as one node; Triton itself is imported when it is launched first.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_kernels import backend
from eddyline_kernels.errors import KernelInputError
from eddyline_kernels.modulation import reference
from eddyline_kernels.modulation.checks import check_norm_rotate
from eddyline_kernels.modulation.plan import HEAD_DIMS

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
"""What there are Triton kernels for."""
EPS = 1e-6


def norm_rotate(
    qkv: Float[Tensor, "B N 3 H D"],
    q_weight: Float[Tensor, " D"],
    k_weight: Float[Tensor, " D"],
    rope: Float[Tensor, "2 N D"],
    *,
    eps: float = EPS,
) -> tuple[Float[Tensor, "B N H D"], Float[Tensor, "B N H D"], Float[Tensor, "B N H D"]]:
    """Queries and keys over their root mean square, times a learned scale, turned by their positions, in one pass.

    Rotary positions turn the pairs (i, i + D/2) of a head by the token's angles (Su et al. 2021, arXiv 2104.09864). On
    a GPU this runs in Triton in bf16, fp16 and fp32 for head dimensions 16 to 256 that are powers of two, and otherwise
    in plain torch; see `eddyline_kernels.backend`.

    Args:
        qkv: packed as a linear layer makes it; any strides.
        q_weight, k_weight: learned scales of one floating dtype.
        rope: cosines and sines of every token; the second half of D repeats the first. It has no gradient.
        eps: added to the mean square.

    Returns:
        queries and keys in the dtype of `qkv`, and the values, which are a view of `qkv`.

    Raises:
        KernelInputError: shapes, dtypes or devices do not fit, or `rope` wants a gradient; a ValueError.
        KernelChoiceError: the environment asks for Triton, and it cannot run.
    """
    check_norm_rotate(qkv, q_weight, k_weight, rope)
    if not backend.runs_triton("norm and rotary positions", qkv.device, _obstacle(qkv)):
        return reference.norm_rotate(qkv, q_weight, k_weight, rope, eps=eps)
    qk, values = qkv.split((2, 1), dim=2)
    q, k = triton_norm_rotate(qk, q_weight, k_weight, rope, eps).unbind(2)
    return q, k, values.squeeze(2)


def _obstacle(qkv: Tensor) -> str | None:
    """Why there is no Triton kernel for a tensor, or None."""
    if qkv.dtype not in DTYPES:
        return "there are kernels for bfloat16, float16 and float32 only"
    if qkv.shape[-1] not in HEAD_DIMS:
        return f"there are kernels for head dimensions {', '.join(map(str, HEAD_DIMS))} only"
    return None


@torch.library.custom_op("eddyline::norm_rotate", mutates_args=())
def triton_norm_rotate(qk: Tensor, q_weight: Tensor, k_weight: Tensor, rope: Tensor, eps: float) -> Tensor:
    """The Triton operator: [B, N, 2, H, D], queries and keys, to the same, contiguous."""
    from eddyline_kernels.modulation import launch

    if qk.numel() == 0:
        return _like(qk)
    backend.launches["norm_rotate"] += 1
    with torch.cuda.device_of(qk):
        return launch.norm_rotate(qk, q_weight, k_weight, rope, eps)


@torch.library.custom_op("eddyline::norm_rotate_backward", mutates_args=())
def _triton_backward(
    grad: Tensor, qk: Tensor, q_weight: Tensor, k_weight: Tensor, rope: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    from eddyline_kernels.modulation import launch

    if qk.numel() == 0:
        return _like(qk), _weight_sums(qk).zero_()
    backend.launches["norm_rotate_backward"] += 1
    with torch.cuda.device_of(qk):
        return launch.norm_rotate_backward(grad, qk, q_weight, k_weight, rope, eps)


@triton_norm_rotate.register_fake
def _(qk: Tensor, *_: Any) -> Tensor:
    return _like(qk)


@_triton_backward.register_fake
def _(grad: Tensor, qk: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return _like(qk), _weight_sums(qk)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    qk, q_weight, k_weight, rope = ctx.saved_tensors
    qk_grad, sums = _triton_backward(grad, qk, q_weight, k_weight, rope, ctx.eps)
    q_sums, k_sums = sums.to(q_weight.dtype)
    return qk_grad, q_sums, k_sums, None, None


def _refuse_second_gradient(ctx: Any, *grads: Tensor) -> None:
    raise KernelInputError(
        f"norm and rotary positions of {ctx.shape} have no second gradient in Triton; "
        f"set {backend.VARIABLE}=reference for it"
    )


def _keep_shape(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.shape = tuple(output[0].shape)


triton_norm_rotate.register_autograd(_differentiate, setup_context=_keep)
_triton_backward.register_autograd(_refuse_second_gradient, setup_context=_keep_shape)


def _like(qk: Tensor) -> Tensor:
    return torch.empty(qk.shape, dtype=qk.dtype, device=qk.device)


def _weight_sums(qk: Tensor) -> Tensor:
    return torch.empty((2, qk.shape[-1]), dtype=torch.float32, device=qk.device)
