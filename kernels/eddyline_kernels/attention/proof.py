"""Finds a plan that is right on the GPU that is to run it, before it runs there.

Compilers have got plans wrong that the interpreter and the machine code of another version had right, and a GPU may
have too little shared memory for one. So the first call of a kind computes one head of one batch row of the same kind,
numbers drawn at random, in the plans from the fastest on, until one is right by the rule of
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
"""What rounding may do, as a share of a result's length; one token that is wrong among 16,384 is 2^-7. Float32 is
multiplied as three products of tf32, which are not quite as exact."""

NONE_IS_RIGHT = "no plan of its kernels is right on this GPU"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """What the plans of a call depend on, and what decides whether they are right."""

    windows: Windows
    head_dim: int
    dtype: torch.dtype
    device: torch.device
    tma: bool
    """Whether the GPU and the strides of the tensors allow TMA."""
    far: bool = False
    """Whether addresses within a head take 64 bits."""
    lse_grad: bool = False
    """Whether the log-sum-exp has a gradient."""

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans, the fastest first."""
        return plans(self.windows, head_dim=self.head_dim, itemsize=self.dtype.itemsize, tma=self.tma)


@dataclass(frozen=True, slots=True)
class _Trial:
    """What every plan has to compute."""

    run: Callable[[Plan], tuple[Tensor, ...]]
    exact: tuple[Tensor, ...]
    allowed: list[float]
    """How far each result may be off."""


@lru_cache(maxsize=1024)
def forward_plan(kind: Kind) -> Plan | None:
    """The first plan whose forward is right on this GPU; None if none is. Devices not in DOUBTED take the first of all.

    Raises:
        KernelChoiceError: the first call of a kind is being captured as a CUDA graph.
        torch.OutOfMemoryError: there is no room for the comparison.
    """
    return _first_right(kind, "forward", _forward_trial)


@lru_cache(maxsize=1024)
def backward_plan(kind: Kind) -> Plan | None:
    """The first plan whose gradients are right on this GPU; None if none is. Raises as `forward_plan`."""
    return _first_right(kind, "backward", _backward_trial)


def _first_right(kind: Kind, what: str, prepare: Callable[[Kind], _Trial]) -> Plan | None:
    if kind.device.type not in DOUBTED:
        return kind.plans[0]
    size, window = kind.windows.size, kind.windows.window
    told = f"window attention {what} of {size} tokens in windows of {window}, heads of {kind.head_dim}, {kind.dtype}"
    if kind.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        raise KernelChoiceError(
            f"{told} has not run on this GPU yet, and a CUDA graph is being captured; call it once before the capture"
        )
    trial = prepare(kind)
    for plan in kind.plans:
        wrong = _fault(trial, plan)
        if wrong is None:
            _log.info("%s runs in the plan '%s', found right on this GPU", told, plan.name)
            return plan
        _log.warning("%s: the plan '%s' is left out on this GPU: %s", told, plan.name, wrong)
    return None


def _fault(trial: _Trial, plan: Plan) -> str | None:
    """What is wrong with a plan, or None; a GPU that is full at the moment says nothing of it."""
    try:
        results = trial.run(plan)
    except (TritonError, RuntimeError) as error:  # it does not compile for this GPU, or does not fit it
        if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error):
            raise
        return f"{type(error).__name__}: {error}"
    return fault(results, trial.exact, trial.allowed)


def _forward_trial(kind: Kind) -> _Trial:
    q, k, v, _ = _drawn(kind)
    exact = _plain(kind, q.double(), k.double(), v.double())
    floors = [_FLOOR[kind.dtype] * float(t.norm()) for t in exact]
    return _Trial(
        run=lambda plan: launch.forward(q, k, v, kind.windows, plan, near=not kind.far),
        exact=exact,
        allowed=list(map(max, allowed_errors(_plain(kind, q, k, v), exact), floors)),
    )


def _backward_trial(kind: Kind) -> _Trial:
    q, k, v, grad = _drawn(kind)
    out, lse = _plain(kind, q.double(), k.double(), v.double())
    lse_grad = torch.ones_like(lse) if kind.lse_grad else None

    def plain(*tensors: Tensor) -> tuple[Tensor, ...]:
        return reference.window_gradients(tensors[0], lse_grad, *tensors[1:], **kind.windows.told)

    given = grad, q, k, v
    exact = plain(*(t.double() for t in given))
    # of windows of one token the gradients of queries and keys are 0
    floor = _FLOOR[kind.dtype] * max(float(t.norm()) for t in exact)
    return _Trial(
        run=lambda plan: launch.backward(
            grad, None if lse_grad is None else lse_grad.float(), q, k, v, out.to(kind.dtype), lse.float(),
            kind.windows, plan, near=not kind.far,
        ),
        exact=exact,
        allowed=[max(floor, error) for error in allowed_errors(plain(*given), exact)],
    )  # fmt: skip


def _plain(kind: Kind, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted means and the log-sum-exp in plain torch."""
    return (
        reference.window_attention(q, k, v, **kind.windows.told),
        reference.window_log_sum_exp(q, k, **kind.windows.told),
    )


def _drawn(kind: Kind) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys and values as a packed QKV has them, and the gradient of the result."""
    generator = torch.Generator(kind.device).manual_seed(0)
    shape = (1, *kind.windows.size, 4, 1, kind.head_dim)
    q, k, v, grad = torch.randn(shape, generator=generator, device=kind.device).to(kind.dtype).unbind(4)
    return q, k, v, grad.contiguous()
