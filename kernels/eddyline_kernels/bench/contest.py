"""A contest: one thing to compute, several methods, each checked against wide precision before it is timed."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor

from eddyline_kernels import backend
from eddyline_kernels.bench.place import Call, Place
from eddyline_kernels.exactness import allowed_errors, fault

Tensors = tuple[Tensor, ...]
WARM_UP_CALLS = 3


def _as_it_is(t: Tensor) -> Tensor:
    return t


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to compute a case."""

    name: str
    compute: Callable[..., Tensors]
    """What is timed: inputs to results, both in the method's own layout."""
    pack: Callable[[Tensor], Tensor] = _as_it_is
    """An input (or the gradient of a result) in the method's layout; not timed."""
    unpack: Callable[[Tensor], Tensor] = _as_it_is
    """A result (or the gradient of an input) as the case has it; not timed."""
    operator: str | None = None
    """Ours: the launch counter that must move."""
    checked: bool = True
    """False for a yardstick that computes something else."""
    compiled: bool = False
    """Whether its first call takes seconds to compile, so that `ahead` compiles it in a process of its own."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is computed, and by whom."""

    name: str
    unit: Literal["TFLOP/s", "TB/s"]
    work: float
    """Useful operations, or bytes that must move, in one call."""
    draw: Callable[[torch.Generator], Tensors]
    """Inputs in the precision that is measured."""
    plain: Callable[..., Tensors]
    """The contract in plain torch; in wide precision it is taken as exact."""
    methods: tuple[Method, ...]
    differentiated: tuple[int, ...] = ()
    """The inputs whose gradients are the results; none: the forward is measured."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What became of a method: a time, or the reason why there is none."""

    case: str
    method: str
    ours: bool
    state: Literal["measured", "wrong", "failed", "skipped"]
    note: str = ""
    median_s: float | None = None
    rate: float | None = None
    """In `unit`, counted with the work that is useful, not with the work that was done."""
    unit: str = ""


def hold(
    case: Case, place: Place, *, end_s: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[Measurement]:
    """Check and time every method of a case; those that would begin after `end_s` are skipped."""
    generator = torch.Generator(place.device).manual_seed(0)
    inputs = [case.draw(generator)]
    size = sum(t.numel() * t.element_size() for t in inputs[0])
    while len(inputs) * size < place.rotated_bytes and len(inputs) < place.calls:
        inputs.append(case.draw(generator))
    grads = _draw_grads(case, inputs[0], generator) if case.differentiated else ()
    wide = wider(inputs[0][0].dtype)
    exact = _Run(case, case.plain, [t.to(wide) for t in inputs[0]], tuple(g.to(wide) for g in grads))()
    plain = _Run(case, case.plain, inputs[0], grads)()
    allowed = allowed_errors(plain, exact)
    for method in case.methods:
        ours = method.operator is not None
        if clock() >= end_s:
            yield Measurement(case=case.name, method=method.name, ours=ours, state="skipped", note="no time was left")
            continue
        # a rival may fail in ways of its own (compilers, memory); the others are measured all the same
        try:
            yield _measured(case, method, place, inputs, grads, exact, allowed)
        except Exception as problem:
            lines = str(problem).strip().splitlines()
            note = f"{type(problem).__name__}: {lines[0][:200] if lines else ''}"
            yield Measurement(case=case.name, method=method.name, ours=ours, state="failed", note=note)


def wider(dtype: torch.dtype) -> torch.dtype:
    """The precision in which results are taken as exact, beside those in `dtype`."""
    return torch.float64 if dtype == torch.float32 else torch.float32


def compile_case(case: Case, place: Place) -> None:
    """Call each compiled method once, so that what it compiles is in the caches on disk; failures show when it is
    measured."""
    generator = torch.Generator(place.device).manual_seed(0)
    inputs = case.draw(generator)
    grads = _draw_grads(case, inputs, generator) if case.differentiated else ()
    for method in case.methods:
        if method.compiled:
            with suppress(Exception):
                packed_grads = tuple(method.pack(g) for g in grads)
                _Run(case, method.compute, [method.pack(t) for t in inputs], packed_grads)()


def _measured(
    case: Case,
    method: Method,
    place: Place,
    inputs: Sequence[Tensors],
    grads: Tensors,
    exact: Tensors,
    allowed: Sequence[float],
) -> Measurement:
    launched = backend.launches.copy()
    packed_grads = tuple(method.pack(g) for g in grads)
    runs = [_Run(case, method.compute, [method.pack(t) for t in given], packed_grads) for given in inputs]
    results = [method.unpack(t) for t in runs[0]()]
    said: dict[str, Any] = {"case": case.name, "method": method.name, "ours": method.operator is not None}
    if method.operator is not None and not (backend.launches - launched)[method.operator]:
        return Measurement(**said, state="failed", note=f"the kernel {method.operator} was not launched")
    if method.checked:
        note = fault(results, exact, allowed)
        if note is not None:
            return Measurement(**said, state="wrong", note=note)
    calls: list[Call] = list(islice(cycle(runs), WARM_UP_CALLS + place.calls))
    seconds = median(place.timer(calls)[WARM_UP_CALLS:])
    rate = case.work / seconds / 1e12
    return Measurement(**said, state="measured", median_s=seconds, rate=rate, unit=case.unit)


class _Run:
    """One method on one set of inputs, ready to be called: forward, or backward through a forward that was made."""

    def __init__(self, case: Case, compute: Callable[..., Tensors], inputs: Sequence[Tensor], grads: Tensors) -> None:
        wanted = case.differentiated
        self._compute = compute
        self._inputs = [t.detach().requires_grad_(number in wanted) for number, t in enumerate(inputs)]
        self._grads = grads
        self._leaves = [self._inputs[number] for number in wanted]
        self._results: Tensors | None = compute(*self._inputs) if wanted else None

    def __call__(self) -> Tensors:
        if self._results is not None:
            return torch.autograd.grad(self._results, self._leaves, self._grads, retain_graph=True)
        with torch.no_grad():
            return self._compute(*self._inputs)


def _draw_grads(case: Case, inputs: Tensors, generator: torch.Generator) -> Tensors:
    """Gradients of the results, drawn at random; of the results only shapes are needed, so nothing is computed."""
    results = case.plain(*(t.to("meta") for t in inputs))
    device = inputs[0].device
    return tuple(
        torch.randn(t.shape, generator=generator, device=device, dtype=torch.float32).to(t.dtype) for t in results
    )
