"""Launches the Triton kernels of window attention on tensors. Needs Triton to be imported.

Shapes: B batch, F frames, Y X token rows and columns, H heads, D head dimension.
"""

from math import e, log2, prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from triton import cdiv
from triton.tools.tensor_descriptor import TensorDescriptor

from eddyline_kernels.attention.geometry import Triple, Windows
from eddyline_kernels.attention.plan import Blocks, Plan, multiplies_from_shared_memory
from eddyline_kernels.attention.triton_impl import LIST_UNIT, dkdv_kernel, dq_kernel, forward_kernel


def forward(
    q: Float[Tensor, "B F Y X H D"],
    k: Float[Tensor, "B F Y X H D"],
    v: Float[Tensor, "B F Y X H D"],
    windows: Windows,
    plan: Plan,
    *,
    near: bool,
) -> tuple[Float[Tensor, "B F Y X H D"], Float[Tensor, "B H F Y X"]]:
    """The weighted means, contiguous, and the natural log-sum-exp of the scores in float32.

    Args:
        q, k, v: one shape, dtype and device, `readable`.
        windows: how the volume is cut.
        plan: the blocks to work in, one of `plans`.
        near: whether addresses of 32 bits are enough, see `near`.
    """
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty(_statistics_shape(q), dtype=torch.float32, device=q.device)
    blocks = plan.forward
    forward_kernel[_grid(windows, plan, blocks.queries, blocks.query_box, q)](
        _own_source(q, plan, blocks, blocks.query_box),
        *(_source(t, plan, blocks.key_box) for t in (k, v)),
        out,
        lse,
        *(t.stride() for t in (q, k, v, out)),
        **_arguments(windows, plan, blocks, blocks.queries, blocks.query_box, q),
        NEAR=near,
    )
    return out, lse


def backward(
    grad: Float[Tensor, "B F Y X H D"],
    lse_grad: Float[Tensor, "B H F Y X"] | None,
    q: Float[Tensor, "B F Y X H D"],
    k: Float[Tensor, "B F Y X H D"],
    v: Float[Tensor, "B F Y X H D"],
    out: Float[Tensor, "B F Y X H D"],
    lse: Float[Tensor, "B H F Y X"],
    windows: Windows,
    plan: Plan,
    *,
    near: bool,
) -> tuple[Float[Tensor, "B F Y X H D"], Float[Tensor, "B F Y X H D"], Float[Tensor, "B F Y X H D"]]:
    """Gradients of queries, keys and values, contiguous; `grad`, readable, and `lse_grad` are those of what `forward`
    returned."""
    if not tma_reads(grad):
        grad = grad.clone(memory_format=torch.contiguous_format)
    room = cdiv(windows.tokens, LIST_UNIT.value) * LIST_UNIT.value
    lists = (q.shape[0], q.shape[4], prod(windows.counts), room)
    listed = [torch.empty(lists, dtype=torch.float32, device=q.device) for _ in range(2)]
    dq, dk, dv = (torch.empty(q.shape, dtype=q.dtype, device=q.device) for _ in range(3))
    strides = [t.stride() for t in (q, k, v, out, grad)]

    blocks = plan.dq
    dq_kernel[_grid(windows, plan, blocks.queries, blocks.query_box, q)](
        _own_source(q, plan, blocks, blocks.query_box),
        *(_source(t, plan, blocks.key_box) for t in (k, v)),
        out,
        _own_source(grad, plan, blocks, blocks.query_box),
        lse,
        # a copy, so that it is aligned as that which plans are proven on
        None if lse_grad is None else lse_grad.clone(memory_format=torch.contiguous_format),
        dq,
        *listed,
        *strides,
        **_arguments(windows, plan, blocks, blocks.queries, blocks.query_box, q),
        NEAR=near,
        window_counts=windows.counts,
        LISTED_BOX=plan.dkdv.query_box,
    )
    blocks = plan.dkdv
    dkdv_kernel[_grid(windows, plan, blocks.keys, blocks.key_box, q)](
        _source(q, plan, blocks.query_box),
        *(_own_source(t, plan, blocks, blocks.key_box) for t in (k, v)),
        _source(grad, plan, blocks.query_box),
        *listed,
        dk,
        dv,
        *strides,
        **_arguments(windows, plan, blocks, blocks.keys, blocks.key_box, q),
        NEAR=near,
        window_counts=windows.counts,
    )
    return dq, dk, dv


def readable(t: Float[Tensor, "B F Y X H D"]) -> Float[Tensor, "B F Y X H D"]:
    """The tensor, or a copy of it where it lies otherwise than what kernels are proven on: unaligned, or with numbers
    of a head apart."""
    *outer, last = t.stride()
    if last == 1 and t.data_ptr() % 16 == 0 and all(stride % 16 == 0 for stride in outer):
        return t
    return t.clone(memory_format=torch.contiguous_format)


def from_shared_memory(device: torch.device) -> bool:
    """Whether products on a device read shared memory, see `plan`; Triton's interpreter can do what any GPU can."""
    return device.type != "cuda" or multiplies_from_shared_memory(torch.cuda.get_device_capability(device))


def tma_reads(t: Float[Tensor, "B F Y X H D"]) -> bool:
    """Whether a descriptor over [B*F, Y, X, H, D] can describe a readable tensor: batch and frames must be one axis."""
    per_row, per_frame, *_ = strides = t.stride()
    return min(strides) > 0 and (t.shape[0] == 1 or per_row == t.shape[1] * per_frame)


def near(*tensors: Float[Tensor, "B F Y X H D"]) -> bool:
    """Whether 32 bits can tell how far the numbers of a head of a batch row lie from the first of them, in the tensors
    and in results, which are contiguous."""
    for t in tensors:
        _, frames, rows, columns, heads, dim = t.shape
        _, per_frame, per_row, per_column, _, last = t.stride()
        reach = (frames - 1) * per_frame + (rows - 1) * per_row + (columns - 1) * per_column + (dim - 1) * last
        written = (frames * rows * columns - 1) * heads * dim + dim - 1
        if max(reach, written) >= 2**31:
            return False
    return True


def _source(t: Tensor, plan: Plan, box: Triple) -> Tensor | TensorDescriptor:
    """What a kernel reads a tensor through."""
    if not plan.boxes:
        return t
    batch, frames, *rest = t.shape
    return TensorDescriptor(t, [batch * frames, *rest], list(t.stride()[1:]), [*box, 1, t.shape[-1]])


def _own_source(t: Tensor, plan: Plan, blocks: Blocks, box: Triple) -> Tensor | TensorDescriptor:
    """What a kernel reads the block that a program owns through."""
    return _source(t, plan, box) if blocks.own_box else t


def _grid(windows: Windows, plan: Plan, tokens: int, box: Triple, q: Tensor) -> tuple[int, int, int]:
    """Blocks, heads, batch. Heads are slow, so that keys and values of a window stay in the cache."""
    return prod(_counts(windows, plan, tokens, box)), q.shape[4], q.shape[0]


def _counts(windows: Windows, plan: Plan, tokens: int, box: Triple) -> tuple[int, ...]:
    """Boxes along each axis; or windows along each axis, and blocks of `tokens` tokens in the largest window."""
    if plan.boxes:
        return tuple(size // side for size, side in zip(windows.size, box, strict=True))
    return (*windows.counts, -(-windows.tokens // tokens))


def _arguments(windows: Windows, plan: Plan, blocks: Blocks, tokens: int, box: Triple, q: Tensor) -> dict[str, Any]:
    """What all three kernels are told; `tokens` and `box` are the block that one program owns."""
    return {
        "size": windows.size,
        "window": windows.window,
        "shift": windows.shift,
        "counts": _counts(windows, plan, tokens, box),
        "scale": log2(e) / q.shape[-1] ** 0.5,
        "WRAP": windows.wrap,
        "D": q.shape[-1],
        "BOX": plan.boxes,
        "OWN_BOX": plan.boxes and blocks.own_box,
        "PEEL": blocks.peeled,
        "BLOCK_Q": blocks.queries,
        "BLOCK_K": blocks.keys,
        "Q_BOX": blocks.query_box,
        "K_BOX": blocks.key_box,
        "num_warps": blocks.num_warps,
        "num_stages": blocks.num_stages,
    }


def _statistics_shape(q: Tensor) -> tuple[int, ...]:
    batch, frames, height, width, heads, _ = q.shape
    return batch, heads, frames, height, width
