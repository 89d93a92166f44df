"""Window attention as callers use it: checked, and run by Triton or by the reference.

The Triton side is an operator of `torch.library` with a fake and an autograd implementation, so that `torch.compile`
(fullgraph too) and CUDA graphs take it as one node; Triton itself is imported when it is launched first.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_kernels import backend
from eddyline_kernels.attention import reference
from eddyline_kernels.attention.geometry import Triple, Windows, Wrap, check_tensors
from eddyline_kernels.attention.plan import HEAD_DIMS, axis_for_frames
from eddyline_kernels.errors import KernelInputError
from eddyline_kernels.formats import DTYPES

if TYPE_CHECKING:
    from eddyline_kernels.attention.proof import Kind


def window_attention(
    q: Float[Tensor, "B F Y X H D"],
    k: Float[Tensor, "B F Y X H D"],
    v: Float[Tensor, "B F Y X H D"],
    *,
    window: Triple,
    shift: Triple = (0, 0, 0),
    wrap: Wrap = (False, False, False),
) -> Float[Tensor, "B F Y X H D"]:
    """Softmax attention, scaled by 1/sqrt(D), inside 3-D windows (StreamDiT, arXiv 2507.03745, sec. 3.3).

    Reference frames are the first frames of F. On a GPU this runs in Triton for head dimensions 32, 64 and 128 in bf16,
    fp16 and fp32, up to 65,535 batch rows and heads, and otherwise, and where no plan of its kernels is right, in plain
    torch; see `eddyline_kernels.backend` and `proof`.

    Args:
        q, k, v: queries, keys and values in raster order, any strides (a packed QKV needs no split), one floating dtype
            and device.
        window: tokens per window along frames, rows, columns; clipped to the axis. Ragged edges are allowed.
        shift: where the first whole window starts on each axis, 0 <= shift < window.
        wrap: per axis, whether a shifted window wraps around the end (then the window must divide the axis).

    Returns:
        a weighted mean of the values of its window for every token, in the dtype of `v`, in raster order.

    Raises:
        KernelInputError: shapes, dtypes or devices differ, there are not six axes, a window is not positive, a shift
            lies outside its window, or a wrapped axis is not divisible by its window; a ValueError.
        KernelChoiceError: the environment asks for Triton, and it cannot run; or the first call of its kind on a GPU is
            being captured as a CUDA graph.
    """
    check_tensors(q, k, v)
    if backend.runs_triton("window attention", q.device, _obstacle(q, window)):
        return _in_triton(q, k, v, window, shift, wrap)[0]
    return reference.window_attention(q, k, v, window=window, shift=shift, wrap=wrap)


def window_attention_with_lse(
    q: Float[Tensor, "B F Y X H D"],
    k: Float[Tensor, "B F Y X H D"],
    v: Float[Tensor, "B F Y X H D"],
    *,
    window: Triple,
    shift: Triple = (0, 0, 0),
    wrap: Wrap = (False, False, False),
) -> tuple[Float[Tensor, "B F Y X H D"], Float[Tensor, "B H F Y X"]]:
    """As `window_attention`, and the natural log-sum-exp of the scores of every token, in float32 or wider.

    Two results over different keys join by it: weigh each with exp(lse), divide by the sum. Both have gradients.
    """
    check_tensors(q, k, v)
    if backend.runs_triton("window attention", q.device, _obstacle(q, window)):
        return _in_triton(q, k, v, window, shift, wrap)
    return (
        reference.window_attention(q, k, v, window=window, shift=shift, wrap=wrap),
        reference.window_log_sum_exp(q, k, window=window, shift=shift, wrap=wrap),
    )


def _obstacle(q: Tensor, window: Triple) -> str | None:
    """Why there is no Triton kernel for tensors like this, or None."""
    if q.dtype not in DTYPES:
        return "there are kernels for bfloat16, float16 and float32 only"
    if q.shape[-1] not in HEAD_DIMS:
        return f"there are kernels for head dimensions {', '.join(map(str, HEAD_DIMS))} only"
    if max(q.shape[0], q.shape[4]) > backend.LARGEST_GRID:
        return f"there are kernels for at most {backend.LARGEST_GRID} batch rows, and as many heads"
    if axis_for_frames(_sides(q, window)) is None:
        return f"a window of {' x '.join(map(str, _sides(q, window)))} tokens is too large to be walked over in 32 bits"
    return None


def _sides(q: Tensor, window: Triple) -> Triple:
    """The window, clipped to its axes."""
    _, frames, height, width, _, _ = q.shape
    return min(window[0], frames), min(window[1], height), min(window[2], width)


def _in_triton(
    q: Float[Tensor, "B F Y X H D"],
    k: Float[Tensor, "B F Y X H D"],
    v: Float[Tensor, "B F Y X H D"],
    window: Triple,
    shift: Triple,
    wrap: Wrap,
) -> tuple[Float[Tensor, "B F Y X H D"], Float[Tensor, "B H F Y X"]]:
    """The means and the log-sum-exp by the kernels, which take another axis for frames where windows are too long."""
    axis = axis_for_frames(_sides(q, window))
    if not axis:
        out, lse = triton_window_attention(q, k, v, window, shift, wrap)
        return out, lse
    q, k, v = (t.transpose(1, 1 + axis) for t in (q, k, v))
    out, lse = triton_window_attention(q, k, v, *(_exchanged(told, axis) for told in (window, shift, wrap)))
    return out.transpose(1, 1 + axis), lse.transpose(2, 2 + axis)


def _exchanged(told: Sequence[int], axis: int) -> list[int]:
    """What is told of the axes, for frames and `axis` in each other's place."""
    exchanged = list(told)
    exchanged[0], exchanged[axis] = told[axis], told[0]
    return exchanged


@torch.library.custom_op("eddyline::window_attention", mutates_args=())
def triton_window_attention(
    q: Tensor, k: Tensor, v: Tensor, window: Sequence[int], shift: Sequence[int], wrap: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    """The Triton operator: [B, F, Y, X, H, D] three times to the means and the log-sum-exp [B, H, F, Y, X]."""
    from eddyline_kernels.attention import launch, proof

    windows = _windows(q, window, shift, wrap)
    if q.numel() == 0:
        return torch.empty(q.shape, dtype=q.dtype, device=q.device), _empty_statistics(q)
    with torch.cuda.device_of(q), torch.autocast(q.device.type, enabled=False):
        q, k, v = (launch.readable(t) for t in (q, k, v))
        kind = _kind(windows, q, k, v)
        plan = proof.forward_plan(kind)
        if plan is None:
            backend.fall_back("window attention", proof.NONE_IS_RIGHT)
            lse = reference.window_log_sum_exp(q, k, **windows.told)
            return reference.window_attention(q, k, v, **windows.told).contiguous(), lse.contiguous()
        backend.launches["window_attention"] += 1
        return launch.forward(q, k, v, windows, plan, near=not kind.far)


@torch.library.custom_op("eddyline::window_attention_backward", mutates_args=())
def _triton_backward(
    grad: Tensor,
    lse_grad: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    window: Sequence[int],
    shift: Sequence[int],
    wrap: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    from eddyline_kernels.attention import launch, proof

    windows = _windows(q, window, shift, wrap)
    if q.numel() == 0:
        return _like(q), _like(q), _like(q)
    with torch.cuda.device_of(q), torch.autocast(q.device.type, enabled=False):
        grad, q, k, v = (launch.readable(t) for t in (grad, q, k, v))
        kind = replace(_kind(windows, q, k, v, grad), lse_grad=lse_grad is not None)
        plan = proof.backward_plan(kind)
        if plan is None:
            backend.fall_back("window attention, backward,", proof.NONE_IS_RIGHT)
            return reference.window_gradients(grad, lse_grad, q, k, v, **windows.told)
        backend.launches["window_attention_backward"] += 1
        return launch.backward(grad, lse_grad, q, k, v, out, lse, windows, plan, near=not kind.far)


@triton_window_attention.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, window: Sequence[int], shift: Sequence[int], wrap: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    return _like(q), _empty_statistics(q)


@_triton_backward.register_fake
def _(grad: Tensor, lse_grad: Tensor | None, q: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _like(q), _like(q), _like(q)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, *ctx.cut = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(q, k, v, *output)


def _differentiate(ctx: Any, grad: Tensor | None, lse_grad: Tensor | None) -> tuple[Tensor | None, ...]:
    q, k, v, out, lse = ctx.saved_tensors
    if grad is None:
        grad = torch.zeros_like(out)
    return (*_triton_backward(grad, lse_grad, q, k, v, out, lse, *ctx.cut), None, None, None)


def _refuse_second_gradient(ctx: Any, *grads: Tensor | None) -> None:
    raise KernelInputError(
        f"window attention over {ctx.shape} has no second gradient in Triton; set {backend.VARIABLE}=reference for it"
    )


def _keep_shape(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.shape = tuple(output[0].shape)


triton_window_attention.register_autograd(_differentiate, setup_context=_keep)
_triton_backward.register_autograd(_refuse_second_gradient, setup_context=_keep_shape)


def _windows(q: Tensor, window: Sequence[int], shift: Sequence[int], wrap: Sequence[bool]) -> Windows:
    _, frames, height, width, _, _ = q.shape
    (wf, wy, wx), (sf, sy, sx), (rf, ry, rx) = window, shift, wrap
    return Windows.cut((frames, height, width), (wf, wy, wx), (sf, sy, sx), (rf, ry, rx))


def _kind(windows: Windows, q: Tensor, k: Tensor, v: Tensor, grad: Tensor | None = None) -> "Kind":
    """What the plans of a call depend on; Triton's interpreter can do what the newest GPU can."""
    from eddyline_kernels.attention import launch
    from eddyline_kernels.attention.proof import Kind

    able = launch.from_shared_memory(q.device)
    tma = able and all(launch.tma_reads(t) for t in (q, k, v))
    far = not launch.near(q, k, v, *(() if grad is None else (grad,)))
    return Kind(windows, q.shape[-1], q.dtype, q.device, tma=tma, in_registers=not able, far=far)


def _like(q: Tensor) -> Tensor:
    return torch.empty(q.shape, dtype=q.dtype, device=q.device)


def _empty_statistics(q: Tensor) -> Tensor:
    batch, frames, height, width, heads, _ = q.shape
    return q.new_empty((batch, heads, frames, height, width), dtype=torch.float32)
