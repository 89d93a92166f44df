"""Modulation in plain torch: what each call means, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from eddyline_kernels.errors import KernelInputError
from eddyline_kernels.modulation import norm_rotate, residual_norm, residual_norm_fp8


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_sum_goes_on_and_its_norm_is_scaled_and_shifted_by_the_numbers_of_each_frame() -> None:
    x, branch = draw(2, 3, 5, 8), draw(2, 3, 5, 8, seed=1)
    scale, shift, gate = (draw(2, 3, 1, 8, seed=s) for s in (2, 3, 4))
    total, out = residual_norm(x, scale, shift, branch=branch, gate=gate)
    torch.testing.assert_close(total, x + gate * branch)
    centred = total - total.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(out, normed * (1 + scale) + shift)


def test_learned_weights_are_those_of_torchs_layer_norm() -> None:
    x, branch, weight, bias = draw(1, 2, 3, 8), draw(1, 2, 3, 8, seed=1), draw(8, seed=2), draw(8, seed=3)
    total, out = residual_norm(x, weight, bias, branch=branch, base=0.0)
    torch.testing.assert_close(total, x + branch)
    torch.testing.assert_close(out, F.layer_norm(total, (8,), weight, bias))


def test_without_a_branch_the_tokens_go_on_as_they_are() -> None:
    x = draw(1, 2, 3, 8)
    assert residual_norm(x, draw(8), draw(8))[0] is x


def test_quantised_rows_come_back_within_half_a_step_of_e4m3() -> None:
    x, scale, shift = draw(2, 3, 5, 32).float(), draw(2, 3, 1, 32, seed=1).float(), draw(2, 3, 1, 32, seed=2).float()
    x[0, 0, 0] = 0
    shift[0, 0] = 0
    total, values, row_scale = residual_norm_fp8(x, scale, shift)
    exact = residual_norm(x, scale, shift)[1]
    assert (total is x, values.dtype, tuple(row_scale.shape)) == (True, torch.float8_e4m3fn, (2, 3, 5, 1))
    assert not values[0, 0, 0].float().any()
    assert torch.equal(values.float().abs().amax(-1).flatten()[1:], torch.full((29,), 448.0))
    # three bits after the leading one; numbers below 2^-6 have steps of 2^-9
    bound = torch.maximum(exact.abs() * 2**-4, row_scale * 2**-10) * 1.001
    assert bool(((values.float() * row_scale - exact).abs() <= bound).all())


def test_queries_and_keys_are_normed_scaled_and_turned_and_values_left_alone() -> None:
    qkv, weights = draw(2, 5, 3, 3, 8), (draw(8, seed=1), draw(8, seed=2))
    angles = draw(5, 4, seed=3)
    rope = torch.stack([angles.cos(), angles.sin()]).repeat(1, 1, 2)
    q, k, v = norm_rotate(qkv, *weights, rope)
    for number, (turned, weight) in enumerate(zip((q, k), weights, strict=True)):
        x = qkv[:, :, number]
        scaled = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight
        numbers = (
            torch.complex(scaled[..., :4], scaled[..., 4:]) * torch.polar(torch.ones_like(angles), angles)[:, None]
        )
        torch.testing.assert_close(turned, torch.cat([numbers.real, numbers.imag], dim=-1))
    assert torch.equal(v, qkv[:, :, 2])
    assert v.data_ptr() == qkv[:, :, 2].data_ptr(), "a view"


X = torch.zeros(2, 3, 5, 8)
PER_FRAME = torch.zeros(2, 3, 1, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": X[0]}, r"x \(3, 5, 8\) has 3 axes; pass \[B, F, S, W\]"),
        (
            {"scale": PER_FRAME[:1]},
            r"scale \(1, 3, 1, 8\) does not fit x \(2, 3, 5, 8\); pass \(2, 3, 1, 8\) or \(8,\)",
        ),
        ({"shift": torch.zeros(8)}, r"scale \(2, 3, 1, 8\) and shift \(8,\) differ"),
        ({"gate": PER_FRAME}, "gate but no branch"),
        ({"branch": X, "gate": torch.zeros(8)}, r"gate \(8,\) does not fit"),
        ({"branch": X[:, :, :4]}, r"branch \(2, 3, 4, 8\) of torch.float32 differ"),
        ({"branch": X.half()}, r"torch.float32 and branch \(2, 3, 5, 8\) of torch.float16 differ"),
        ({"scale": PER_FRAME.to("meta")}, "x is on cpu, scale is on meta.*one device"),
        ({"shift": PER_FRAME.long()}, r"shift \(2, 3, 1, 8\) is torch.int64; convert it"),
    ],
)
def test_tokens_and_modulation_that_do_not_fit_are_refused_by_name(change: dict[str, Tensor], message: str) -> None:
    given = {"x": X, "scale": PER_FRAME, "shift": PER_FRAME, **change}
    for operator in (residual_norm, residual_norm_fp8):
        with pytest.raises(KernelInputError, match=message):
            operator(**given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qkv": torch.zeros(2, 5, 2, 3, 8)}, r"qkv \(2, 5, 2, 3, 8\) is no \[B, N, 3, H, D\]"),
        ({"qkv": torch.zeros(2, 5, 3, 3, 7)}, "even D"),
        ({"k_weight": torch.zeros(7)}, r"k_weight \(7,\) does not fit qkv \(2, 5, 3, 3, 8\); pass \(8,\)"),
        ({"q_weight": torch.zeros(8).half()}, "q_weight is torch.float16, k_weight torch.float32; pass one dtype"),
        ({"rope": torch.zeros(2, 4, 8)}, r"rope \(2, 4, 8\) does not fit.*pass \(2, 5, 8\)"),
        ({"rope": torch.zeros(2, 5, 8, requires_grad=True)}, r"rope \(2, 5, 8\) has no gradient; detach it"),
        ({"rope": torch.zeros(2, 5, 8, device="meta")}, "rope is on meta.*one device"),
    ],
)
def test_packed_qkv_and_positions_that_do_not_fit_are_refused_by_name(change: dict[str, Tensor], message: str) -> None:
    given = {"qkv": torch.zeros(2, 5, 3, 3, 8), "q_weight": torch.zeros(8), "k_weight": torch.zeros(8)}
    with pytest.raises(KernelInputError, match=message):
        norm_rotate(**{**given, "rope": torch.zeros(2, 5, 8), **change})


def test_a_gradient_of_the_quantised_result_is_refused_with_the_shape() -> None:
    with pytest.raises(KernelInputError, match=r"\(2, 3, 5, 8\) in FP8 has no gradient; call it under torch.no_grad"):
        residual_norm_fp8(X.clone().requires_grad_(), PER_FRAME, PER_FRAME)
    with torch.no_grad():
        residual_norm_fp8(X.clone().requires_grad_(), PER_FRAME, PER_FRAME)
