"""The bilateral filter in plain torch: against its formula, pixel by pixel, and what it is for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eddyline_kernels.bilateral import bilateral_filter
from eddyline_kernels.errors import KernelInputError


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_the_formula(frame: Tensor, reach: float) -> Tensor:
    """A frame [3, H, W] in float64, one pixel after the other."""
    _, height, width = frame.shape
    smooth = torch.empty_like(frame)
    for y in range(height):
        for x in range(width):
            around = frame[:, max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].flatten(1)
            apart = (around - frame[:, y, x, None]).square().sum(0).sqrt()
            weight = (1 - (apart / reach) ** 2).clamp(min=0) ** 2
            smooth[:, y, x] = (around * weight).sum(1) / weight.sum()
    return smooth


@given(height=st.integers(1, 9), width=st.integers(1, 9), reach=st.floats(0.05, 4.0), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_every_pixel_is_the_mean_of_those_around_it_that_are_of_nearly_its_colour(
    height: int, width: int, reach: float, seed: int
) -> None:
    frames = draw(2, 3, height, width, seed=seed)
    expected = torch.stack([by_the_formula(frame, reach) for frame in frames.double()]).float()
    torch.testing.assert_close(bilateral_filter(frames, reach=reach), expected, rtol=1e-4, atol=1e-5)


def test_a_weave_is_taken_out_on_both_sides_of_an_outline_that_stays() -> None:
    drawn = torch.zeros(1, 3, 12, 16)
    drawn[..., 8:] = 0.5
    weave = 0.02 * draw(1, 3, 12, 16)
    left = (bilateral_filter(drawn + weave, reach=0.25) - drawn).std()
    assert left < 0.35 * weave.std()


def test_what_is_given_stays_as_it_is() -> None:
    frames = draw(1, 3, 6, 6)
    kept = frames.clone()
    bilateral_filter(frames, reach=1.0)
    assert torch.equal(frames, kept)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_frames_of_half_precision_are_filtered_in_float32(dtype: torch.dtype) -> None:
    frames = draw(1, 3, 6, 6).to(dtype)
    assert torch.equal(bilateral_filter(frames, reach=1.0), bilateral_filter(frames.float(), reach=1.0))


@pytest.mark.parametrize(
    "frames", [torch.zeros(3, 6, 6), torch.zeros(1, 4, 6, 6), torch.zeros(1, 3, 6, 6, dtype=torch.uint8)]
)
def test_what_is_no_picture_is_refused_with_its_shape(frames: Tensor) -> None:
    with pytest.raises(KernelInputError, match=r"frames \(.*\) of torch.* are no pictures; pass \[N, 3, H, W\]"):
        bilateral_filter(frames, reach=1.0)


@pytest.mark.parametrize("reach", [0.0, -1.0, float("nan")])
def test_a_reach_that_reaches_nothing_is_refused(reach: float) -> None:
    with pytest.raises(KernelInputError, match=f"reach is {reach}; pass a difference of colours above 0"):
        bilateral_filter(draw(1, 3, 6, 6), reach=reach)


def test_a_gradient_is_refused_and_none_is_asked_for_without_grad_mode() -> None:
    frames = draw(1, 3, 6, 6).requires_grad_()
    with pytest.raises(KernelInputError, match=r"frames \(1, 3, 6, 6\) has no gradient; learn on what comes before it"):
        bilateral_filter(frames, reach=1.0)
    with torch.no_grad():
        assert not bilateral_filter(frames, reach=1.0).requires_grad
