"""Launches the Triton kernels of window attention on tensors. Needs Triton to be imported.

Shapes: B batch, F frames, Y X token rows and columns, H heads, D head dimension.
"""

from math import e, log2, prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from eddyline_kernels.attention.geometry import Triple, Windows
from eddyline_kernels.attention.plan import TMA_CAPABILITY, Blocks, Plan, plan
from eddyline_kernels.attention.triton_impl import dkdv_kernel, dq_kernel, forward_kernel


def forward(
    q: Float[Tensor, "B F Y X H D"],
    k: Float[Tensor, "B F Y X H D"],
    v: Float[Tensor, "B F Y X H D"],
    windows: Windows,
    capability: tuple[int, int],
    chosen: Plan | None = None,
) -> tuple[Float[Tensor, "B F Y X H D"], Float[Tensor, "B H F Y X"]]:
    """The weighted means, contiguous, and the natural log-sum-exp of the scores in float32.

    Args:
        q, k, v: one shape, dtype and device, any strides.
        windows: how the volume is cut.
        capability: compute capability of the GPU.
        chosen: the blocks to work in; those of `plan` if None.
    """
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty(_statistics_shape(q), dtype=torch.float32, device=q.device)
    chosen = chosen or _plan(windows, (q, k, v), capability)
    blocks = chosen.forward
    forward_kernel[_grid(windows, chosen, blocks.queries, blocks.query_box, q)](
        _source(q, chosen, blocks.query_box) if blocks.own_box else q,
        *(_source(t, chosen, blocks.key_box) for t in (k, v)),
        out,
        lse,
        *(t.stride() for t in (q, k, v, out)),
        **_arguments(windows, chosen, blocks, blocks.queries, blocks.query_box, q),
        NEAR=_near(q, k, v, out),
        OWN_BOX=chosen.boxes and blocks.own_box,
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
    capability: tuple[int, int],
    chosen: Plan | None = None,
) -> tuple[Float[Tensor, "B F Y X H D"], Float[Tensor, "B F Y X H D"], Float[Tensor, "B F Y X H D"]]:
    """Gradients of queries, keys and values, contiguous; `grad` and `lse_grad` are those of what `forward` returned."""
    if not _tma_reads(grad):
        grad = grad.contiguous()
    chosen = chosen or _plan(windows, (q, k, v, grad), capability)
    lists = (q.shape[0], q.shape[4], prod(windows.counts), windows.tokens)
    listed = [torch.empty(lists, dtype=torch.float32, device=q.device) for _ in range(2)]
    dq, dk, dv = (torch.empty(q.shape, dtype=q.dtype, device=q.device) for _ in range(3))
    strides = [t.stride() for t in (q, k, v, out, grad)]
    near = _near(q, k, v, out, grad)

    blocks = chosen.dq
    dq_kernel[_grid(windows, chosen, blocks.queries, blocks.query_box, q)](
        *(_source(t, chosen, box) for t, box in ((q, blocks.query_box), (k, blocks.key_box), (v, blocks.key_box))),
        out,
        _source(grad, chosen, blocks.query_box),
        lse,
        None if lse_grad is None else lse_grad.contiguous(),
        dq,
        *listed,
        *strides,
        **_arguments(windows, chosen, blocks, blocks.queries, blocks.query_box, q),
        NEAR=near,
        window_counts=windows.counts,
        LISTED_BOX=chosen.dkdv.query_box,
    )
    blocks = chosen.dkdv
    dkdv_kernel[_grid(windows, chosen, blocks.keys, blocks.key_box, q)](
        *(_source(t, chosen, box) for t, box in ((q, blocks.query_box), (k, blocks.key_box), (v, blocks.key_box))),
        _source(grad, chosen, blocks.query_box),
        *listed,
        dk,
        dv,
        *strides,
        **_arguments(windows, chosen, blocks, blocks.keys, blocks.key_box, q),
        NEAR=near,
        window_counts=windows.counts,
    )
    return dq, dk, dv


def _plan(windows: Windows, tensors: tuple[Tensor, ...], capability: tuple[int, int]) -> Plan:
    tma = capability >= TMA_CAPABILITY and all(map(_tma_reads, tensors))
    return plan(windows, head_dim=tensors[0].shape[-1], itemsize=tensors[0].element_size(), tma=tma)


def _tma_reads(t: Float[Tensor, "B F Y X H D"]) -> bool:
    """Whether a descriptor over [B*F, Y, X, H, D] can describe a tensor: batch and frames must be one axis."""
    aligned = all(stride > 0 and stride * t.element_size() % 16 == 0 for stride in t.stride()[:-1])
    one_axis = t.shape[0] == 1 or t.stride(0) == t.shape[1] * t.stride(1)
    return aligned and one_axis and t.stride(-1) == 1 and t.data_ptr() % 16 == 0


def _near(*tensors: Float[Tensor, "B F Y X H D"]) -> bool:
    """Whether 32 bits number what lies between the first and the last number of every head, so that they are enough."""
    return all(
        sum((t.shape[axis] - 1) * t.stride(axis) for axis in (1, 2, 3, 5)) < 2**31  # axes 0, 4: batch, heads
        for t in tensors
    )


def _source(t: Tensor, chosen: Plan, box: Triple) -> Tensor | TensorDescriptor:
    """What a kernel reads a tensor through."""
    if not chosen.boxes:
        return t
    batch, frames, *rest = t.shape
    return TensorDescriptor(t, [batch * frames, *rest], list(t.stride()[1:]), [*box, 1, t.shape[-1]])


def _grid(windows: Windows, chosen: Plan, tokens: int, box: Triple, q: Tensor) -> tuple[int, int, int]:
    """Blocks, heads, batch. Heads are slow, so that keys and values of a window stay in the cache."""
    return prod(_counts(windows, chosen, tokens, box)), q.shape[4], q.shape[0]


def _counts(windows: Windows, chosen: Plan, tokens: int, box: Triple) -> tuple[int, ...]:
    """Boxes along each axis; or windows along each axis, and blocks of `tokens` tokens in the largest window."""
    if chosen.boxes:
        return tuple(size // side for size, side in zip(windows.size, box, strict=True))
    return (*windows.counts, -(-windows.tokens // tokens))


def _arguments(windows: Windows, chosen: Plan, blocks: Blocks, tokens: int, box: Triple, q: Tensor) -> dict[str, Any]:
    """What all three kernels are told; `tokens` and `box` are the block that one program owns."""
    return {
        "size": windows.size,
        "window": windows.window,
        "shift": windows.shift,
        "counts": _counts(windows, chosen, tokens, box),
        "scale": log2(e) / q.shape[-1] ** 0.5,
        "WRAP": windows.wrap,
        "D": q.shape[-1],
        "BOX": chosen.boxes,
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
