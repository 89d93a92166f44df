"""The codec: streaming equals offline, causes come before effects, its start is exact where it can be."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eddyline.errors import ConfigError
from eddyline_kernels.bilateral import bilateral_filter
from eddyline_runtime import config
from eddyline_runtime.model.codec import Codec, DecoderState, stack_states
from eddyline_runtime.weights import World

LATENTS = 6
HEIGHT, WIDTH = 32, 48


@pytest.fixture
def codec(tiny: World) -> Codec:
    return tiny.codec


def draw_latents(batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, LATENTS, 4, 4, 6, generator=torch.Generator().manual_seed(seed))


def draw_frames(batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, LATENTS * 4, 3, HEIGHT, WIDTH, generator=generator) * 2 - 1


@st.composite
def cuts(draw: st.DrawFn) -> list[int]:
    """LATENTS latent frames cut into pieces."""
    edges = sorted(draw(st.sets(st.integers(1, LATENTS - 1))))
    return [b - a for a, b in zip([0, *edges], [*edges, LATENTS], strict=True)]


def filtering(codec: Codec, reach: float) -> Codec:
    """A codec of the same weights that evens neighbours out."""
    other = Codec(replace(codec.config, filter_reach=reach))
    other.load_state_dict(codec.state_dict())
    return other.eval().requires_grad_(False)


@given(parts=cuts(), reach=st.sampled_from((0.0, 60.0)))
@settings(deadline=None, max_examples=20)
def test_decoding_in_pieces_equals_decoding_at_once(tiny: World, parts: list[int], reach: float) -> None:
    codec = filtering(tiny.codec, reach)
    whole, _ = codec.decode(draw_latents())
    state: DecoderState | None = None
    pieces = []
    for piece in draw_latents().split(parts, dim=1):
        frames, state = codec.decode(piece, state)
        assert frames.shape == (2, 4 * piece.shape[1], 3, HEIGHT, WIDTH), "every latent frame gives four frames"
        pieces.append(frames)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-4, atol=1e-4)


@given(parts=cuts())
@settings(deadline=None, max_examples=10)
def test_encoding_in_pieces_equals_encoding_at_once(tiny: World, parts: list[int]) -> None:
    frames = draw_frames()
    pieces = [tiny.codec.encode(piece) for piece in frames.split([4 * part for part in parts], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), tiny.codec.encode(frames), rtol=1e-4, atol=1e-4)


def test_neighbours_are_evened_out_in_what_is_shown_and_not_in_what_is_learned_on(codec: Codec) -> None:
    filters = filtering(codec, 60.0)
    plain, state = codec.decode(draw_latents())
    shown, after = filters.decode(draw_latents())
    assert torch.equal(filters.decode_unfiltered(draw_latents())[0], plain)
    assert torch.equal(shown, bilateral_filter(plain.flatten(0, 1), reach=60 / 127.5).view_as(plain))
    assert not torch.equal(shown, plain)
    assert torch.equal(after.last, state.last)


@pytest.mark.parametrize("reach", [-1.0, 500.0, math.nan])
def test_a_reach_that_is_no_difference_of_colours_is_refused(reach: float) -> None:
    with pytest.raises(ConfigError, match=f"filter_reach is {reach}; give 0 for no filter, or up to 442 levels"):
        replace(config.tiny_codec(), filter_reach=reach)


def test_a_latent_frame_shows_in_its_own_four_frames_and_the_next_four_only(codec: Codec) -> None:
    before, _ = codec.decode(draw_latents())
    moved = draw_latents()
    moved[:, 2] += 1.0
    after, _ = codec.decode(moved)
    differs = ((before - after).abs() > 1e-4).flatten(2).any(2)
    assert differs.any(0).nonzero()[:, 0].tolist() == list(range(8, 16))


def test_a_frame_shows_in_its_own_latent_frame_only(codec: Codec) -> None:
    before = codec.encode(draw_frames())
    moved = draw_frames()
    moved[:, 9] = 0.0
    differs = ((before - codec.encode(moved)).abs() > 1e-4).flatten(2).any(2)
    assert differs.any(0).nonzero()[:, 0].tolist() == [2]


def test_streams_joined_into_a_batch_go_on_as_they_would_alone(codec: Codec) -> None:
    states, alone = [], []
    for seed in (1, 2, 3):
        stream = draw_latents(1, seed)
        _, state = codec.decode(stream[:, :3])
        states.append(state)
        alone.append(codec.decode(stream[:, 3:], state)[0])
    batch = torch.cat([draw_latents(1, seed)[:, 3:] for seed in (1, 2, 3)])
    together, after = codec.decode(batch, stack_states(states))
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
    assert torch.equal(after.row(1).last, draw_latents(1, 2)[:, -1:])


def test_the_state_before_a_stream_is_that_of_an_empty_past(codec: Codec) -> None:
    latents = draw_latents()
    fresh, _ = codec.decode(latents)
    started, _ = codec.decode(latents, codec.start_state(latents))
    assert torch.equal(fresh, started)


@pytest.mark.parametrize("shape", [(1, 6, 3, 32, 48), (1, 4, 3, 30, 48), (1, 4, 3, 32, 50)])
def test_pictures_that_do_not_split_into_cells_are_refused(codec: Codec, shape: tuple[int, ...]) -> None:
    message = f"{shape[1]} frames of {shape[4]}x{shape[3]} do not split into cells of 4x8x8; crop or pad"
    with pytest.raises(ConfigError, match=message):
        codec.encode(torch.zeros(shape))


def test_cells_hold_every_value_once_and_in_place(codec: Codec) -> None:
    frames = draw_frames(1)
    cells = codec.cells(frames)
    assert cells.shape == (1, LATENTS, 4, 6, 768)
    assert torch.equal(cells[0, 2, 1, 3].view(4, 3, 8, 8), frames[0, 8:12, :, 8:16, 24:32])


def subspace(rank: int, count: int) -> Tensor:
    """Cells that lie in a subspace of `rank` dimensions, off the origin, with deviations that fall from 8 to 1."""
    generator = torch.Generator().manual_seed(4)
    basis = torch.linalg.qr(torch.randn(768, rank, generator=generator))[0]
    weights = torch.randn(count, rank, generator=generator) * torch.linspace(8, 1, rank)
    return 0.3 + weights @ basis.T


def test_a_fitted_codec_returns_data_of_few_dimensions_exactly() -> None:
    cells = subspace(rank=4, count=1000)
    codec = Codec(config.tiny_codec()).eval()  # four latent channels; the corrections of an untrained codec are zero
    codec.fit_linear(cells)
    grid = cells[: 2 * 4 * 6].view(1, 2, 4, 6, 768)
    frames = rearrange(grid, "b f y x (t c p q) -> b (f t) c (y p) (x q)", t=4, c=3, p=8, q=8)
    decoded, _ = codec.decode(codec.encode(frames))
    torch.testing.assert_close(decoded, frames, rtol=1e-3, atol=1e-3)


def test_fitted_latents_have_unit_deviation_overall_and_lose_half_of_their_lead() -> None:
    cells = subspace(rank=4, count=4000)
    codec = Codec(config.tiny_codec())
    codec.fit_linear(cells)
    variance = codec.linear_in(cells).var(0)
    assert codec.linear_in(cells).mean(0).abs().max().item() < 1e-3
    assert variance.mean().item() == pytest.approx(1, rel=1e-3)
    # a component of deviation d is divided by sqrt(d): variances are as the deviations 8 : ... : 1 were
    assert (variance[0] / variance[3]).item() == pytest.approx(8, rel=0.1)
    assert bool((variance.diff() < 0).all()), "coarse content comes first"


def test_fitting_to_too_few_cells_is_refused() -> None:
    with pytest.raises(ConfigError, match="700 cells do not span 768 values; record more frames"):
        Codec(config.tiny_codec()).fit_linear(torch.zeros(700, 768))
