"""Window attention compiled ahead of time for an H100: every configuration of every kernel, without a GPU."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from tests.kernels.ahead_of_time import HOPPER, SHARED_LIMITS, Kernel, compiled
from tests.kernels.clobber import overwritten

from eddyline_kernels.attention.geometry import Windows
from eddyline_kernels.attention.plan import Plan, plans

# compiling takes more than half a minute on two cores
pytestmark = pytest.mark.timeout(900)

PRELUDE = """
import torch
from eddyline_kernels.attention import launch
from eddyline_kernels.attention.geometry import Windows
from eddyline_kernels.attention.plan import plans

def attend(dtype, dim, size, window, shift, wrap, name="gathered"):
    q, k, v = torch.empty(2, *size, 3, 4, dim, dtype=dtype).unbind(4)
    windows = Windows.cut(size, window, shift, (wrap,) * 3)
    (plan,) = (p for p in plans(windows, head_dim=dim, itemsize=dtype.itemsize, tma=True) if p.name == name)
    out, lse = launch.forward(q, k, v, windows, plan, near=True)
    launch.backward(out, lse, q, k, v, out, lse, windows, plan, near=True)
"""
LARGE = "(16, 32, 32), (8, 16, 16), (4, 8, 8), True"
CALLS = {
    "boxes of 128, fp16, 64": f"attend(torch.float16, 64, {LARGE}, 'boxes of 128')",
    "boxes of 128, bf16, 32": f"attend(torch.bfloat16, 32, {LARGE}, 'boxes of 128')",
    "boxes of 128, bf16, 64, ends apart": (
        f"attend(torch.bfloat16, 64, {LARGE.replace('True', 'False')}, 'boxes of 128')"
    ),
    "boxes of 64, bf16, 128": f"attend(torch.bfloat16, 128, {LARGE}, 'boxes of 64')",
    "boxes of 128, bf16, 128": f"attend(torch.bfloat16, 128, {LARGE}, 'boxes of 128')",
    "gathered 64, bf16, 128, large": f"attend(torch.bfloat16, 128, {LARGE})",
    "gathered 64, bf16, 128": "attend(torch.bfloat16, 128, (15, 31, 33), (8, 16, 16), (4, 8, 8), False)",
    "gathered 64, bf16, 64": "attend(torch.bfloat16, 64, (8, 6, 10), (4, 6, 10), (2, 0, 0), False)",
    "gathered 64, fp16, 32": "attend(torch.float16, 32, (16, 33, 33), (8, 11, 11), (4, 5, 5), True)",
    "gathered 32, bf16, 128": "attend(torch.bfloat16, 128, (9, 9, 9), (3, 3, 3), (1, 1, 1), False)",
    "gathered 16, bf16, 64": "attend(torch.bfloat16, 64, (4, 4, 4), (2, 2, 2), (1, 1, 1), True)",
    "gathered 16, bf16, 32, axes of one token": "attend(torch.bfloat16, 32, (1, 9, 1), (1, 9, 1), (0, 1, 0), True)",
    "gathered 32, fp32, 128": f"attend(torch.float32, 128, {LARGE})",
    "gathered 32, fp32, 64": f"attend(torch.float32, 64, {LARGE})",
}
# bytes that do not fit the registers beside sums, keys and values; most are stored and loaded outside the loop
STACK_LIMITS = {
    ("boxes of 64, bf16, 128", "dkdv_kernel"): 16,
    ("boxes of 128, bf16, 128", "dkdv_kernel"): 16,
    ("gathered 32, fp32, 128", "forward_kernel"): 48,  # Triton 3.7; 3.6 has 0
    ("gathered 32, fp32, 128", "dkdv_kernel"): 450,
    ("gathered 32, fp32, 64", "dkdv_kernel"): 48,  # Triton 3.7; 3.6 has 0
}


def plan_of(call: str) -> Plan:
    """The plan of a call in boxes."""
    name, _, dim = call.split(", ")[:3]
    windows = Windows.cut((16, 32, 32), (8, 16, 16), (4, 8, 8), (True,) * 3)
    (plan,) = (p for p in plans(windows, head_dim=int(dim), itemsize=2, tma=True) if p.name == name)
    return plan


@pytest.fixture(scope="module")
def kernels() -> list[Kernel]:
    if find_spec("triton") is None:
        pytest.skip("needs Triton")
    return compiled(CALLS, PRELUDE)


def test_every_call_compiles_its_three_kernels(kernels: list[Kernel]) -> None:
    names = [(kernel.call, kernel.name) for kernel in kernels]
    assert sorted(names) == sorted((c, n) for c in CALLS for n in ("forward_kernel", "dq_kernel", "dkdv_kernel"))


def test_every_kernel_fits_the_shared_memory_and_the_registers(kernels: list[Kernel]) -> None:
    for kernel in kernels:
        assert kernel.shared <= SHARED_LIMITS[HOPPER], kernel
        assert kernel.stack <= STACK_LIMITS.get((kernel.call, kernel.name), 0), kernel


def test_no_register_is_overwritten_while_a_product_needs_it(kernels: list[Kernel]) -> None:
    for kernel in kernels:
        problems = overwritten(kernel.code)
        assert not problems, f"{kernel.name} of {kernel.call}: {problems[0]}"


def test_no_product_waits_for_the_one_before_for_want_of_registers(kernels: list[Kernel]) -> None:
    products = {"forward_kernel": 2, "dq_kernel": 3, "dkdv_kernel": 4}
    for kernel in kernels:
        # the block that runs over the end of a gathered window has code of its own
        codes = 2 if kernel.call.startswith("gathered 64") else 1
        assert kernel.count("WARPGROUP.ARRIVE") <= codes * products[kernel.name], kernel


def test_warps_do_not_meet_between_the_products_of_a_turn_where_blocks_are_boxes(kernels: list[Kernel]) -> None:
    for kernel in kernels:
        if kernel.call.startswith("boxes"):
            lines = kernel.code.splitlines()
            products = [number for number, line in enumerate(lines) if "HGMMA" in line]
            between = lines[products[0] : products[-1]]
            assert not [line for line in between if "BAR.SYNC" in line], kernel


def test_boxes_go_by_tma_from_memory_to_the_tensor_cores(kernels: list[Kernel]) -> None:
    own = {"forward_kernel": 1, "dq_kernel": 2, "dkdv_kernel": 2}  # boxes that a program's own block takes
    for kernel in kernels:
        if kernel.call.startswith("boxes"):
            boxed = getattr(plan_of(kernel.call), kernel.name.removesuffix("_kernel")).own_box
            assert kernel.count("UTMALDG.5D") >= 2 + (own[kernel.name] if boxed else 0), kernel
            assert kernel.count("HGMMA") > 0, kernel
            assert kernel.count("HMMA") == 0, kernel


def test_gathered_blocks_use_the_tensor_cores_and_wide_loads(kernels: list[Kernel]) -> None:
    for kernel in kernels:
        if kernel.call.startswith("gathered"):
            assert kernel.count("HGMMA") + kernel.count("HMMA") > 0, kernel
            assert kernel.count(r"(LDGSTS|LDG)\..*128") > 0, kernel
            assert kernel.count("UTMALDG") == 0, kernel
