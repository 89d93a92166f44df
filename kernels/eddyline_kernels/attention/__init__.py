"""Window attention: tokens of one 3-D window attend to each other."""

from eddyline_kernels.attention.operator import window_attention, window_attention_with_lse

__all__ = ["window_attention", "window_attention_with_lse"]
