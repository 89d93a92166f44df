"""A bilateral filter of small frames, in one pass over memory."""

from eddyline_kernels.bilateral.operator import bilateral_filter

__all__ = ["bilateral_filter"]
