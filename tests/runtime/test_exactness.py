"""Whether a device computes the networks right: as they are, and with a fault in them.

Through the Triton kernels: `tests/kernels/test_model_on_triton.py`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from eddyline_runtime import config
from eddyline_runtime.bench import exactness
from eddyline_runtime.cli import main
from eddyline_runtime.networks.graphs import Call, Capture
from eddyline_runtime.weights import World

PROFILES = {"short": config.Profile(partition=config.Partition(num_chunks=2, chunk_frames=2))}


def test_networks_that_answer_otherwise_are_wrong_and_so_is_the_status(
    tiny: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Off(torch.nn.Module):
        """Answers a hundredth too much."""

        def __init__(self, model: torch.nn.Module) -> None:
            super().__init__()
            self.inner, self.refine, self.project = model, model.refine, model.project

        def forward(self, *call: Any) -> Tensor:
            answer: Tensor = self.inner(*call)
            return answer * 1.01

    monkeypatch.setattr(exactness, "fitted", lambda world, cache: replace(world, model=Off(world.model)))
    file = tmp_path / "numbers.json"
    assert main(["bench", "exactness", "--model", "tiny", "--random-weights", "--json", str(file)]) == 1
    found = json.loads(file.read_text())
    assert not found["right"]
    assert not any(row["right"] for row in found["velocities"])
    assert capsys.readouterr().out.count("WRONG") == 2 * len(tiny.card.profiles), "its frames are right"


@pytest.mark.parametrize(
    "networks",
    ["torch", pytest.param("openvino", marks=pytest.mark.skipif(find_spec("openvino") is None, reason="no OpenVINO"))],
)
def test_this_machine_computes_the_tiny_world_right(networks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDDYLINE_NETWORKS", networks)
    arguments = argparse.Namespace(model="tiny", random_weights=True, device="cpu", threads=None, profile="smooth")
    found = exactness.measure(arguments)
    assert found["right"]
    assert found["networks"].split()[0] == networks
    assert [row["views"] for row in found["velocities"]] == list(exactness.ROWS)
    assert found["frames_grey_levels"] <= exactness.GREY_LEVELS


def test_frames_that_are_off_by_more_than_a_grey_level_are_wrong(tiny: World) -> None:
    decode: Callable[..., Any] = tiny.codec.decode

    class Brighter:
        def __getattr__(self, name: str) -> Any:
            return getattr(tiny.codec, name)

        def decode(self, *call: Any) -> Any:
            pixels, state = decode(*call)
            return pixels + 4 / 127.5, state

    found = exactness.compare(replace(tiny, codec=Brighter()), tiny, PROFILES)
    assert all(row["right"] for row in found["velocities"])
    assert 3 < found["frames_grey_levels"] <= 4
    assert not found["right"]


def again(call: Call) -> Call:
    """A capture that does the same work anew, as a graph does."""
    return call


def stale(call: Call) -> Call:
    """A capture whose graph looks at no input that comes later."""
    first = call()
    return lambda: first


def failing(call: Call) -> Call:
    raise RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.parametrize(
    ("capture", "wrong", "faults"),
    [(again, False, []), (stale, True, []), (failing, False, ["no CUDA graph answered; the log says why"])],
)
def test_a_graph_must_answer_and_for_the_inputs_that_it_is_given(
    tiny: World, capture: Capture, wrong: bool, faults: list[str]
) -> None:
    found = exactness.compare(tiny, tiny, PROFILES, capture=capture)
    assert found["faults"] == faults
    assert [row["right"] for row in found["velocities"]] == [not wrong] * len(exactness.ROWS)
    assert found["right"] == (capture is again)
    told = "\n".join(exactness.table({**found, "device": "a GPU"}))
    assert ("WRONG" in told) == (not found["right"])


def test_frames_are_compared_with_the_processors_however_large_the_network_is(
    tiny: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exactness, "ON_HOST", 0)
    exact = exactness.in_wide_precision(tiny)
    assert next(exact.codec.parameters()).device.type == "cpu"
    assert exact.codec is not tiny.codec


def test_without_a_gpu_for_it_even_a_large_world_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["bench", "exactness", "--model", "streamdit_4b", "--random-weights", "--device", "cuda"]) == 2
    assert "there is no GPU for --device cuda" in capsys.readouterr().err


def test_what_does_not_fit_in_both_precisions_is_refused_with_the_figure_before_it_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exactness, "load_plain", lambda arguments: pytest.fail("it was made"))
    monkeypatch.setattr(exactness, "free_bytes", lambda device: 24 * 10**9)
    assert main(["bench", "exactness", "--model", "streamdit_4b", "--random-weights"]) == 2
    found = re.search(r"needs (\d+\.\d\d) GB, 24\.00 GB are free", capsys.readouterr().err)
    assert found is not None
    assert 24 < float(found.group(1)) < 60, "weights in float32 and bf16 or float32, and scores of whole windows"
