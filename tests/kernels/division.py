"""Kernels that divide and find tokens as those of window attention do. Needs Triton to be imported."""

import triton
import triton.language as tl

from eddyline_kernels.attention.triton_impl import _divided, _inverse, _tokens, _walk


@triton.jit
def divide_kernel(numbers, quotients, divisor, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """quotients = numbers // divisor. Grid: 1."""
    at = tl.arange(0, block)
    tl.store(quotients + at, _divided(tl.load(numbers + at), divisor, _inverse(divisor)))


@triton.jit
def place_kernel(places, number, start, length, size, wrap: tl.constexpr, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """Frames, rows and columns of the tokens of a block of a window, [3, block]; -1 behind its end. Grid: 1."""
    place, valid = _tokens(number, _walk(start, length, size, False, (1, 1, 1)), wrap, False, block, (1, 1, 1))
    at = tl.arange(0, block)
    for axis in tl.static_range(3):
        tl.store(places + axis * block + at, tl.where(valid, place[axis], -1))
