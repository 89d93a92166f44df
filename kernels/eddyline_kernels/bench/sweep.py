"""Plans to try on a GPU: for each kernel the plan in use and others, checked and timed beside each other.

A plan is what `attention.plan` and `modulation.plan` choose: blocks, warps, stages. What a GPU has found to be faster
is for a person to put there. Boxes are tried with the block that a program owns as a box, and with it gathered.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from eddyline_kernels.attention.plan import Blocks, Plan, box, gathered
from eddyline_kernels.bench.attention_cases import Volume, attention_case, planned_attention
from eddyline_kernels.bench.contest import Case, Method, Tensors
from eddyline_kernels.bench.modulation_cases import EPS, HEADS_EPS, Tokens, modulation_cases
from eddyline_kernels.bench.place import Place
from eddyline_kernels.bench.planned import planned
from eddyline_kernels.modulation.plan import HeadsPlan, RowsPlan, heads_blocks, rows_blocks

PLAN = "plan: "
"""How the names of tried plans begin."""
_Sizes = tuple[tuple[int, int, int, int], ...]
"""Queries and keys of a block, warps, stages."""
GATHERED: dict[str, _Sizes] = {
    "forward": ((64, 64, 4, 3), (128, 64, 4, 2), (128, 64, 8, 2), (128, 64, 8, 3), (64, 128, 4, 2), (128, 128, 8, 2)),
    "dq": ((64, 64, 4, 3), (128, 64, 8, 2), (128, 64, 8, 3), (64, 128, 8, 2)),
    "dkdv": ((64, 64, 4, 1), (64, 64, 4, 2), (64, 64, 8, 1), (64, 128, 8, 1), (128, 64, 8, 1)),
}
BOXES: dict[str, _Sizes] = {
    "forward": (
        (64, 64, 4, 2),
        (64, 64, 4, 3),
        (64, 128, 4, 1),
        (64, 128, 4, 2),
        (128, 64, 8, 2),
        (128, 64, 8, 3),
        (128, 128, 8, 2),
        (128, 128, 8, 3),
    ),
    "dq": ((64, 64, 4, 2), (64, 64, 4, 3), (64, 128, 8, 2), (128, 64, 8, 2), (128, 64, 8, 3), (128, 128, 8, 1)),
    "dkdv": ((64, 64, 4, 1), (64, 64, 4, 2), (64, 128, 8, 1), (64, 128, 8, 2), (64, 128, 8, 3)),
}
ROWS = (
    (1, 4, 1), (2, 4, 1), (4, 2, 1), (4, 4, 1), (4, 4, 2), (4, 4, 3), (4, 8, 1), (4, 8, 3), (8, 4, 2), (8, 4, 3),
    (8, 8, 2), (16, 4, 3), (32, 4, 3),
)  # fmt: skip
"""Rows of a program of the forward, warps, stages."""
ROWS_BACKWARD = (
    (16, 8, 1), (16, 8, 3), (32, 8, 1), (32, 8, 2), (32, 8, 3), (32, 8, 4), (32, 16, 1), (32, 16, 2), (32, 16, 3),
    (64, 8, 3), (128, 8, 3),
)  # fmt: skip
HEADS = ((512, 1, 4), (1024, 1, 2), (1024, 1, 4), (2048, 1, 4), (2048, 1, 8), (4096, 1, 8))
"""Numbers of each half that a program of the forward holds at a time, turns (it takes one), warps."""
HEADS_BACKWARD = (
    (512, 4, 4), (512, 8, 4), (1024, 1, 4), (1024, 2, 4), (1024, 4, 4), (1024, 8, 4), (2048, 2, 4), (2048, 4, 8),
)  # fmt: skip


def attention_plan_cases(volume: Volume, place: Place) -> Iterator[Case]:
    """A case for each of the three kernels of window attention."""
    from eddyline_kernels.attention import launch

    name = f"window attention, heads of {volume.dim}"
    able = launch.from_shared_memory(place.device)
    plain = {
        backward: attention_case(name, volume, replace(place, compile=None), backward=backward)
        for backward in (False, True)
    }
    for kernel in ("forward", "dq", "dkdv"):
        methods = [
            Method(name=f"{PLAN}{told}", compute=planned_attention(volume, chosen), compiled=True)
            for told, chosen in attention_plans(volume, kernel, itemsize=place.dtype.itemsize, able=able).items()
        ]
        case = plain[kernel != "forward"]
        yield replace(case, name=f"{name}, plans of {kernel}", methods=(case.methods[0], *methods))


def attention_plans(volume: Volume, kernel: str, *, itemsize: int, able: bool = True) -> dict[str, Plan]:
    """The plans to try for one of the three kernels, by name; the two others have blocks of one kind with it.

    `able` says whether the GPU multiplies from shared memory: others do not take boxes.
    """
    base = gathered(volume.windows, head_dim=volume.dim, itemsize=itemsize, in_registers=not able)
    tried = {
        f"gathered {_told(sizes)}": _with(base, kernel, replace(_blocks(sizes), peeled=base.forward.peeled))
        for sizes in GATHERED[kernel]
    }
    small = _boxed((64, 64, 4, 2), volume, own_box=False)
    if small is None or itemsize != 2 or not able:
        return tried
    for sizes in BOXES[kernel]:
        for own_box in (True, False):
            blocks = _boxed(sizes, volume, own_box=own_box)
            if blocks is not None:
                told = f"boxes {_told(sizes)}{'' if own_box else ', own gathered'}"
                tried[told] = _with(Plan("boxes", True, small, small, small), kernel, blocks)
    return tried


def _with(base: Plan, kernel: str, blocks: Blocks) -> Plan:
    chosen = {"forward": base.forward, "dq": base.dq, "dkdv": base.dkdv, kernel: blocks}
    return replace(base, forward=chosen["forward"], dq=chosen["dq"], dkdv=chosen["dkdv"])


def _blocks(sizes: tuple[int, int, int, int]) -> Blocks:
    queries, keys, warps, stages = sizes
    return Blocks(queries, keys, num_warps=warps, num_stages=stages)


def _boxed(sizes: tuple[int, int, int, int], volume: Volume, *, own_box: bool) -> Blocks | None:
    """Boxes of such sizes where windows can be cut into them."""
    blocks = _blocks(sizes)
    query_box, key_box = box(volume.windows, blocks.queries), box(volume.windows, blocks.keys)
    if query_box is None or key_box is None:
        return None
    return replace(blocks, query_box=query_box, key_box=key_box, own_box=own_box)


def _told(sizes: tuple[int, int, int, int]) -> str:
    queries, keys, warps, stages = sizes
    return f"{queries} x {keys}, {warps} warps, {stages} stages"


def modulation_plan_cases(tokens: Tokens, place: Place) -> Iterator[Case]:
    """A case for each kernel of modulation."""
    table: dict[str, tuple[Callable[[Any], Callable[..., Tensors]], Mapping[str, RowsPlan | HeadsPlan]]] = {
        "norm, scale, shift": (_norm, _rows(ROWS, tokens)),
        "gate, residual, norm, scale, shift": (_residual_norm, _rows(ROWS, tokens)),
        "gate, residual, norm, scale, shift, e4m3": (_residual_norm_fp8, _rows(ROWS, tokens)),
        "gate, residual, norm, scale, shift, backward": (_residual_norm_backward, _rows(ROWS_BACKWARD, tokens)),
        "norm, rotary positions": (_norm_rotate, _heads(HEADS, tokens)),
        "norm, rotary positions, backward": (_norm_rotate_backward, _heads(HEADS_BACKWARD, tokens)),
    }
    for case in modulation_cases(tokens, replace(place, compile=None)):
        if case.name in table:
            launched, plans = table[case.name]
            methods = [
                Method(name=f"{PLAN}{told}", compute=launched(chosen), compiled=True) for told, chosen in plans.items()
            ]
            yield replace(case, name=f"{case.name}, plans", methods=(case.methods[0], *methods))


def _rows(choices: tuple[tuple[int, int, int], ...], tokens: Tokens) -> dict[str, RowsPlan]:
    return {
        f"{rows} rows, {warps} warps, {stages} stages": rows_blocks(
            tokens.width, tokens.per_frame, rows=rows, num_warps=warps, stages=stages
        )
        for rows, warps, stages in choices
    }


def _heads(choices: tuple[tuple[int, int, int], ...], tokens: Tokens) -> dict[str, HeadsPlan]:
    count = tokens.frames * tokens.per_frame
    return {
        f"{numbers} numbers, {turns} turns, {warps} warps": heads_blocks(
            tokens.heads, tokens.dim, count, numbers=numbers, turns=turns, num_warps=warps
        )
        for numbers, turns, warps in choices
    }


def _norm(chosen: RowsPlan) -> Callable[..., Tensors]:
    def compute(x: Tensor, scale: Tensor, shift: Tensor) -> Tensors:
        from eddyline_kernels.modulation import launch

        out = torch.empty_like(x)
        launch.residual_norm(x, None, None, scale, shift, 1.0, EPS, out=out, row_scale=None, chosen=chosen)
        return (out,)

    return compute


def _residual_norm(chosen: RowsPlan | None) -> Callable[..., Tensors]:
    def compute(x: Tensor, scale: Tensor, shift: Tensor, branch: Tensor, gate: Tensor) -> Tensors:
        from eddyline_kernels.modulation import launch

        out = torch.empty_like(x)
        total = launch.residual_norm(x, branch, gate, scale, shift, 1.0, EPS, out=out, row_scale=None, chosen=chosen)
        return total, out

    return compute


def _residual_norm_fp8(chosen: RowsPlan) -> Callable[..., Tensors]:
    def compute(x: Tensor, scale: Tensor, shift: Tensor, branch: Tensor, gate: Tensor) -> Tensors:
        from eddyline_kernels.modulation import launch

        out = torch.empty(x.shape, dtype=torch.float8_e4m3fn, device=x.device)
        row_scale = torch.empty((*x.shape[:-1], 1), dtype=torch.float32, device=x.device)
        total = launch.residual_norm(
            x, branch, gate, scale, shift, 1.0, EPS, out=out, row_scale=row_scale, chosen=chosen
        )
        return total, out, row_scale

    return compute


def _residual_norm_backward(chosen: RowsPlan) -> Callable[..., Tensors]:
    def back(grads: Tensors, inputs: Tensors, results: Tensors) -> Tensors:
        from eddyline_kernels.modulation import launch

        _, scale, _, branch, gate = inputs
        total_grad, out_grad = grads
        x_grad, branch_grad, sums = launch.residual_norm_backward(
            total_grad, out_grad, results[0], branch, gate, scale, 1.0, EPS, chosen
        )
        scale_grad, shift_grad, gate_grad = sums.to(scale.dtype)
        return x_grad, scale_grad, shift_grad, branch_grad, gate_grad

    return planned(_residual_norm(None), back)


def _norm_rotate(chosen: HeadsPlan | None) -> Callable[..., Tensors]:
    def compute(qkv: Tensor, q_weight: Tensor, k_weight: Tensor, rope: Tensor) -> Tensors:
        from eddyline_kernels.modulation import launch

        return launch.norm_rotate(qkv[:, :, :2], q_weight, k_weight, rope, HEADS_EPS, chosen).unbind(2)

    return compute


def _norm_rotate_backward(chosen: HeadsPlan) -> Callable[..., Tensors]:
    def forth(qkv: Tensor, q_weight: Tensor, k_weight: Tensor, rope: Tensor) -> Tensors:
        return *_norm_rotate(None)(qkv, q_weight, k_weight, rope), qkv[:, :, 2]

    def back(grads: Tensors, inputs: Tensors, results: Tensors) -> tuple[Tensor | None, ...]:
        from eddyline_kernels.modulation import launch

        q_grad, k_grad, v_grad = grads
        qkv, q_weight, k_weight, rope = inputs
        qkv_grad, sums = launch.norm_rotate_backward(
            q_grad, k_grad, v_grad, qkv, q_weight, k_weight, rope, HEADS_EPS, chosen
        )
        q_sums, k_sums = sums.to(q_weight.dtype)
        return qkv_grad, q_sums, k_sums, None

    return planned(forth, back)
