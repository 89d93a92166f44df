"""The root-mean-square norm as callers use it: checked, and run by Triton or by plain torch.

The Triton side is an operator of `torch.library` with a fake implementation; it has no gradient, and where one is asked
for plain torch runs.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from eddyline_kernels import backend
from eddyline_kernels.errors import KernelInputError
from eddyline_kernels.formats import DTYPES

LARGEST_DIM = 1024
"""Short enough that a program holds several rows in its registers."""


def rms_norm(x: Float[Tensor, "*rows D"], weight: Float[Tensor, " D"], *, eps: float) -> Float[Tensor, "*rows D"]:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis (Zhang and Sennrich 2019, arXiv 1910.07467).

    On a GPU this runs in Triton in bf16, fp16 and fp32 for rows of up to 1024 numbers, where no gradient is asked for.

    Raises:
        KernelInputError: shapes, dtypes or devices do not fit; a ValueError.
        KernelChoiceError: the environment asks for Triton, and it cannot run.
    """
    if x.ndim < 1 or weight.shape != x.shape[-1:] or weight.device != x.device or not x.is_floating_point():
        raise KernelInputError(
            f"x {tuple(x.shape)} of {x.dtype} on {x.device} and weight {tuple(weight.shape)} on {weight.device} do not "
            "fit; pass rows [..., D] of a floating dtype and weight [D] on one device"
        )
    differentiated = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if differentiated or not backend.runs_triton("root-mean-square norm", x.device, _obstacle(x)):
        return F.rms_norm(x, (x.shape[-1],), weight.to(x.dtype), eps=eps)
    normed: Tensor = triton_rms_norm(x, weight, eps)
    return normed


def _obstacle(x: Tensor) -> str | None:
    """Why there is no Triton kernel for some rows, or None."""
    if x.dtype not in DTYPES:
        return "there are kernels for bfloat16, float16 and float32 only"
    if x.shape[-1] > LARGEST_DIM:
        return f"there are kernels for rows of up to {LARGEST_DIM} numbers only"
    return None


@torch.library.custom_op("eddyline::rms_norm", mutates_args=())
def triton_rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """The Triton operator; the result is contiguous."""
    from eddyline_kernels.norm import launch

    if x.numel() == 0:
        return _like(x)
    backend.launches["rms_norm"] += 1
    with torch.cuda.device_of(x):
        return launch.rms_norm(x, weight, eps)


@triton_rms_norm.register_fake
def _(x: Tensor, *_: object) -> Tensor:
    return _like(x)


def _like(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)
