"""A kernel that divides as those of window attention do. Needs Triton to be imported."""

import triton
import triton.language as tl

from eddyline_kernels.attention.triton_impl import _divided, _inverse


@triton.jit
def divide_kernel(numbers, quotients, divisor, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """quotients = numbers // divisor. Grid: 1."""
    at = tl.arange(0, block)
    tl.store(quotients + at, _divided(tl.load(numbers + at), divisor, _inverse(divisor)))
