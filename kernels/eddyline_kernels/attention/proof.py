"""Finds a plan that is right on the GPU that is to run it, before it runs there.

Compilers have got plans wrong that the interpreter and the machine code of another version had right, and a GPU may
have too little shared memory for one. So the first call of a kind computes a small problem of the same kind, numbers
drawn at random for one head of one batch row, in the plans from the fastest on, until one is right by the rule of
`exactness`. Which plan that is depends on kind and GPU, never on a clock, so that one GPU always makes the same bits.
It takes as long as compiling the plan does, some seconds when Triton has it not on disk yet, and the memory of two
times the scores of one head in float64, four times for gradients: 0.6 and 1.1 GB for 16,384 tokens in windows of 2,048.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from triton import TritonError

from eddyline_kernels.attention import launch, reference
from eddyline_kernels.attention.geometry import Windows
from eddyline_kernels.attention.plan import Plan, plans
from eddyline_kernels.errors import KernelChoiceError
from eddyline_kernels.exactness import allowed_errors, fault

DOUBTED = ("cuda",)
"""The kinds of device whose compilers are; Triton's interpreter is not."""
_FLOOR = {torch.bfloat16: 2**-8, torch.float16: 2**-11, torch.float32: 2**-18}
"""What rounding may do, as a share of the longest result; one token that is wrong among 16,384 is 2^-7. Float32 is
multiplied as three products of tf32, which are not quite as exact."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """What the plans of a call depend on, and what decides whether they are right."""

    windows: Windows
    head_dim: int
    dtype: torch.dtype
    tma: bool
    """Whether the GPU and the strides of the tensors allow TMA."""
    device: torch.device

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans, the fastest first."""
        return plans(self.windows, head_dim=self.head_dim, itemsize=self.dtype.itemsize, tma=self.tma)


@lru_cache(maxsize=1024)
def forward_plan(kind: Kind) -> Plan | None:
    """The first plan whose forward is right on this GPU; None if none is. Devices not in DOUBTED take the first of all.

    Raises:
        KernelChoiceError: the first call of a kind is being captured as a CUDA graph.
    """
    return _first_right(kind, "forward", _forward_fault)


@lru_cache(maxsize=1024)
def backward_plan(kind: Kind) -> Plan | None:
    """The first plan whose gradients are right on this GPU; None if none is. Raises as `forward_plan`."""
    return _first_right(kind, "backward", _backward_fault)


def _first_right(kind: Kind, what: str, fault_of: Callable[[Kind, Plan], str | None]) -> Plan | None:
    if kind.device.type not in DOUBTED:
        return kind.plans[0]
    size, window = kind.windows.size, kind.windows.window
    told = f"window attention {what} of {size} tokens in windows of {window}, heads of {kind.head_dim}, {kind.dtype}"
    if kind.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        raise KernelChoiceError(
            f"{told} has not run on this GPU yet, and a CUDA graph is being captured; call it once before the capture"
        )
    for plan in kind.plans:
        try:
            wrong = fault_of(kind, plan)
        except torch.OutOfMemoryError:
            raise
        except (TritonError, RuntimeError) as error:  # it does not compile for this GPU, or does not fit it
            wrong = f"{type(error).__name__}: {error}"
        if wrong is None:
            _log.info("%s runs in the plan '%s', found right on this GPU", told, plan.name)
            return plan
        _log.warning("%s: the plan '%s' is left out on this GPU: %s", told, plan.name, wrong)
    _log.warning("%s runs in plain torch, which is slower: no plan is right on this GPU", told)
    return None


def _forward_fault(kind: Kind, plan: Plan) -> str | None:
    q, k, v, _ = _drawn(kind)
    results = launch.forward(q, k, v, kind.windows, plan)
    return _fault(lambda q, k, v: _plain(kind, q, k, v), results, q, k, v)


def _backward_fault(kind: Kind, plan: Plan) -> str | None:
    q, k, v, grad = _drawn(kind)
    out, lse = _plain(kind, *(t.double() for t in (q, k, v)))
    results = launch.backward(grad, None, q, k, v, out.to(kind.dtype), lse.float(), kind.windows, plan)
    return _fault(lambda q, k, v, g: _plain_gradients(kind, q, k, v, g), results, q, k, v, grad)


def _fault(contract: Callable[..., tuple[Tensor, ...]], results: tuple[Tensor, ...], *inputs: Tensor) -> str | None:
    exact = contract(*(t.double() for t in inputs))
    return fault(results, exact, allowed_errors(contract(*inputs), exact, floor=_FLOOR[inputs[0].dtype]))


def _plain(kind: Kind, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted means and the log-sum-exp in plain torch."""
    return (
        reference.window_attention(q, k, v, **kind.windows.told),
        reference.window_log_sum_exp(q, k, **kind.windows.told),
    )


def _plain_gradients(kind: Kind, q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return reference.window_gradients(grad, None, q, k, v, **kind.windows.told)


def _drawn(kind: Kind) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys and values as a packed QKV has them, and the gradient of the result."""
    generator = torch.Generator(kind.device).manual_seed(0)
    shape = (1, *kind.windows.size, 4, 1, kind.head_dim)
    q, k, v, grad = torch.randn(shape, generator=generator, device=kind.device).to(kind.dtype).unbind(4)
    return q, k, v, grad.contiguous()
