"""The bilateral filter as callers use it: checked, and run by Triton or by plain torch.

The Triton side is an operator of `torch.library` with a fake implementation. There is no gradient.

Shapes: N frames, H W picture height and width.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_kernels import backend
from eddyline_kernels.bilateral import reference
from eddyline_kernels.errors import KernelInputError
from eddyline_kernels.formats import DTYPES

LARGEST_FRAME = 2**31 - 1
"""Numbers of a frame that 32 bits count."""


def bilateral_filter(frames: Float[Tensor, "N 3 H W"], *, reach: float) -> Float[Tensor, "N 3 H W"]:
    """Each pixel becomes the mean of the 5x5 around it, weighed by how near their colours are to its own.

    The weight of a neighbour whose colour is d away (Euclidean, over RGB) is max(0, 1 - (d / reach)^2)^2, Tukey's
    biweight: that of the pixel itself is 1, and nothing from `reach` on has any. So it is the filter of Tomasi and
    Manduchi 1998 ("Bilateral Filtering for Gray and Color Images") within a square, with the robust weight of Durand
    and Dorsey 2002 ("Fast Bilateral Filtering for the Display of High-Dynamic-Range Images"): flat places become flat,
    outlines stay where they are. What lies outside a frame has no weight, and frames do not see each other.

    On a GPU this runs in Triton for frames in bf16, fp16 and fp32.

    Args:
        reach: in the units of the frames; above 0.

    Returns:
        As float32; of float64 as float64, in plain torch.

    Raises:
        KernelInputError: `frames` are no such tensor or ask for a gradient, or `reach` is not above 0; a ValueError.
        KernelChoiceError: the environment asks for Triton, and it cannot run.
    """
    if frames.ndim != 4 or frames.shape[1] != 3 or not frames.is_floating_point():
        raise KernelInputError(
            f"frames {tuple(frames.shape)} of {frames.dtype} are no pictures; pass [N, 3, H, W] of a floating dtype"
        )
    if not reach > 0:
        raise KernelInputError(f"reach is {reach}; pass a difference of colours above 0")
    if torch.is_grad_enabled() and frames.requires_grad:
        raise KernelInputError(
            f"the bilateral filter of frames {tuple(frames.shape)} has no gradient; learn on what comes before it"
        )
    if not backend.runs_triton("the bilateral filter", frames.device, _obstacle(frames)):
        return reference.bilateral_filter(frames, reach)
    filtered: Tensor = triton_bilateral_filter(frames, reach)
    return filtered


def _obstacle(frames: Tensor) -> str | None:
    """Why there is no Triton kernel for some frames, or None."""
    if frames.dtype not in DTYPES:
        return "there are kernels for bfloat16, float16 and float32 only"
    if frames[:1].numel() > LARGEST_FRAME:
        return f"there are kernels for frames of up to {LARGEST_FRAME} numbers only"
    return None


@torch.library.custom_op("eddyline::bilateral_filter", mutates_args=())
def triton_bilateral_filter(frames: Tensor, reach: float) -> Tensor:
    """The Triton operator; the result is contiguous, float32."""
    from eddyline_kernels.bilateral import launch

    if frames.numel() == 0:
        return _like(frames)
    backend.launches["bilateral_filter"] += 1
    with torch.cuda.device_of(frames):
        return launch.bilateral_filter(frames, reach)


@triton_bilateral_filter.register_fake
def _(frames: Tensor, *_: object) -> Tensor:
    return _like(frames)


def _like(frames: Tensor) -> Tensor:
    return torch.empty(frames.shape, dtype=torch.float32, device=frames.device)
