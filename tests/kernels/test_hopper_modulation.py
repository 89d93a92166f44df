"""Modulation compiled ahead of time for an H100: every configuration of every kernel, without a GPU."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from tests.kernels.ahead_of_time import HOPPER, SHARED_LIMITS, Kernel, compiled

from eddyline_kernels.modulation.plan import AHEAD_BYTES

PRELUDE = """
import torch
from eddyline_kernels.modulation import launch

def modulate(dtype, width, tokens, kind=None, branch=True, gate=True, fp8=False):
    x = torch.empty(2, 16, tokens, width, dtype=dtype)
    scale, shift, gates = torch.empty(2, 16, 1, 3 * width, dtype=kind or dtype).chunk(3, dim=-1)
    branches, gates = x if branch else None, gates if gate else None
    out = torch.empty(x.shape, dtype=torch.float8_e4m3fn if fp8 else dtype)
    row_scale = torch.empty(2, 16, tokens, 1) if fp8 else None
    launch.residual_norm(x, branches, gates, scale, shift, 1.0, 1e-5, out=out, row_scale=row_scale)
    if not fp8:
        launch.residual_norm_backward(x if branch else None, x, x, branches, gates, scale, 1.0, 1e-5)

def turn(dtype, heads, dim, tokens=16384, kind=None):
    qkv = torch.empty(2, tokens, 3, heads, dim, dtype=dtype)
    weights = torch.empty(2, dim, dtype=kind or dtype)
    rope = torch.empty(2, tokens, dim)
    launch.norm_rotate(qkv[:, :, :2], *weights, rope, 1e-6)
    grads = torch.empty(3, 2, tokens, heads, dim, dtype=dtype)
    launch.norm_rotate_backward(*grads, qkv, *weights, rope, 1e-6)
"""
CALLS = {
    "3072, bf16": "modulate(torch.bfloat16, 3072, 1024)",
    "3072, bf16, numbers in fp32": "modulate(torch.bfloat16, 3072, 1024, torch.float32, gate=False)",
    "3072, bf16, no branch": "modulate(torch.bfloat16, 3072, 1024, branch=False, gate=False)",
    "3072, bf16, as e4m3": "modulate(torch.bfloat16, 3072, 1024, fp8=True)",
    "6144, bf16, as e4m3": "modulate(torch.bfloat16, 6144, 1024, fp8=True)",
    "24 heads of 128, bf16": "turn(torch.bfloat16, 24, 128)",
}
FETCHED_AHEAD = {
    ("3072, bf16", "residual_norm_backward_kernel"),
    ("3072, bf16, numbers in fp32", "residual_norm_backward_kernel"),
    ("3072, bf16, as e4m3", "residual_norm_kernel"),
    ("6144, bf16, as e4m3", "residual_norm_kernel"),
    ("3072, bf16, no branch", "residual_norm_kernel"),
    ("3072, bf16, no branch", "residual_norm_backward_kernel"),
}
"""Kernels that fetch the rows to come while they compute one."""


@pytest.fixture(scope="module")
def kernels() -> list[Kernel]:
    if find_spec("triton") is None:
        pytest.skip("needs Triton")
    return compiled(CALLS, PRELUDE)


def test_every_call_compiles_its_kernels(kernels: list[Kernel]) -> None:
    expected = []
    for call in CALLS:
        kind = "norm_rotate" if "heads" in call else "residual_norm"
        expected.append((call, f"{kind}_kernel"))
        if "e4m3" not in call:
            expected.append((call, f"{kind}_backward_kernel"))
    assert sorted((kernel.call, kernel.name) for kernel in kernels) == sorted(expected)


def test_everything_is_held_in_registers(kernels: list[Kernel]) -> None:
    for kernel in kernels:
        assert kernel.stack == 0, kernel
        # eight programs at a time keep the memory busy, or rows that are on their way
        on_their_way = AHEAD_BYTES if kernel.count("LDGSTS") else 0
        assert kernel.shared <= on_their_way + SHARED_LIMITS[HOPPER] // 8, kernel


def test_rows_in_thirds_leave_registers_for_more_programs_on_a_multiprocessor(kernels: list[Kernel]) -> None:
    for kernel in kernels:
        if kernel.name.startswith("residual_norm"):
            assert kernel.registers <= 128, kernel


def test_tokens_are_loaded_and_stored_in_wide_words(kernels: list[Kernel]) -> None:
    for kernel in kernels:
        # the gradient's eight warps have 4 numbers of a third of a row in a thread, others have 8
        wide = "(128|64)" if kernel.name == "residual_norm_backward_kernel" else "128"
        assert kernel.count(rf"LDG\.E\.{wide}") > 0, kernel
        assert kernel.count(rf"STG\.E\.{wide}") > 0, kernel
        # what is narrower: learned scales of a head, the sums of their gradients, the one number of a quantised row
        assert kernel.count(rf"LDG\.(?!E\.{wide})") <= 4, kernel
        assert kernel.count(rf"LDGSTS\.(?!E\.(BYPASS\.)?{wide})") == 0, kernel
        assert kernel.count(rf"STG(?!\.E\.{wide})") <= 4, kernel


def test_kernels_that_would_wait_for_memory_fetch_rows_ahead(kernels: list[Kernel]) -> None:
    assert {(kernel.call, kernel.name) for kernel in kernels if kernel.count("LDGSTS")} == FETCHED_AHEAD
