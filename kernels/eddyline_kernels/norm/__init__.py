"""Root-mean-square norm of short rows, such as heads of queries, in one pass over memory."""

from eddyline_kernels.norm.operator import rms_norm

__all__ = ["rms_norm"]
