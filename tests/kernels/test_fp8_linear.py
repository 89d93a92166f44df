"""Row-wise FP8: how far it is from plain numbers, rows that do not see each other, and who runs it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from eddyline_kernels import backend, errors
from eddyline_kernels.formats import FP8
from eddyline_kernels.linear import fp8_linear, quantise_rows

STEP = 2.0**-4
"""Half a step of e4m3, which has three digits after the point, relative to its number."""


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.fixture
def call() -> SimpleNamespace:
    """Rows, weight and bias of one product, quantised."""
    x, weight, bias = draw(2, 3, 64, seed=0), draw(48, 64, seed=1), draw(48, seed=2)
    rows, row_scale = quantise_rows(x)
    quantised, weight_scale = quantise_rows(weight)
    return SimpleNamespace(
        x=x, plain=weight, rows=rows, row_scale=row_scale, weight=quantised, weight_scale=weight_scale, bias=bias
    )


def multiplied(call: SimpleNamespace, **options: object) -> Tensor:
    arguments = (call.rows, call.row_scale, call.weight, call.weight_scale, call.bias)
    return fp8_linear(*arguments, **options)  # type: ignore[arg-type]


@settings(max_examples=20)
@given(st.integers(-20, 40), st.integers(1, 70), st.integers(0, 99))
def test_a_row_of_any_size_keeps_three_digits_of_its_larger_numbers(exponent: int, width: int, seed: int) -> None:
    x = draw(3, width, seed=seed) * 2.0**exponent
    rows, row_scale = quantise_rows(x)
    assert rows.dtype == FP8
    assert torch.equal(rows.float().abs().amax(-1), torch.full((3,), 448.0))
    back, largest = rows.float() * row_scale, x.abs().amax(-1, keepdim=True)
    # below 2^-6 the steps of e4m3 stay the same: 2^-10 of them is half a step
    assert ((back - x).abs() <= torch.maximum(STEP * x.abs() * 1.01, largest / 448 * 2.0**-10 * 1.01)).all()


def test_a_row_of_zeros_stays_zero() -> None:
    rows, row_scale = quantise_rows(torch.zeros(2, 16))
    assert not (rows.float() * row_scale).any()


def test_gelu_comes_before_the_row_is_quantised() -> None:
    x = draw(4, 64, seed=3, dtype=torch.bfloat16)
    expected = quantise_rows(F.gelu(x.float(), approximate="tanh"))
    for given_, wanted in zip(quantise_rows(x, gelu=True), expected, strict=True):
        assert torch.equal(given_, wanted)


def test_a_product_is_near_that_of_the_plain_numbers(call: SimpleNamespace) -> None:
    exact = F.linear(call.x, call.plain, call.bias)
    product = multiplied(call, dtype=torch.float32)
    assert (product - exact).norm() < 0.05 * exact.norm()
    assert multiplied(call).dtype == torch.bfloat16
    assert torch.equal(multiplied(call), product.bfloat16())


def test_changing_a_row_leaves_the_bits_of_the_others() -> None:
    x, (weight, weight_scale) = draw(3, 5, 64, seed=4), quantise_rows(draw(32, 64, seed=5))
    other = x.clone()
    other[1] *= 1000.0
    before, after = (fp8_linear(*quantise_rows(t), weight, weight_scale) for t in (x, other))
    same = (before == after).flatten(1).all(1)
    assert same.tolist() == [True, False, True]


def test_the_gpus_product_gets_what_it_takes_and_keeps_the_shape(
    call: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU that is not there: shapes, strides and dtypes are checked as they would be."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(backend, "_driver_obstacle", lambda: None)
    monkeypatch.setattr(backend, "find_spec", lambda name: object())
    monkeypatch.setattr(backend, "triton_version", lambda: (3, 6))
    launched = backend.launches.copy()
    with FakeTensorMode(), torch.device("cuda"):
        rows, row_scale = quantise_rows(torch.empty(2, 3, 64, dtype=torch.bfloat16), gelu=True)
        weight, weight_scale = torch.empty(48, 64).to(FP8), torch.empty(48, 1)
        product = fp8_linear(rows, row_scale, weight, weight_scale, torch.empty(48))
    assert (product.shape, product.dtype, product.device.type) == ((2, 3, 48), torch.bfloat16, "cuda")
    assert backend.launches == launched, "nothing was run"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.zeros(48, 32).to(FP8)}, r"weight \(48, 32\).*do not fit; pass rows \[\.\.\., W\]"),
        ({"row_scale": torch.zeros(3, 1)}, r"row_scale \(3, 1\).*do not fit"),
        ({"bias": torch.zeros(47)}, r"bias \(47,\).*do not fit"),
        ({"rows": torch.zeros(2, 3, 64)}, "rows is torch.float32.*pass rows and weight as torch.float8_e4m3fn"),
        ({"weight_scale": torch.zeros(48, 1, dtype=torch.float64)}, "weight_scale is torch.float64"),
        ({"bias": torch.zeros(48, device="meta")}, "bias is on meta; move them to one device"),
    ],
)
def test_what_cannot_be_multiplied_is_refused_with_its_shapes(
    call: SimpleNamespace, change: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(errors.KernelInputError, match=message):
        multiplied(SimpleNamespace(**{**vars(call), **change}))


def test_rows_that_are_no_numbers_or_want_a_gradient_are_refused() -> None:
    with pytest.raises(errors.KernelInputError, match="of a floating dtype"):
        quantise_rows(torch.zeros(2, 16, dtype=torch.long))
    with pytest.raises(errors.KernelInputError, match="have no gradient"):
        quantise_rows(torch.zeros(2, 16, requires_grad=True))
