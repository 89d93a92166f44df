"""For all tests: no window and no sound, and child processes that import the same packages as the tests do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent

# Triton asks when it is imported, and much of torch imports it: kernels run in its interpreter, on the CPU. Where there
# is a GPU, TRITON_INTERPRET=0 runs what tests the compiled kernels instead.
os.environ.setdefault("TRITON_INTERPRET", "1")

# Processes that share the tests also share the cores: each computes on one, and so do the processes that it starts.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says nothing about the code on a machine that does other things as well.
settings.register_profile("eddyline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("eddyline")


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores, since many tests wait for a socket or a stream; at most four."""
    return min(4, (os.cpu_count() or 1) + 1)


@pytest.fixture(scope="session", autouse=True)
def surroundings() -> Iterator[None]:
    """A bare checkout tests itself: pytest puts the source roots on `sys.path`, children read them from PYTHONPATH."""
    roots = [str(ROOT / name) for name in ("sdk", "runtime", "kernels")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([*roots, *filter(None, [os.environ.get("PYTHONPATH")])]))
        patch.setenv("EDDYLINE_NETWORKS", "torch")  # tests of OpenVINO ask for it; the others need not wait for it
        patch.setenv("SDL_VIDEODRIVER", "dummy")
        patch.setenv("SDL_AUDIODRIVER", "dummy")
        patch.setenv("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        yield
