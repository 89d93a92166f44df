"""Finds a plan that is right on the GPU that is to run it, before it runs there.

Compilers have got plans wrong that the interpreter and the machine code of another version had right, and a GPU may
have too little shared memory for one. So the first call of a kind computes one head of one batch row of the same kind,
numbers drawn at random, in the plans from the fastest on, until one is right by the rule of
`exactness`. Which plan that is depends on kind and GPU, never on a clock, so that one GPU always makes the same bits.
It takes as long as compiling the plan does, some seconds when Triton has it not on disk yet, and minutes for windows of
a million tokens. Plain torch makes scores
piece by piece (`MOST_SCORES`), which takes 0.3 GB at most, however large windows are, and 25 KB for each token besides.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
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
MOST_SCORES = 2**23
"""Scores that plain torch makes at a time, 64 MB in float64; gradients hold four such tensors at once."""

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
    in_registers: bool = False
    """Whether the GPU multiplies from registers."""
    far: bool = False
    """Whether addresses within a head take 64 bits."""
    lse_grad: bool = False
    """Whether the log-sum-exp has a gradient."""

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans, the fastest first."""
        return plans(
            self.windows,
            head_dim=self.head_dim,
            itemsize=self.dtype.itemsize,
            tma=self.tma,
            in_registers=self.in_registers,
        )


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
    exact = _attended(kind.windows, q.double(), k.double(), v.double())
    floors = [_FLOOR[kind.dtype] * float(t.norm()) for t in exact]
    return _Trial(
        run=lambda plan: launch.forward(q, k, v, kind.windows, plan, near=not kind.far),
        exact=exact,
        allowed=list(map(max, allowed_errors(_attended(kind.windows, q, k, v), exact), floors)),
    )


def _backward_trial(kind: Kind) -> _Trial:
    q, k, v, grad = _drawn(kind)
    out, lse = _attended(kind.windows, q.double(), k.double(), v.double())
    lse_grad = torch.ones_like(lse) if kind.lse_grad else None
    given = grad, q, k, v
    exact = _differentiated(kind, *(t.double() for t in given))
    # of windows of one token the gradients of queries and keys are 0
    floor = _FLOOR[kind.dtype] * max(float(t.norm()) for t in exact)
    return _Trial(
        run=lambda plan: launch.backward(
            grad, None if lse_grad is None else lse_grad.float(), q, k, v, out.to(kind.dtype), lse.float(),
            kind.windows, plan, near=not kind.far,
        ),
        exact=exact,
        allowed=[max(floor, error) for error in allowed_errors(_differentiated(kind, *given), exact)],
    )  # fmt: skip


def _attended(
    windows: Windows, q: Float[Tensor, "B F Y X H D"], k: Float[Tensor, "B F Y X H D"], v: Float[Tensor, "B F Y X H D"]
) -> tuple[Float[Tensor, "B F Y X H D"], Float[Tensor, "B H F Y X"]]:
    """The weighted means and the log-sum-exp in plain torch."""
    q, k, v = (t.flatten(1, 3) for t in (q, k, v))
    out = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    lse = torch.empty(q.shape[:-1], dtype=_wide(q), device=q.device)
    for queries, tokens in _pieces(windows, q.device):
        lse[:, queries] = reference.log_sum_exp(q[:, queries], k[:, tokens])[..., 0]
        out[:, queries] = reference.attend(q[:, queries], k[:, tokens], v[:, tokens])
    return out.unflatten(1, windows.size), lse.unflatten(1, windows.size).permute(0, 4, 1, 2, 3)


def _differentiated(kind: Kind, *given: Float[Tensor, "B F Y X H D"]) -> tuple[Float[Tensor, "B F Y X H D"], ...]:
    """The gradients of queries, keys and values in plain torch, from that of the result and those three.

    What the queries of a window add to the gradients of its keys piece by piece is added up in float32 or wider.
    """
    grad, q, k, v = (t.flatten(1, 3) for t in given)
    lse_grad = torch.full_like(grad[..., :1], float(kind.lse_grad))
    totals = [torch.zeros(q.shape, dtype=_wide(q), device=q.device) for _ in range(3)]
    for queries, tokens in _pieces(kind.windows, q.device):
        parts = reference.gradients(grad[:, queries], lse_grad[:, queries], q[:, queries], k[:, tokens], v[:, tokens])
        for total, where, part in zip(totals, (queries, tokens, tokens), parts, strict=True):
            total[:, where] += part
    return tuple(total.to(q.dtype).unflatten(1, kind.windows.size) for total in totals)


def _pieces(windows: Windows, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Numbers of tokens [W, queries] and of all tokens of their windows [W, T]: as many whole windows as make
    MOST_SCORES scores, or a part of the queries of one. Each token is among the queries once."""
    for group in reference.window_groups(windows):
        size = len(group[0])
        for tokens in torch.tensor(group, device=device).split(max(1, MOST_SCORES // size**2)):
            for queries in tokens.split(min(size, max(1, MOST_SCORES // size)), dim=1):
                yield queries, tokens


def _wide(t: Tensor) -> torch.dtype:
    return torch.promote_types(t.dtype, torch.float32)


def _drawn(kind: Kind) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys and values as a packed QKV has them, and the gradient of the result."""
    generator = torch.Generator(kind.device).manual_seed(0)
    shape = (1, *kind.windows.size, 4, 1, kind.head_dim)
    q, k, v, grad = torch.randn(shape, generator=generator, device=kind.device).to(kind.dtype).unbind(4)
    return q, k, v, grad.contiguous()
