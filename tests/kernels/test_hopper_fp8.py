"""Quantising and norming rows compiled ahead of time for an H100, without a GPU: held in registers, and read once."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from tests.kernels.ahead_of_time import HOPPER, SHARED_LIMITS, compiled

PRELUDE = """
import torch
from eddyline_kernels.linear import launch
from eddyline_kernels.norm import launch as norm

def quantise(dtype, width, gelu):
    x = torch.empty(1024, width, dtype=dtype)
    out, row_scale = torch.empty(x.shape, dtype=torch.float8_e4m3fn), torch.empty(1024, 1)
    launch.quantise_rows(x, gelu=gelu, out=out, row_scale=row_scale)
"""
CALLS = {
    "12288, after GELU": "quantise(torch.bfloat16, 12288, True)",
    "24576, after GELU": "quantise(torch.bfloat16, 24576, True)",
    "heads of 128": "norm.rms_norm(torch.empty(16384 * 24, 128, dtype=torch.bfloat16), torch.empty(128), 1e-6)",
    "3072": "quantise(torch.bfloat16, 3072, False)",
}


def test_rows_stay_in_registers_and_move_in_the_widest_words() -> None:
    if find_spec("triton") is None:
        pytest.skip("needs Triton")
    kernels = compiled(CALLS, PRELUDE)
    assert sorted(kernel.call for kernel in kernels) == sorted(CALLS)
    for kernel in kernels:
        assert kernel.stack == 0, kernel
        assert kernel.shared <= SHARED_LIMITS[HOPPER] // 8, kernel
        assert kernel.count(r"LDG\.E\.128") > 0, kernel
        assert kernel.count(r"LDG(?!\.E\.128)") <= 1, kernel  # the one number of a column that a norm multiplies by
        assert kernel.count(r"STG(?!\.E\.128)") <= 2, kernel
