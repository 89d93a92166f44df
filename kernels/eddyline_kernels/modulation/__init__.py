"""Modulation: what stands between the matrix products of a StreamDiT block, each in one pass over memory."""

from eddyline_kernels.modulation.norm_operator import residual_norm, residual_norm_fp8
from eddyline_kernels.modulation.rotary_operator import norm_rotate

__all__ = ["norm_rotate", "residual_norm", "residual_norm_fp8"]
