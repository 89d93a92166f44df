"""Row-wise FP8 as a GPU runs it: rows in Triton's interpreter, the product by torch on the CPU, against plain torch."""

from __future__ import annotations

import pytest
import torch

from eddyline_kernels import backend
from eddyline_kernels.linear import fp8_linear, quantise_rows, reference

pytestmark = pytest.mark.usefixtures("interpreter")


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("shape", [(2, 3, 37), (5, 64), (1, 1)])
@pytest.mark.usefixtures("nan_scratch")
def test_rows_are_those_of_plain_torch(shape: tuple[int, ...], dtype: torch.dtype, gelu: bool) -> None:
    x = draw(*shape, seed=1, dtype=dtype) * 3
    before = backend.launches["quantise_rows"]
    rows, row_scale = quantise_rows(x, gelu=gelu)
    assert backend.launches["quantise_rows"] == before + 1
    expected, expected_scale = reference.quantise_rows(x, gelu=gelu)
    assert (rows.dtype, rows.shape, row_scale.shape) == (expected.dtype, expected.shape, expected_scale.shape)
    torch.testing.assert_close(row_scale, expected_scale, rtol=1e-5, atol=0.0)
    # what lies between two numbers of e4m3 may go to either by a rounding of float32
    apart = (rows.float() * row_scale - expected.float() * expected_scale).abs()
    assert (apart <= 0.13 * (expected.float() * expected_scale).abs() + 1e-6).all()
    assert (rows.float() != expected.float()).float().mean() <= 0.05


def test_the_product_that_a_gpu_is_asked_for_is_the_references() -> None:
    rows, row_scale = reference.quantise_rows(draw(2, 3, 64, seed=2), gelu=False)
    weight, weight_scale = reference.quantise_rows(draw(48, 64, seed=3), gelu=False)
    bias = draw(48, seed=4, dtype=torch.bfloat16)
    before = backend.launches["fp8_linear"]
    try:
        product = fp8_linear(rows, row_scale, weight, weight_scale, bias)
    except RuntimeError as error:
        if "only supports per-tensor scaling for CPU" not in str(error):
            raise
        pytest.skip("this torch has no row-wise product on the CPU")
    assert backend.launches["fp8_linear"] == before + 1
    expected = reference.fp8_linear(rows, row_scale, weight, weight_scale, bias, dtype=torch.bfloat16)
    assert product.shape == expected.shape
    torch.testing.assert_close(product, expected, rtol=2e-2, atol=2e-2)
