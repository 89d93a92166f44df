"""The kernels compiled ahead of time for GPUs other than an H100: they compile, fit, and use the tensor cores there."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from tests.kernels.ahead_of_time import SHARED_LIMITS, Kernel, compiled

from eddyline_kernels.attention.plan import multiplies_from_shared_memory

# compiling takes more than half a minute on two cores
pytestmark = pytest.mark.timeout(900)

PRELUDE = """
import torch
from eddyline_kernels.attention import launch
from eddyline_kernels.attention.geometry import Windows
from eddyline_kernels.attention.plan import multiplies_from_shared_memory, plans
from eddyline_kernels.bilateral import launch as bilateral
from eddyline_kernels.modulation import launch as modulation

def attend(capability, dim, size, window, shift, number=-1):
    q, k, v = torch.empty(2, *size, 3, 4, dim, dtype=torch.bfloat16).unbind(4)
    windows = Windows.cut(size, window, shift, (False,) * 3)
    able = multiplies_from_shared_memory(capability)
    plan = plans(windows, head_dim=dim, itemsize=2, tma=able, in_registers=not able)[number]
    out, lse = launch.forward(q, k, v, windows, plan, near=True)
    launch.backward(out, lse, q, k, v, out, lse, windows, plan, near=True)

def modulate(dtype):
    x, numbers = torch.empty(2, 16, 1024, 3072, dtype=torch.bfloat16), torch.empty(2, 16, 1, 3072, dtype=torch.bfloat16)
    row_scale = torch.empty(2, 16, 1024, 1) if dtype.itemsize == 1 else None
    out = torch.empty(x.shape, dtype=dtype)
    modulation.residual_norm(x, x, numbers, numbers, numbers, 1.0, 1e-5, out=out, row_scale=row_scale)
"""
LARGE = "(16, 32, 32), (8, 16, 16), (4, 8, 8)"
ATTENTION = {
    "the embedded world": "attend({}, 64, (8, 6, 10), (4, 6, 10), (2, 0, 0))",
    "heads of 128": "attend({}, 128, (15, 31, 33), (8, 16, 16), (4, 8, 8))",
}
IN_BOXES = {
    "boxes of 128, heads of 64": f"attend({{}}, 64, {LARGE}, 0)",
    "boxes of 64, heads of 128": f"attend({{}}, 128, {LARGE}, 1)",
}
IN_ONE_PASS = {
    "modulation": "modulate(torch.bfloat16)",
    "modulation, e4m3": "modulate(torch.float8_e4m3fn)",
    "the filter": "bilateral.bilateral_filter(torch.empty(64, 3, 96, 160), 0.25)",
}
GPUS = {"A100": (8, 0), "RTX 30": (8, 6), "RTX 40": (8, 9), "RTX 50": (12, 0), "B200": (10, 0)}
SPILLED = {"the embedded world": 96}
SPILLED_ON_A_B200 = {"heads of 128": 160, "boxes of 128, heads of 64": 360}
"""Bytes of a thread that do not fit the registers, at most. What multiplies from registers has them in the gradient of
keys and values alone; on a B200 sums come from its tensor memory into registers."""


@pytest.mark.parametrize("gpu", GPUS)
def test_kernels_fit_other_gpus_and_use_their_tensor_cores(gpu: str) -> None:
    if find_spec("triton") is None:
        pytest.skip("needs Triton")
    capability = GPUS[gpu]
    able = multiplies_from_shared_memory(capability)
    attention = {name: call.format(capability) for name, call in (ATTENTION | (IN_BOXES if able else {})).items()}
    passes = {name: call for name, call in IN_ONE_PASS.items() if "e4m3" not in name or capability >= (8, 9)}
    number = 10 * capability[0] + capability[1]
    kernels = compiled(attention | passes, PRELUDE, capability=number)
    names = [name for name in attention for _ in range(3)] + list(passes)
    assert sorted(kernel.call for kernel in kernels) == sorted(names)
    for kernel in kernels:
        assert kernel.shared <= SHARED_LIMITS[number], kernel
        assert kernel.stack <= (SPILLED_ON_A_B200 if able else SPILLED).get(kernel.call, 0), kernel
        if kernel.call in attention:
            assert multiplied(kernel) > 0, kernel


def multiplied(kernel: Kernel) -> int:
    """Matrix products by the tensor cores, from registers or, on a B200, from shared memory."""
    return kernel.count("HMMA") + kernel.count("UTC.*MMA")
