"""The bilateral filter in Triton, run by Triton's interpreter, against plain torch in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from eddyline_kernels import backend
from eddyline_kernels.bilateral import bilateral_filter, reference
from eddyline_runtime import config
from eddyline_runtime.model.codec import Codec

pytestmark = pytest.mark.usefixtures("interpreter")
REACH = 1.5


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return (0.5 * torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))).to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("shape", [(2, 3, 24, 40), (1, 3, 7, 5), (3, 3, 1, 1), (1, 3, 1, 700), (1, 3, 600, 2)])
@pytest.mark.usefixtures("nan_scratch")
def test_it_errs_at_most_twice_as_much_as_plain_torch(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    frames = draw(*shape, dtype=dtype)
    before = backend.launches["bilateral_filter"]
    ours = bilateral_filter(frames, reach=REACH)
    assert backend.launches["bilateral_filter"] == before + 1
    exact = reference.bilateral_filter(frames.double(), REACH)
    plain = reference.bilateral_filter(frames, REACH)
    assert (ours.shape, ours.dtype) == (plain.shape, torch.float32)
    assert (ours.double() - exact).norm() <= 2 * (plain.double() - exact).norm() + 1e-6
    if min(shape[2:]) > 1:
        assert (exact - frames.double()).norm() > 0.1 * frames.double().norm(), "there was something to even out"


def test_frames_do_not_see_each_other_nor_what_lies_around_them() -> None:
    frames = draw(3, 3, 6, 9)
    alone = bilateral_filter(frames[1:2].clone(), reach=REACH)
    frames[0], frames[2] = float("nan"), float("nan")
    assert torch.equal(bilateral_filter(frames, reach=REACH)[1:2], alone)


def test_frames_that_lie_apart_are_filtered_all_the_same() -> None:
    frames = draw(2, 9, 6, 3).permute(0, 3, 2, 1)
    torch.testing.assert_close(bilateral_filter(frames, reach=REACH), reference.bilateral_filter(frames, REACH))


def test_no_frames_are_filtered_to_none_and_nothing_is_launched() -> None:
    before = backend.launches["bilateral_filter"]
    assert bilateral_filter(draw(0, 3, 6, 6), reach=REACH).shape == (0, 3, 6, 6)
    assert backend.launches["bilateral_filter"] == before


def test_a_codec_with_a_filter_decodes_through_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec(replace(config.tiny_codec(), filter_reach=60.0)).eval()
    latents = draw(2, 3, codec.config.latent_channels, 2, 3)
    before = backend.launches["bilateral_filter"]
    with torch.no_grad():
        ours, _ = codec.decode(latents)
        assert backend.launches["bilateral_filter"] == before + 1
        monkeypatch.setenv(backend.VARIABLE, "reference")
        plain, _ = codec.decode(latents)
    torch.testing.assert_close(ours, plain)
