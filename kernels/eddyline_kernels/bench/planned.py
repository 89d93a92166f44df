"""Kernels launched in blocks of one's own choice, with their gradient, as a method of a contest."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from eddyline_kernels.bench.contest import Tensors

Forth = Callable[..., Tensors]
"""Inputs to results; they are all tensors."""
Back = Callable[[Tensors, Tensors, Tensors], tuple[Tensor | None, ...]]
"""Gradients of the results, inputs, results: to the gradients of the inputs."""


def planned(forth: Forth, back: Back) -> Callable[..., Tensors]:
    """Two launches as one function that has a gradient."""

    def compute(*inputs: Tensor) -> Tensors:
        results: Tensors = _Planned.apply(forth, back, *inputs)  # type: ignore[no-untyped-call]
        return results

    return compute


class _Planned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, forth: Forth, back: Back, *inputs: Tensor) -> Tensors:
        results = forth(*inputs)
        ctx.save_for_backward(*inputs, *results)
        ctx.back, ctx.count = back, len(inputs)
        return results

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs, results = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        return None, None, *ctx.back(grads, inputs, results)
