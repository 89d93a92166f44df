"""Row-wise FP8 as callers use it: checked, and run by the GPU's own kernels or by the reference.

Rows are quantised by Triton, an operator of `torch.library` with a fake implementation; the matrix product is torch's
(`torch._scaled_mm`). Neither has a gradient.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_kernels import backend
from eddyline_kernels.errors import KernelInputError
from eddyline_kernels.formats import DTYPES, FP8, FP8_CAPABILITY
from eddyline_kernels.linear import reference

LARGEST_WIDTH = 32768
"""A row that a program can hold in its registers."""
MULTIPLE = 16
"""Of the width and the results, for an FP8 matrix product of the GPU's."""


def quantise_rows(
    x: Float[Tensor, "*rows W"], *, gelu: bool = False
) -> tuple[Float[Tensor, "*rows W"], Float[Tensor, "*rows 1"]]:
    """Rows as e4m3 for an FP8 matrix product, each by itself: one pass over memory.

    Args:
        x: any floating dtype.
        gelu: whether GELU comes first (the approximation with tanh), in float32.

    Returns:
        the rows, the largest number of each 448; and the float32 number to multiply each by.

    Raises:
        KernelInputError: `x` has no rows or no floating dtype, or a gradient is asked for; a ValueError.
        KernelChoiceError: the environment asks for Triton, and it cannot run.
    """
    if x.ndim < 1 or not x.is_floating_point():
        raise KernelInputError(f"x {tuple(x.shape)} is {x.dtype}; pass rows [..., W] of a floating dtype")
    _refuse_gradient(x)
    if not backend.runs_triton("quantising rows", x.device, _rows_obstacle(x)):
        return reference.quantise_rows(x, gelu=gelu)
    rows, row_scale = triton_quantise_rows(x, gelu)
    return rows, row_scale


def fp8_linear(
    rows: Float[Tensor, "*rows W"],
    row_scale: Float[Tensor, "*rows 1"],
    weight: Float[Tensor, "N W"],
    weight_scale: Float[Tensor, "N 1"],
    bias: Float[Tensor, " N"] | None = None,
    *,
    dtype: torch.dtype = torch.bfloat16,
) -> Float[Tensor, "*rows N"]:
    """rows * row_scale times the transpose of weight * weight_scale, plus bias; sums in float32.

    On a GPU that knows e4m3 this is one FP8 matrix product, for results in bf16 and sizes that are multiples of 16;
    there the tensor cores add up with fewer digits than float32 has. Otherwise both sides are taken back to float32.

    Args:
        rows, row_scale: as `quantise_rows` or `residual_norm_fp8` give them.
        weight, weight_scale: the same of the weight, a row for each result.
        bias: any floating dtype.
        dtype: of the result.

    Raises:
        KernelInputError: shapes, dtypes or devices do not fit; a ValueError.
        KernelChoiceError: the environment asks for the GPU's kernels, and they cannot run.
    """
    _check_linear(rows, row_scale, weight, weight_scale, bias)
    if not backend.runs_triton("matrix product in FP8", rows.device, _linear_obstacle(rows, weight, dtype)):
        return reference.fp8_linear(rows, row_scale, weight, weight_scale, bias, dtype=dtype)
    bias = None if bias is None else bias.to(dtype)
    product: Tensor = gpu_fp8_linear(rows, row_scale, weight, weight_scale, bias, dtype)
    return product


def _check_linear(rows: Tensor, row_scale: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None) -> None:
    given = {"rows": rows, "row_scale": row_scale, "weight": weight, "weight_scale": weight_scale, "bias": bias}
    named = {name: t for name, t in given.items() if t is not None}
    fits = (
        rows.ndim >= 1
        and weight.ndim == 2
        and weight.shape[1] == rows.shape[-1]
        and row_scale.shape == (*rows.shape[:-1], 1)
        and weight_scale.shape == (weight.shape[0], 1)
        and (bias is None or bias.shape == weight.shape[:1])
    )
    if not fits:
        shapes = ", ".join(f"{name} {tuple(t.shape)}" for name, t in named.items())
        raise KernelInputError(
            f"{shapes} do not fit; pass rows [..., W], row_scale [..., 1], weight [N, W], weight_scale [N, 1], bias [N]"
        )
    if (rows.dtype, weight.dtype) != (FP8, FP8) or (row_scale.dtype, weight_scale.dtype) != (torch.float32,) * 2:
        kinds = ", ".join(f"{name} is {t.dtype}" for name, t in named.items())
        raise KernelInputError(f"{kinds}; pass rows and weight as {FP8}, what they are multiplied by as float32")
    if len({t.device for t in named.values()}) > 1:
        where = ", ".join(f"{name} is on {t.device}" for name, t in named.items())
        raise KernelInputError(f"{where}; move them to one device")


def _refuse_gradient(x: Tensor) -> None:
    if torch.is_grad_enabled() and x.requires_grad:
        raise KernelInputError(f"rows of {tuple(x.shape)} in FP8 have no gradient; quantise them under torch.no_grad()")


def _rows_obstacle(x: Tensor) -> str | None:
    """Why there is no Triton kernel for some rows, or None."""
    if x.dtype not in DTYPES:
        return "there are kernels for bfloat16, float16 and float32 only"
    if x.shape[-1] > LARGEST_WIDTH:
        return f"there are kernels for widths up to {LARGEST_WIDTH} only"
    return _device_obstacle(x)


def _linear_obstacle(rows: Tensor, weight: Tensor, dtype: torch.dtype) -> str | None:
    """Why the GPU has no FP8 matrix product for some rows, or None."""
    if dtype != torch.bfloat16:
        return "there are products for results in bfloat16 only"
    if any(size % MULTIPLE for size in weight.shape):
        return f"there are products for sizes that are multiples of {MULTIPLE} only"
    return _device_obstacle(rows)


def _device_obstacle(t: Tensor) -> str | None:
    if t.is_cuda and torch.cuda.get_device_capability(t.device) < FP8_CAPABILITY:
        return "the GPU does not know e4m3"
    return None


@torch.library.custom_op("eddyline::quantise_rows", mutates_args=())
def triton_quantise_rows(x: Tensor, gelu: bool) -> tuple[Tensor, Tensor]:
    """The Triton operator: [..., W] to the same as e4m3, and the number of each row."""
    from eddyline_kernels.linear import launch

    out, row_scale = _results(x)
    if x.numel():
        backend.launches["quantise_rows"] += 1
        with torch.cuda.device_of(x):
            launch.quantise_rows(x, gelu=gelu, out=out, row_scale=row_scale)
    return out, row_scale


@torch.library.custom_op("eddyline::fp8_linear", mutates_args=())
def gpu_fp8_linear(
    rows: Tensor, row_scale: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """The GPU's operator: as `fp8_linear`, with the bias in the dtype of the result."""
    backend.launches["fp8_linear"] += 1
    return _product(rows, row_scale, weight, weight_scale, bias, dtype)


def _product(
    rows: Tensor, row_scale: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    product: Tensor = torch._scaled_mm(
        rows.reshape(-1, rows.shape[-1]),
        weight.t(),
        scale_a=row_scale.reshape(-1, 1),
        scale_b=weight_scale.t(),
        bias=bias,
        out_dtype=dtype,
        use_fast_accum=True,
    )
    return product.view(*rows.shape[:-1], weight.shape[0])


@triton_quantise_rows.register_fake
def _(x: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return _results(x)


def _results(x: Tensor) -> tuple[Tensor, Tensor]:
    out = torch.empty(x.shape, dtype=FP8, device=x.device)
    return out, torch.empty((*x.shape[:-1], 1), dtype=torch.float32, device=x.device)


gpu_fp8_linear.register_fake(_product)
