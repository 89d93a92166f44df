"""The bilateral filter compiled ahead of time for an H100, without a GPU: everything of a pixel stays in registers."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from tests.kernels.ahead_of_time import compiled

PRELUDE = "import torch\nfrom eddyline_kernels.bilateral import launch"
CALL = "launch.bilateral_filter(torch.empty(64, 3, 96, 160), 0.25)"


def test_each_neighbour_is_loaded_once_and_nothing_leaves_the_registers() -> None:
    if find_spec("triton") is None:
        pytest.skip("needs Triton")
    (kernel,) = compiled({"frames of 160 x 96": CALL}, PRELUDE)
    assert (kernel.stack, kernel.shared) == (0, 0), kernel
    assert kernel.registers <= 40, kernel  # twelve programs to a multiprocessor
    assert kernel.count("LDG") == 3 * 25, kernel
    assert kernel.count("STG") == 3, kernel
    assert kernel.count(r"IMAD\.WIDE") <= 8, "addresses of neighbours are known distances away"
