"""Numbers as the kernels take them: which dtypes there are kernels for, and what e4m3 holds."""

import torch

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
"""What there are Triton kernels for."""
FP8 = torch.float8_e4m3fn
FP8_LARGEST = 448.0
"""The largest number of e4m3."""
FP8_LEAST_SCALE = 1e-12
"""Of a row that is 0 everywhere."""
FP8_CAPABILITY = (8, 9)
"""Compute capability of the first GPUs that know e4m3."""
