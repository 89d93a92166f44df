"""Which plan of window attention runs on a GPU: the first that is right there. Here Triton's interpreter is the GPU."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from eddyline_kernels import backend
from eddyline_kernels.attention import reference, window_attention_with_lse
from eddyline_kernels.attention.geometry import Triple, Windows
from eddyline_kernels.attention.plan import Plan
from eddyline_kernels.errors import KernelChoiceError

triton = pytest.importorskip("triton")
launch = pytest.importorskip("eddyline_kernels.attention.launch")
proof = pytest.importorskip("eddyline_kernels.attention.proof")
Kind, backward_plan, forward_plan = proof.Kind, proof.backward_plan, proof.forward_plan
pytestmark = pytest.mark.usefixtures("interpreter", "doubted")
WINDOWS = Windows.cut((2, 8, 8), (2, 8, 8), (0, 0, 0), (False, False, False))
KIND = Kind(WINDOWS, 128, torch.float16, torch.device("cpu"), tma=True)
NAMES = [plan.name for plan in KIND.plans]
Launch = Callable[..., tuple[Tensor, ...]]


@pytest.fixture
def doubted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The interpreter is doubted as a GPU's compiler is, and nothing was found out yet."""
    monkeypatch.setattr(proof, "DOUBTED", ("cpu",))
    forward_plan.cache_clear()
    backward_plan.cache_clear()
    yield
    forward_plan.cache_clear()
    backward_plan.cache_clear()


@pytest.fixture
def tf32x3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Float32 is multiplied as on a GPU: each side in two parts of 10 binary digits, three products of those."""
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    dot = interpreter.InterpreterBuilder.create_dot

    def parts(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        high = ((t.view(np.uint32) + 0x1000) & 0xFFFFE000).astype(np.uint32).view(np.float32)
        return high, t - high

    def create_dot(self: Any, a: Any, b: Any, total: Any, *options: Any) -> Any:
        if a.data.dtype != np.float32:
            return dot(self, a, b, total, *options)
        (a_high, a_low), (b_high, b_low) = (parts(np.ascontiguousarray(side.data)) for side in (a, b))
        product = a_low @ b_high + a_high @ b_low + a_high @ b_high
        return interpreter.TensorHandle(total.data + product, total.dtype.scalar)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)


def faulty(launched: Launch, names: list[str], fault: Callable[[tuple[Tensor, ...]], None]) -> Launch:
    """A launch whose results suffer `fault` in the plans of these names."""

    def run(*arguments: object, near: bool) -> tuple[Tensor, ...]:
        results = launched(*arguments, near=near)
        plan = arguments[-1]
        assert isinstance(plan, Plan)
        if plan.name in names:
            fault(results)
        return results

    return run


def lose_a_token(results: tuple[Tensor, ...]) -> None:
    """One token of 128 has another's row in the first result."""
    results[0][0, 1, 3, 5] = results[0][0, 0, 3, 5]


def add_a_thousandth(results: tuple[Tensor, ...]) -> None:
    """What is nothing in bf16, and a fault in float32."""
    results[0].mul_(1.001)


def no_number(results: tuple[Tensor, ...]) -> None:
    """One number is none in the last result."""
    results[-1].view(-1)[7] = torch.nan


def too_large(results: tuple[Tensor, ...]) -> None:
    """What Triton raises when a kernel does not fit the GPU."""
    raise triton.TritonError("out of resource: shared memory")


def not_compiled(results: tuple[Tensor, ...]) -> None:
    """What Triton raises when it cannot make code of a kernel."""
    raise RuntimeError("PassManager::run failed")


def out_of_memory(results: tuple[Tensor, ...]) -> None:
    """What torch raises when the GPU is full."""
    raise torch.OutOfMemoryError("tried to allocate 1 GiB")


def test_the_fastest_plan_runs_where_it_is_right(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for chosen in (forward_plan(KIND), backward_plan(KIND)):
            assert chosen == KIND.plans[0]
    assert [record.levelno for record in caplog.records] == [logging.INFO] * 2


@pytest.mark.usefixtures("tf32x3")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("size", "window"), [((1, 4, 4), (1, 1, 1)), ((2, 2, 3), (1, 1, 2)), ((1, 4, 4), (1, 2, 2)), ((3, 5, 7), (2, 3, 3))]
)
def test_rounding_is_no_fault_however_small_windows_are(size: Triple, window: Triple, dtype: torch.dtype) -> None:
    """With windows of one token plain torch has no error at all, so twice as much is none either."""
    windows = Windows.cut(size, window, (0, 0, 0), (False, False, False))
    kind = Kind(windows, 128, dtype, torch.device("cpu"), tma=True)
    for plan_of in (forward_plan, backward_plan):
        assert plan_of(kind) == kind.plans[0]


CUTS = {
    "one window": Windows.cut((1, 5, 9), (1, 5, 9), (0, 0, 0), (False,) * 3),
    "ragged ends apart": Windows.cut((3, 5, 7), (2, 3, 4), (1, 2, 0), (False,) * 3),
    "wrapped": Windows.cut((4, 4, 6), (2, 4, 3), (1, 0, 2), (True, False, True)),
    "windows of one token": Windows.cut((2, 3, 4), (1, 1, 1), (0, 0, 0), (False,) * 3),
}


@pytest.mark.parametrize("most", [1, 50, 300, 2**23])
@pytest.mark.parametrize("windows", CUTS.values(), ids=CUTS.keys())
def test_scores_made_piece_by_piece_give_what_all_of_them_at_once_give(
    monkeypatch: pytest.MonkeyPatch, windows: Windows, most: int
) -> None:
    monkeypatch.setattr(proof, "MOST_SCORES", most)
    kind = Kind(windows, 32, torch.float16, torch.device("cpu"), tma=True, lse_grad=True)
    grad, q, k, v = given = torch.randn(4, 1, *windows.size, 1, 32, dtype=torch.float64).unbind()
    out, lse = proof._attended(windows, q, k, v)
    whole_lse = reference.window_log_sum_exp(q, k, **windows.told)
    gradients = reference.window_gradients(grad, torch.ones_like(lse), q, k, v, **windows.told)
    whole = reference.window_attention(q, k, v, **windows.told), whole_lse, *gradients
    for a, b in zip((out, lse, *proof._differentiated(kind, *given)), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


class LargestTensor(TorchDispatchMode):
    """Within it, the most numbers of any tensor that torch makes."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for t in made if isinstance(made, tuple) else (made,):
            if isinstance(t, Tensor):
                self.numbers = max(self.numbers, t.numel())
        return made


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_no_more_scores_are_held_however_large_a_window_is(dtype: torch.dtype) -> None:
    windows = Windows.cut((1, 1, 3200), (1, 1, 3200), (0, 0, 0), (False,) * 3)
    kind = Kind(windows, 32, dtype, torch.device("cpu"), tma=True)
    for prepare in (proof._forward_trial, proof._backward_trial):
        with LargestTensor() as largest:
            prepare(kind)
        assert largest.numbers == proof.MOST_SCORES // 3200 * 3200 < 3200**2


@pytest.mark.parametrize("fault", [lose_a_token, no_number, too_large, not_compiled])
@pytest.mark.parametrize(("name", "plan_of"), [("forward", forward_plan), ("backward", backward_plan)])
def test_a_plan_that_is_wrong_or_does_not_fit_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Callable[[tuple[Tensor, ...]], None],
    name: str,
    plan_of: Callable[[object], Plan | None],
) -> None:
    monkeypatch.setattr(launch, name, faulty(getattr(launch, name), NAMES[:1], fault))
    for _ in range(2):
        assert plan_of(KIND) == KIND.plans[1]
    (warning,) = (record.getMessage() for record in caplog.records)
    assert f"window attention {name} of (2, 8, 8) tokens" in warning
    assert f"the plan '{NAMES[0]}' is left out on this GPU: " in warning
    assert re.search(r"result \d is off by|TritonError: out of resource|RuntimeError: PassManager", warning)


def test_a_gpu_that_is_full_says_nothing_of_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as full:
        full.setattr(launch, "forward", faulty(launch.forward, NAMES, out_of_memory))
        with pytest.raises(torch.OutOfMemoryError):
            forward_plan(KIND)
    assert forward_plan(KIND) == KIND.plans[0]


def test_where_no_plan_is_right_plain_torch_gives_results_and_gradients(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("forward", "backward"):
        monkeypatch.setattr(launch, name, faulty(getattr(launch, name), NAMES, lose_a_token))
    inputs = [t.requires_grad_() for t in torch.randn(3, 1, *WINDOWS.size, 2, 128).half()]
    weights = torch.randn(1, *WINDOWS.size, 2, 128).half(), torch.randn(1, 2, *WINDOWS.size)
    monkeypatch.setenv(backend.VARIABLE, "auto")
    monkeypatch.setattr(backend, "runs_triton", lambda *_: True)
    launched = backend.launches.copy()
    ours = window_attention_with_lse(*inputs, **WINDOWS.told)
    plain = (
        reference.window_attention(*inputs, **WINDOWS.told),
        reference.window_log_sum_exp(*inputs[:2], **WINDOWS.told),
    )
    for a, b in zip(ours, plain, strict=True):
        assert torch.equal(a, b)
    gradients = (torch.autograd.grad(results, inputs, weights) for results in (ours, plain))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)
    assert backend.launches == launched
    told = [record.getMessage() for record in caplog.records]
    assert sum("runs in plain torch, which is slower: no plan of its kernels is right" in line for line in told) == 2


def test_where_no_plan_is_right_and_triton_is_demanded_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "forward", faulty(launch.forward, NAMES, lose_a_token))
    with pytest.raises(KernelChoiceError, match="window attention cannot run in Triton: no plan of its kernels"):
        window_attention_with_lse(*torch.randn(3, 1, *WINDOWS.size, 2, 128).half(), **WINDOWS.told)


@pytest.mark.parametrize("case", [{"far": True}, {"lse_grad": True}], ids=str)
def test_what_compiles_to_other_code_is_another_kind(case: dict[str, bool]) -> None:
    kind = replace(KIND, **case)
    assert kind != KIND
    assert backward_plan(kind) == KIND.plans[0]


def test_autocast_changes_nothing_of_what_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within it plain torch would be as inexact as bf16, and so much would be allowed."""
    monkeypatch.setattr(launch, "forward", faulty(launch.forward, ["gathered"], add_a_thousandth))
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(KernelChoiceError, match="no plan of its kernels"):
        window_attention_with_lse(*torch.randn(3, 1, *WINDOWS.size, 2, 128), **WINDOWS.told)


def test_what_is_captured_as_a_cuda_graph_must_have_run_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "DOUBTED", ("cuda",))
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    kind = Kind(WINDOWS, 128, torch.float16, torch.device("cuda", 0), tma=True)
    with pytest.raises(KernelChoiceError, match=r"has not run on this GPU yet.*call it once before the capture"):
        forward_plan(kind)


def test_a_device_that_is_not_doubted_takes_the_fastest_plan_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "DOUBTED", ("cuda",))
    monkeypatch.setattr(launch, "forward", faulty(launch.forward, NAMES, too_large))
    assert forward_plan(KIND) == KIND.plans[0]
