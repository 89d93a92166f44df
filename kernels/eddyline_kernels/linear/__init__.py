"""Matrix products in FP8, row by row: what is multiplied is quantised by itself in each row, so rows stay apart."""

from eddyline_kernels.linear.operator import fp8_linear, quantise_rows

__all__ = ["fp8_linear", "quantise_rows"]
