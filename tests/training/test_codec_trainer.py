"""Training the codec: principal components of whatever was recorded, short clips left out, NaN refused."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from eddyline.errors import CheckpointError, ConfigError, TrainingError
from eddyline.recording import RecordedClip, Recording
from eddyline_runtime.config import tiny_codec
from eddyline_runtime.model.codec import Codec, DecoderState
from eddyline_runtime.training import codec_trainer, recipes
from eddyline_runtime.training.checkpoint import save_checkpoint
from eddyline_runtime.training.codec_trainer import (
    CODEC_CHECKPOINT,
    TRAINED_CODEC,
    choose_filter,
    fit_linear,
    held_out_psnr,
    train_codec,
)
from eddyline_runtime.training.recipes import Recipe
from eddyline_runtime.weights import load_into


def codec_recipe(**changes: float) -> Recipe:
    recipe = recipes.tiny()
    return replace(recipe, codec_training=replace(recipe.codec_training, **changes))


@pytest.fixture(scope="session")
def mixed(record: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Long clips and, between them, clips too short to train on."""
    folder = tmp_path_factory.mktemp("mixed")
    for clips, frames in ((2, 48), (3, 5), (2, 48)):
        record(folder, clips=clips, frames=frames)
    return Recording(folder)


class Weaving(Codec):
    """A codec that gives frames back as they were, with a weave of some levels of 255 in them."""

    def __init__(self, levels: float) -> None:
        super().__init__(tiny_codec())
        self.levels = levels
        self.encoded = torch.empty(0)

    def encode(self, frames: Tensor) -> Tensor:
        self.encoded = frames
        return torch.zeros(len(frames), frames.shape[1] // 4, 4, 4, 6)

    def decode_unfiltered(self, latents: Tensor, state: DecoderState | None = None) -> tuple[Tensor, DecoderState]:
        weave = torch.randn(self.encoded.shape, generator=torch.Generator().manual_seed(0)) * self.levels / 127.5
        return self.encoded + weave, DecoderState(latents[:, -1:])


class Textures:
    """One clip whose every pixel is some levels of 255 off its flat picture."""

    def __init__(self, recording: Path, levels: float) -> None:
        clip = Recording(recording)[0]
        texture = np.random.default_rng(0).normal(0, levels, clip.frames.shape)
        self.clip = replace(clip, frames=(clip.frames + texture).clip(0, 255).astype(np.uint8))

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> RecordedClip:
        return self.clip


def test_frames_are_filtered_as_far_as_that_brings_them_nearer_to_what_was_recorded(recording: Path) -> None:
    weaving = Weaving(levels=4)
    plain = held_out_psnr(weaving, Textures(recording, levels=0))
    reached = choose_filter(weaving, Textures(recording, levels=0))
    assert weaving.config.filter_reach > 0
    assert reached == held_out_psnr(weaving, Textures(recording, levels=0)) > plain + 0.5


def test_pictures_with_a_fine_texture_are_not_filtered(recording: Path) -> None:
    weaving = Weaving(levels=1)
    choose_filter(weaving, Textures(recording, levels=8))
    assert weaving.config.filter_reach == 0


def test_the_trained_codec_beats_the_closed_form_and_is_what_was_saved(
    recording: Path, held_out: Path, tmp_path: Path
) -> None:
    source, other = Recording(recording), Recording(held_out)
    fitted = Codec(tiny_codec())
    fit_linear(fitted, source, frames=400, seed=0)
    recipe = codec_recipe(steps=25, learning_rate=3e-3)
    trained, report = train_codec(source, other, recipe=recipe, seed=0, out=tmp_path, device="cpu")
    assert report.steps == 25
    assert report.psnr_db == pytest.approx(held_out_psnr(trained, other))
    assert report.psnr_db > held_out_psnr(fitted, other) > 12
    loaded = Codec(tiny_codec())
    load_into(loaded, tmp_path / TRAINED_CODEC)
    latents = torch.randn(1, 2, 4, 4, 6)
    assert torch.equal(loaded.decode(latents)[0], trained.decode(latents)[0]), "to the last bit, also in its layout"


def test_clips_too_short_are_left_out(mixed: Recording, tmp_path: Path) -> None:
    _, report = train_codec(mixed, mixed, recipe=codec_recipe(), seed=0, out=tmp_path, device="cpu")
    assert math.isfinite(report.psnr_db)


def test_a_few_long_clips_are_enough_to_fit(recording: Path) -> None:
    """Fewer clips than windows: windows are drawn from the same clips again."""

    class One:
        def __init__(self, source: Recording) -> None:
            self.info, self._clip = source.info, source[0]

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> object:
            return self._clip

    fit_linear(Codec(tiny_codec()), One(Recording(recording)), frames=400, seed=0)  # type: ignore[arg-type]


def test_recordings_of_short_clips_only_are_refused(record: Callable[..., Path], tmp_path: Path) -> None:
    source = Recording(record(tmp_path, clips=3, frames=5))
    with pytest.raises(TrainingError, match="no clip has 8 frames, which training the codec needs; record longer"):
        fit_linear(Codec(tiny_codec()), source, frames=400, seed=0)


def test_too_few_frames_to_fit_are_refused(recording: Path) -> None:
    with pytest.raises(ConfigError, match="48 cells do not span 768 values; record more frames"):
        fit_linear(Codec(tiny_codec()), Recording(recording), frames=8, seed=0)


def test_a_loss_that_is_not_finite_stops_with_its_step(recording: Path, held_out: Path, tmp_path: Path) -> None:
    recipe = codec_recipe(learning_rate=1e30, steps=8)
    with pytest.raises(
        TrainingError, match=r"the codec's loss is (nan|inf), .* at train step [1-7]; .* keeps the last good state"
    ):
        train_codec(Recording(recording), Recording(held_out), recipe=recipe, seed=0, out=tmp_path, device="cpu")
    assert not (tmp_path / TRAINED_CODEC).exists()


def test_of_a_long_clip_only_a_stretch_is_kept(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_trainer, "POOL_FRAMES", 12)
    rng, source = np.random.default_rng(0), Recording(recording)
    stretches = [codec_trainer.draw_clip(source, 8, rng) for _ in range(20)]
    assert {(len(s.frames), len(s.captions), len(s.actions)) for s in stretches} == {(12, 12, 12)}
    assert all(stretch.frames.base is None for stretch in stretches), "a view would keep the whole clip"
    assert len({stretch.frames.tobytes() for stretch in stretches}) > 10, "from anywhere in the clip"
    assert len(codec_trainer.draw_clip(source, 40, rng).frames) == 40, "but never less than what is asked for"


class FewLong:
    """Thousands of clips of a frame each, and one that is longer."""

    def __init__(self, recording: Path) -> None:
        self.long = Recording(recording)[0]
        self.short = replace(self.long, frames=self.long.frames[:1])

    def __len__(self) -> int:
        return 5000

    def __getitem__(self, index: int) -> RecordedClip:
        return self.long if index == 1234 else self.short


def test_one_long_clip_among_thousands_of_short_ones_is_found(recording: Path) -> None:
    source, rng = FewLong(recording), np.random.default_rng(0)
    assert {len(codec_trainer.draw_clip(source, 8, rng).frames) for _ in range(8)} == {48}


def test_a_codec_that_was_stopped_is_trained_on_to_the_same_end(
    recording: Path, held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec_trainer, "POOL_START", 3)
    monkeypatch.setattr(codec_trainer, "POOL_CLIPS", 2)
    source, other, recipe = Recording(recording), Recording(held_out), codec_recipe(steps=8)
    (whole_folder := tmp_path / "whole").mkdir()
    whole, report = train_codec(source, other, recipe=recipe, seed=0, out=whole_folder, device="cpu")
    real_loss, calls = codec_trainer._codec_loss, 0

    def press_ctrl_c_at_step_five(*given: object) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 6:
            signal.raise_signal(signal.SIGINT)
        return real_loss(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(codec_trainer, "_codec_loss", press_ctrl_c_at_step_five)
        with pytest.raises(TrainingError, match=r"stopped after 6 train steps of the codec; run .* with --resume"):
            train_codec(source, other, recipe=recipe, seed=0, out=tmp_path, device="cpu")
    assert not (tmp_path / TRAINED_CODEC).exists()
    resumed, again = train_codec(source, other, recipe=recipe, seed=0, out=tmp_path, device="cpu", resume=True)
    assert again == report
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    assert not (tmp_path / CODEC_CHECKPOINT).exists(), "what is done needs none"


def test_a_codec_checkpoint_of_another_recipe_is_refused(recording: Path, held_out: Path, tmp_path: Path) -> None:
    recipe = codec_recipe(steps=2)
    codec = Codec(recipe.codec)
    save_checkpoint(tmp_path / CODEC_CHECKPOINT, step=1, recipe="{}", codec="", model=codec, ema={}, optimisers=[])
    with pytest.raises(CheckpointError, match="was written by another recipe"):
        train_codec(
            Recording(recording), Recording(held_out), recipe=recipe, seed=0, out=tmp_path, device="cpu", resume=True
        )


def test_psnr_is_measured_against_a_range_of_two(held_out: Path) -> None:
    class Off(Codec):
        """Errs by 0.02 everywhere, a hundredth of the range: 40 dB."""

        def encode(self, frames: Tensor) -> Tensor:
            return frames

        def decode(self, latents: Tensor, state: DecoderState | None = None) -> tuple[Tensor, DecoderState]:
            return torch.where(latents > 0, latents - 0.02, latents + 0.02), self.start_state(latents)

    assert held_out_psnr(Off(tiny_codec()), Recording(held_out)) == pytest.approx(40, abs=0.01)
