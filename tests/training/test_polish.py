"""Polishing the decoder: it learns, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eddyline.errors import TrainingError
from eddyline.recording import Recording
from eddyline_runtime import config
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.model.streamdit import StreamDiT
from eddyline_runtime.model.text_encoder import ByteTextEncoder
from eddyline_runtime.training.checkpoint import encoder_digest
from eddyline_runtime.training.codec_trainer import fit_linear
from eddyline_runtime.training.polish import cut_window, euler, polish_decoder, redreamed, words_of
from eddyline_runtime.training.recipes import Recipe


@pytest.fixture
def codec(recording: Path) -> Codec:
    torch.manual_seed(0)
    codec = Codec(config.tiny_codec())
    fit_linear(codec, Recording(recording), frames=400, seed=0)
    return codec


def polish(codec: Codec, recording: Path, recipe: Recipe) -> StreamDiT:
    torch.manual_seed(1)
    model = StreamDiT(config.tiny())
    polish_decoder(
        codec,
        model,
        Recording(recording),
        text_encoder=ByteTextEncoder(dim=32, max_tokens=24),
        plan=recipe.polish,
        seed=0,
        device="cpu",
    )
    return model


def test_only_the_decoder_changes(codec: Codec, recording: Path, recipe: Recipe) -> None:
    codec.requires_grad_(False)  # as a world's that was loaded
    encoder, decoder = encoder_digest(codec), codec.linear_out.weight.clone()
    model = polish(codec, recording, recipe)
    torch.manual_seed(1)
    untouched = StreamDiT(config.tiny())
    assert encoder_digest(codec) == encoder
    assert not torch.equal(codec.linear_out.weight, decoder)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), untouched.parameters(), strict=True))


def test_a_codec_that_evens_neighbours_out_learns_what_one_without_does(recording: Path, recipe: Recipe) -> None:
    learned = []
    for reach in (0.0, 60.0):
        torch.manual_seed(0)
        codec = Codec(replace(config.tiny_codec(), filter_reach=reach))
        fit_linear(codec, Recording(recording), frames=400, seed=0)
        polish(codec, recording, recipe)
        learned.append(codec.linear_out.weight)
    assert torch.equal(*learned)


def test_what_the_model_dreams_is_decoded_better_afterwards(codec: Codec, recording: Path, recipe: Recipe) -> None:
    """The model is untrained: it takes out noise as well as a linear guess can, so what it dreams is far too flat."""
    window = cut_window(Recording(recording)[0], codec, 4, np.random.default_rng(3))
    torch.manual_seed(1)
    model = StreamDiT(config.tiny())
    words = words_of([window], ByteTextEncoder(dim=32, max_tokens=24), "cpu")
    dreamed = redreamed(model, window.latents[None], words, recipe.polish, torch.Generator().manual_seed(7))

    def error() -> float:
        with torch.no_grad():
            return (codec.decode(dreamed)[0][0] - window.pixels).square().mean().item()

    before = error()
    polish(codec, recording, replace(recipe, polish=replace(recipe.polish, steps=150, learning_rate=3e-3)))
    assert error() < 0.85 * before


def test_clips_that_are_too_short_are_named(codec: Codec, recording: Path, recipe: Recipe) -> None:
    with pytest.raises(TrainingError, match="no clip has 400 frames, which training needs; record longer clips"):
        polish(codec, recording, replace(recipe, polish=replace(recipe.polish, latent_frames=100)))


def test_windows_are_integrated_from_where_they_were_noised_to_clean() -> None:
    """On the exact straight path every number of steps arrives at the clean latents."""
    clean, noise = torch.randn(2, 1, 3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    for steps, start in ((1, 0.75), (2, 0.5), (3, 0.25)):
        path = start * clean + (1 - start) * noise
        assert torch.allclose(euler(lambda x, tau: clean - noise, path, start=start, steps=steps), clean, atol=1e-6)
