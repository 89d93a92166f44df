"""The benchmark of the kernels, `python -m eddyline_kernels.bench`: right first, then how fast, against rivals."""
