"""Who runs an operator: Triton or plain torch. Decided without a GPU, because only its name is looked at."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from subprocess import CalledProcessError

import pytest
import torch

from eddyline_kernels import backend
from eddyline_kernels.errors import KernelChoiceError

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No choice in the environment, nothing was warned of or looked up yet, and nothing is kept of the test."""
    monkeypatch.delenv(backend.VARIABLE, raising=False)
    backend._warn_once.cache_clear()
    looked_up = backend.triton_version, backend._driver_obstacle
    for kept in looked_up:
        kept.cache_clear()
    yield
    for kept in looked_up:
        kept.cache_clear()


def test_the_cpu_runs_plain_torch_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert not backend.runs_triton("attention", CPU)
    assert not caplog.records


def test_a_gpu_without_triton_falls_back_and_says_why_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    for _ in range(3):
        assert not backend.runs_triton("attention", GPU)
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (logging.WARNING, "attention runs in plain torch, which is slower: Triton is not installed")
    ]


def test_every_operator_and_every_reason_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    for operator, obstacle in [("attention", "of this"), ("attention", "of that"), ("modulation", "of this")]:
        assert not backend.runs_triton(operator, GPU, obstacle)
    assert len(caplog.records) == 3


def test_a_triton_that_is_too_old_falls_back(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(backend, "triton_version", lambda: (3, 5))
    assert not backend.runs_triton("attention", GPU)
    assert "Triton 3.5 is older than 3.6" in caplog.text


@pytest.mark.parametrize(("capability", "runs"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_runs_triton_when_it_multiplies_bf16(
    capability: tuple[int, int], runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "triton_version", lambda: (3, 6))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(backend, "_driver_obstacle", lambda: None)
    assert backend.runs_triton("attention", GPU) == runs


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("Failed to find C compiler. Please specify via CC"), "Failed to find C compiler"),
        (CalledProcessError(1, ["gcc", "main.c"]), "'gcc', 'main.c'"),
        (AssertionError(), "AssertionError"),
    ],
    ids=str,
)
def test_where_triton_cannot_make_its_launcher_plain_torch_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, told: str
) -> None:
    runtime = pytest.importorskip("triton.runtime")

    class Driver:
        @property
        def active(self) -> object:
            raise error

    monkeypatch.setattr(runtime, "driver", Driver())
    monkeypatch.setattr(backend, "triton_version", lambda: (3, 6))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    for _ in range(2):
        assert not backend.runs_triton("attention", GPU)
    (record,) = caplog.records
    assert "needs a C compiler and Python's headers: " in record.getMessage()
    assert told in record.getMessage()


def test_the_variable_forces_plain_torch_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backend.VARIABLE, "reference")
    assert not backend.runs_triton("attention", GPU)


@pytest.mark.parametrize("before", [None, "triton"])
def test_a_choice_for_a_while_is_taken_back_also_after_an_error(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    if before is not None:
        monkeypatch.setenv(backend.VARIABLE, before)

    def within() -> None:
        with backend.chosen("reference"):
            assert not backend.runs_triton("attention", GPU)
            raise KeyError(backend.VARIABLE)

    with pytest.raises(KeyError):
        within()
    assert os.environ.get(backend.VARIABLE) == before


def test_triton_that_is_demanded_and_cannot_run_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backend.VARIABLE, "triton")
    with pytest.raises(KernelChoiceError, match="attention cannot run in Triton: of this; unset EDDYLINE_KERNELS"):
        backend.runs_triton("attention", GPU, "of this")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(KernelChoiceError, match="cannot run in Triton"):
        backend.runs_triton("attention", CPU)


def test_a_choice_that_does_not_exist_is_an_error_with_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backend.VARIABLE, "fast")
    with pytest.raises(KernelChoiceError, match=r"EDDYLINE_KERNELS=fast.*auto, reference, triton"):
        backend.runs_triton("attention", CPU)


def test_what_is_installed_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(backend, "find_spec", lambda name: asked.append(name))
    for _ in range(3):
        backend.runs_triton("attention", GPU)
    assert asked == ["triton"]
