"""Torch's workers beside OpenVINO's: told before torch is loaded, and only where OpenVINO may compute."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.machinery import ModuleSpec

import pytest

from eddyline_runtime.networks import VARIABLE, patience

SET = "GOMP_SPINCOUNT"


@pytest.mark.parametrize(
    ("device", "installed", "networks", "before", "after"),
    [
        ("cpu", True, None, None, str(patience.SPIN_COUNT)),
        ("cpu", True, "openvino", None, str(patience.SPIN_COUNT)),
        ("cpu", True, "torch", None, None),
        ("cpu", False, None, None, None),
        ("cpu", True, None, "7", "7"),
        ("cuda", True, None, None, None),
    ],
)
def test_workers_rest_soon_where_openvino_may_compute_and_nobody_said_otherwise(
    device: str,
    installed: bool,
    networks: str | None,
    before: str | None,
    after: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = ModuleSpec("openvino", None) if installed else None
    monkeypatch.setattr(patience, "find_spec", {"openvino": found}.get)
    for name, value in ((VARIABLE, networks), (SET, before)):
        monkeypatch.setenv(name, value or "")
        if value is None:
            monkeypatch.delenv(name)
    patience.rest_soon_beside_openvino(device)
    assert os.environ.get(SET) == after


@pytest.mark.parametrize(
    "command", [["serve", "--model", "tiny", "--bind", "tcp://127.0.0.1:0"], ["replay", "FILE", "--verify"]]
)
def test_serve_and_replay_say_so_before_they_load_torch(command: list[str]) -> None:
    stopped = f"""
import sys
from eddyline_runtime import cli
cli.rest_soon_beside_openvino = lambda device: sys.exit(device + ", torch loaded: " + str("torch" in sys.modules))
cli.main({command})
"""
    done = subprocess.run([sys.executable, "-c", stopped], capture_output=True, text=True)
    assert done.stderr == "cpu, torch loaded: False\n"
