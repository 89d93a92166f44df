"""Window attention: tokens of one 3-D window attend to each other."""

from eddyline_kernels.attention.reference import window_attention

__all__ = ["window_attention"]
