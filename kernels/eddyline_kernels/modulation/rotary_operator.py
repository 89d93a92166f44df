"""Norm and rotary positions of queries and keys as callers use them: checked, run by Triton or by the reference.

The Triton side are operators of `torch.library` with fake implementations, so that `torch.compile` (fullgraph too) and
CUDA graphs take each as one node; Triton itself is imported when it is launched first. Their gradient is that of the
whole packed QKV: an operator's results may not be views, but the values are one, so an autograd function holds all.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_kernels import backend
from eddyline_kernels.errors import KernelInputError
from eddyline_kernels.formats import DTYPES
from eddyline_kernels.modulation import reference
from eddyline_kernels.modulation.checks import check_norm_rotate
from eddyline_kernels.modulation.plan import HEAD_DIMS

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
    a GPU this runs in Triton in bf16, fp16 and fp32 for head dimensions 16 to 256 that are powers of two and up to
    65,535 batch rows, and otherwise in plain torch; see `eddyline_kernels.backend`.

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
    if torch.is_grad_enabled() and any(t.requires_grad for t in (qkv, q_weight, k_weight)):
        q, k, v = _NormRotate.apply(qkv, q_weight, k_weight, rope, eps)  # type: ignore[no-untyped-call]
        return q, k, v
    return _turned(qkv, q_weight, k_weight, rope, eps)


def _turned(qkv: Tensor, q_weight: Tensor, k_weight: Tensor, rope: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    q, k = triton_norm_rotate(qkv[:, :, :2], q_weight, k_weight, rope, eps).unbind(2)
    return q, k, qkv[:, :, 2]


class _NormRotate(torch.autograd.Function):
    """The gradients of queries, keys and values go into that of the packed QKV in one pass, where they lie."""

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, q_weight: Tensor, k_weight: Tensor, rope: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, and the values, which are a view."""
        ctx.save_for_backward(qkv, q_weight, k_weight, rope)
        ctx.eps = eps
        return _turned(qkv, q_weight, k_weight, rope, eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the packed QKV and of the two learned scales."""
        qkv, q_weight, k_weight, rope = ctx.saved_tensors
        qkv_grad, sums = _triton_backward(*grads, qkv, q_weight, k_weight, rope, ctx.eps)
        q_sums, k_sums = sums.to(q_weight.dtype)
        return qkv_grad, q_sums, k_sums, None, None


def _obstacle(qkv: Tensor) -> str | None:
    """Why there is no Triton kernel for a tensor, or None."""
    if qkv.dtype not in DTYPES:
        return "there are kernels for bfloat16, float16 and float32 only"
    if qkv.shape[-1] not in HEAD_DIMS:
        return f"there are kernels for head dimensions {', '.join(map(str, HEAD_DIMS))} only"
    if qkv.shape[0] > backend.LARGEST_GRID:
        return f"there are kernels for at most {backend.LARGEST_GRID} batch rows"
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
    q_grad: Tensor,
    k_grad: Tensor,
    v_grad: Tensor,
    qkv: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    rope: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    from eddyline_kernels.modulation import launch

    if qkv.numel() == 0:
        return _like(qkv), _weight_sums(qkv).zero_()
    backend.launches["norm_rotate_backward"] += 1
    with torch.cuda.device_of(qkv):
        return launch.norm_rotate_backward(q_grad, k_grad, v_grad, qkv, q_weight, k_weight, rope, eps)


@triton_norm_rotate.register_fake
def _(qk: Tensor, *_: Any) -> Tensor:
    return _like(qk)


@_triton_backward.register_fake
def _(q_grad: Tensor, k_grad: Tensor, v_grad: Tensor, qkv: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return _like(qkv), _weight_sums(qkv)


def _refuse_second_gradient(ctx: Any, *grads: Tensor) -> None:
    raise KernelInputError(
        f"norm and rotary positions of {ctx.shape} have no second gradient in Triton; "
        f"set {backend.VARIABLE}=reference for it"
    )


def _keep_shape(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.shape = tuple(output[0].shape)


_triton_backward.register_autograd(_refuse_second_gradient, setup_context=_keep_shape)


def _like(t: Tensor) -> Tensor:
    return torch.empty(t.shape, dtype=t.dtype, device=t.device)


def _weight_sums(qkv: Tensor) -> Tensor:
    return torch.empty((2, qkv.shape[-1]), dtype=torch.float32, device=qkv.device)
