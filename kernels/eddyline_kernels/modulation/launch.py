"""Launches the Triton kernels of modulation on tensors, in the blocks of `plan` or in `chosen` ones. Needs Triton to be
imported.

Shapes: B batch, F latent frames, S tokens per frame, W width, N tokens, H heads, D head dimension.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_kernels.modulation.plan import HeadsPlan, RowsPlan, heads_plan, rows_plan
from eddyline_kernels.modulation.triton_impl import (
    norm_rotate_backward_kernel,
    norm_rotate_kernel,
    residual_norm_backward_kernel,
    residual_norm_kernel,
)


def residual_norm(
    x: Float[Tensor, "B F S W"],
    branch: Float[Tensor, "B F S W"] | None,
    gate: Float[Tensor, "B F 1 W"] | None,
    scale: Float[Tensor, "B F 1 W"],
    shift: Float[Tensor, "B F 1 W"],
    base: float,
    eps: float,
    *,
    out: Float[Tensor, "B F S W"],
    row_scale: Float[Tensor, "B F S 1"] | None,
    chosen: RowsPlan | None = None,
) -> Float[Tensor, "..."]:
    """Write the modulated norm into `out`, as e4m3 where `row_scale` is there; returns x + gate * branch.

    Without a branch what is returned is empty.
    """
    batch, frames, tokens, width = x.shape
    total = x.new_empty(0) if branch is None else torch.empty(x.shape, dtype=x.dtype, device=x.device)
    scale, shift, gate = _dense_rows(scale), _dense_rows(shift), None if gate is None else _dense_rows(gate)
    loaded = 1 if branch is None else 2
    # on an H200 the kernel with a branch and no e4m3 keeps the memory busy without
    ahead = 0 if branch is not None and row_scale is None else loaded * x.element_size()
    chosen = chosen or rows_plan(width, tokens, ahead=ahead)
    residual_norm_kernel[chosen.blocks, batch * frames](
        x.contiguous(),
        None if branch is None else branch.contiguous(),
        gate,
        scale,
        shift,
        None if branch is None else total,
        out,
        row_scale,
        None if gate is None else gate.stride()[:2],
        scale.stride()[:2],
        shift.stride()[:2],
        frames,
        tokens,
        base,
        eps,
        W=width,
        BLOCK=chosen.columns,
        PARTS=chosen.parts,
        ROWS=chosen.rows,
        STAGES=chosen.stages,
        num_warps=chosen.num_warps,
    )
    return total


def residual_norm_backward(
    total_grad: Float[Tensor, "B F S W"] | None,
    out_grad: Float[Tensor, "B F S W"],
    total: Float[Tensor, "B F S W"],
    branch: Float[Tensor, "B F S W"] | None,
    gate: Float[Tensor, "B F 1 W"] | None,
    scale: Float[Tensor, "B F 1 W"],
    base: float,
    eps: float,
    chosen: RowsPlan | None = None,
) -> tuple[Float[Tensor, "B F S W"], Float[Tensor, "..."], Float[Tensor, "parts B F 1 W"]]:
    """Gradients of x; of the branch (empty without a gate, as it is that of x); of scale, shift and gate in float32."""
    batch, frames, tokens, width = total.shape
    x_grad = torch.empty(total.shape, dtype=total.dtype, device=total.device)
    branch_grad = total.new_empty(0) if gate is None else torch.empty_like(x_grad)
    scale, gate = _dense_rows(scale), None if gate is None else _dense_rows(gate)
    loaded = 2 + (total_grad is not None) + (branch is not None and gate is not None)
    chosen = chosen or rows_plan(width, tokens, ahead=loaded * total.element_size(), backward=True)
    parts = 2 if gate is None else 3
    sums = torch.empty((parts, batch * frames, chosen.blocks, width), dtype=torch.float32, device=total.device)
    residual_norm_backward_kernel[chosen.blocks, batch * frames](
        None if total_grad is None else total_grad.contiguous(),
        out_grad.contiguous(),
        total.contiguous(),
        None if branch is None or gate is None else branch.contiguous(),
        gate,
        scale,
        x_grad,
        None if gate is None else branch_grad,
        sums,
        None if gate is None else gate.stride()[:2],
        scale.stride()[:2],
        frames,
        tokens,
        base,
        eps,
        W=width,
        BLOCK=chosen.columns,
        PARTS=chosen.parts,
        ROWS=chosen.rows,
        STAGES=chosen.stages,
        num_warps=chosen.num_warps,
    )
    return x_grad, branch_grad, sums.sum(2).view(parts, batch, frames, 1, width)


def norm_rotate(
    qk: Float[Tensor, "B N 2 H D"],
    q_weight: Float[Tensor, " D"],
    k_weight: Float[Tensor, " D"],
    rope: Float[Tensor, "2 N D"],
    eps: float,
    chosen: HeadsPlan | None = None,
) -> Float[Tensor, "B N 2 H D"]:
    """Queries and keys normed and turned, contiguous."""
    batch, tokens, _, heads, dim = qk.shape
    qk = _near_heads(qk)
    out = torch.empty(qk.shape, dtype=qk.dtype, device=qk.device)
    chosen = chosen or heads_plan(heads, dim, tokens)
    norm_rotate_kernel[chosen.blocks, 2, batch](
        qk,
        q_weight.contiguous(),
        k_weight.contiguous(),
        rope.contiguous(),
        out,
        qk.stride()[:4],
        tokens,
        eps,
        HEADS=heads,
        D=dim,
        BLOCK=chosen.tokens,
        BLOCK_H=chosen.heads,
        num_warps=chosen.num_warps,
    )
    return out


def norm_rotate_backward(
    q_grad: Float[Tensor, "B N H D"],
    k_grad: Float[Tensor, "B N H D"],
    v_grad: Float[Tensor, "B N H D"],
    qkv: Float[Tensor, "B N 3 H D"],
    q_weight: Float[Tensor, " D"],
    k_weight: Float[Tensor, " D"],
    rope: Float[Tensor, "2 N D"],
    eps: float,
    chosen: HeadsPlan | None = None,
) -> tuple[Float[Tensor, "B N 3 H D"], Float[Tensor, "2 D"]]:
    """Gradients of the packed QKV, contiguous, and of the two learned scales in float32."""
    batch, tokens, _, heads, dim = qkv.shape
    qkv, grads = _near_heads(qkv), [_near_heads(grad) for grad in (q_grad, k_grad, v_grad)]
    qkv_grad = torch.empty(qkv.shape, dtype=qkv.dtype, device=qkv.device)
    chosen = chosen or heads_plan(heads, dim, tokens, backward=True)
    sums = torch.empty((2, batch * chosen.blocks, dim), dtype=torch.float32, device=qkv.device)
    norm_rotate_backward_kernel[chosen.blocks, batch](
        *grads,
        qkv,
        q_weight.contiguous(),
        k_weight.contiguous(),
        rope.contiguous(),
        qkv_grad,
        sums,
        *(grad.stride()[:3] for grad in grads),
        qkv.stride()[:4],
        tokens,
        eps,
        HEADS=heads,
        D=dim,
        BLOCK=chosen.tokens,
        BLOCK_H=chosen.heads,
        TURNS=chosen.turns,
        num_warps=chosen.num_warps,
    )
    return qkv_grad, sums.sum(1)


def _dense_rows(t: Tensor) -> Tensor:
    """The same with the numbers of the last axis side by side."""
    return t if t.stride(-1) == 1 else t.contiguous()


def _near_heads(t: Float[Tensor, "*tokens H D"]) -> Tensor:
    """The same with the numbers of a head side by side, and heads of a token no farther apart than 32 bits tell."""
    heads, per_head = t.shape[-2], t.stride(-2)
    return _dense_rows(t) if (heads - 1) * per_head < 2**31 else t.contiguous()
