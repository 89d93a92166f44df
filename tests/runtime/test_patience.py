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
    ("installed", "networks", "before", "after"),
    [
        (True, None, None, str(patience.SPIN_COUNT)),
        (True, "openvino", None, str(patience.SPIN_COUNT)),
        (True, "torch", None, None),
        (False, None, None, None),
        (True, None, "7", "7"),
    ],
)
def test_workers_rest_soon_where_openvino_may_compute_and_nobody_said_otherwise(
    installed: bool, networks: str | None, before: str | None, after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ModuleSpec("openvino", None) if installed else None
    monkeypatch.setattr(patience, "find_spec", {"openvino": found}.get)
    for name, value in ((VARIABLE, networks), (SET, before)):
        monkeypatch.setenv(name, value or "")
        if value is None:
            monkeypatch.delenv(name)
    patience.rest_soon_beside_openvino()
    assert os.environ.get(SET) == after


def test_the_command_line_has_not_loaded_torch_when_it_says_so() -> None:
    loaded = "import sys, eddyline_runtime.cli; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", loaded], check=True)
