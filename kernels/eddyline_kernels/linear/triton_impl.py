"""Rows as e4m3 in Triton. Needs Triton to be imported.

Bound by memory: each row is read once and written once. Values in bf16 are only loaded and cast, as Triton's
interpreter needs it.
"""

import triton
import triton.language as tl

from eddyline_kernels import formats

FP8_LARGEST = tl.constexpr(formats.FP8_LARGEST)
FP8_LEAST_SCALE = tl.constexpr(formats.FP8_LEAST_SCALE)


@triton.jit
def quantise_rows_kernel(x, out, row_scale, W: tl.constexpr, BLOCK: tl.constexpr, GELU: tl.constexpr):
    """out = x * (1 / unit) as e4m3 with a unit of each row by which its largest number becomes 448; after GELU if asked
    for.

    Grid: rows, which are contiguous. GELU is the one with tanh: x / (1 + exp(-2 sqrt(2 / pi) (x + 0.044715 x^3))).
    """
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < W
    values = tl.load(x + row * W + columns, mask=mask, other=0.0).to(tl.float32)
    if GELU:
        values /= 1.0 + tl.exp((values + 0.044715 * values * values * values) * -1.5957691216057308)
    unit = tl.maximum(tl.max(tl.abs(values), 0) / FP8_LARGEST, FP8_LEAST_SCALE)
    tl.store(row_scale + row, unit)
    tl.store(out + row * W + columns, (values * (1.0 / unit)).to(out.dtype.element_ty), mask=mask)
