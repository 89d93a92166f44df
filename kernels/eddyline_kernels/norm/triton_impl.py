"""Root-mean-square norm in Triton. Needs Triton to be imported.

Bound by memory: torch's own norm gives each short row a block of threads, which leaves most of them idle. Values in
bf16 are only loaded, cast and stored, as Triton's interpreter needs it.
"""

import triton
import triton.language as tl


@triton.jit
def rms_norm_kernel(x, weight, out, rows, eps, D: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr):
    """out = x / sqrt(mean(x^2) + eps) * weight over rows of D numbers, which are contiguous.

    Grid: blocks of ROWS rows. BLOCK is the least power of two that holds D.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, BLOCK)
    within = columns < D
    mask = (row < rows)[:, None] & within[None, :]
    at = row[:, None] * D + columns[None, :]
    values = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    inverse = 1.0 / tl.sqrt(tl.sum(values * values, 1) / D + eps)
    weights = tl.load(weight + columns, mask=within, other=0.0).to(tl.float32)
    values *= inverse[:, None] * weights[None, :]
    tl.store(out + at, values.to(out.dtype.element_ty), mask=mask)
