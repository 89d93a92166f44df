"""From recordings to windows: what each latent frame is under, and what a train step draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eddyline.errors import ConfigError, TrainingError
from eddyline.recording import Recording
from eddyline_runtime import config
from eddyline_runtime.config import Partition
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.model.text_encoder import ByteTextEncoder
from eddyline_runtime.training import recipes
from eddyline_runtime.training.data import (
    Batch,
    LatentClip,
    LatentData,
    chunk_texts,
    draw_batch,
    encode_recording,
    frames_to_tensor,
)
from eddyline_runtime.training.recipes import MixEntry, Recipe, Stage, mixed_partitions

MakeClip = Callable[..., LatentClip]
MakeData = Callable[..., LatentData]

PLAIN: dict[str, float] = {
    "text_dropout": 0.0,
    "action_dropout": 0.0,
    "hold_action_share": 0.0,
    "early_text_share": 0.0,
    "early_action_share": 0.0,
    "action_change_share": 0.0,
    "change_share": 0.0,
    "stride_share": 0.0,
}
"""Windows as they were recorded."""


def plain(**shares: float) -> Recipe:
    return replace(recipes.tiny(), **(PLAIN | shares))


def stage(partition: Partition, batch: int = 64) -> Stage:
    mix = (MixEntry(partition=partition, weight=1.0),)
    return Stage(name="one partition", frames=partition.buffer_frames, batch=batch, steps=1, mix=mix)


def diagonal(frames: int) -> Partition:
    """Every latent frame a chunk, so that each keeps its own words."""
    return Partition(num_chunks=frames, chunk_frames=1)


def words_of(batch: Batch, data: LatentData) -> list[list[str]]:
    """The text that each latent frame of each row is under, found by its token states."""
    known = {
        tuple(states[mask].flatten().tolist()): text
        for states, mask, text in zip(data.encoded.states.float(), data.encoded.mask, data.texts, strict=True)
    }
    conditioning = batch.conditioning
    named = [
        known[tuple(states[mask].flatten().tolist())]
        for states, mask in zip(conditioning.text, conditioning.text_mask, strict=True)
    ]
    return [[named[index] for index in row] for row in conditioning.text_index.tolist()]


def same(a: Batch, b: Batch) -> bool:
    ours, theirs = a.conditioning, b.conditioning
    return (
        torch.equal(a.latents, b.latents)
        and a.partitions == b.partitions
        and torch.equal(ours.text, theirs.text)
        and torch.equal(ours.text_index, theirs.text_index)
        and torch.equal(ours.actions, theirs.actions)
        and torch.equal(ours.stride, theirs.stride)
        and (a.guidance is None) == (b.guidance is None)
        and torch.equal(torch.rand(4, generator=a.generator), torch.rand(4, generator=b.generator))
    )


def test_the_same_seed_and_step_draw_the_same_batch_whatever_was_drawn_before(data: LatentData, recipe: Recipe) -> None:
    def draw(seed: int, step: int) -> Batch:
        return draw_batch(data, recipe=recipe, stage=recipe.stages[1], seed=seed, step=step)

    first = draw(3, 7)
    torch.manual_seed(99)
    assert same(first, draw(3, 7))
    assert not same(draw(3, 7), draw(3, 8))
    assert not same(draw(3, 7), draw(4, 7))


def test_a_batch_has_the_shapes_of_its_stage(data: LatentData, recipe: Recipe) -> None:
    for each in recipe.stages:
        batch = draw_batch(data, recipe=recipe, stage=each, seed=0, step=0)
        assert batch.latents.shape == (each.batch, each.frames, 4, 4, 6)
        assert batch.latents.dtype == torch.float16
        assert [p.buffer_frames for p in batch.partitions] == [each.frames] * each.batch
        assert batch.conditioning.text_index.shape == (each.batch, each.frames)
        assert batch.conditioning.actions.shape == (each.batch, each.frames, 5)
        assert batch.conditioning.text_index.dtype == batch.conditioning.stride.dtype == torch.int64


def test_texts_are_cut_to_the_longest_in_the_batch(data: LatentData) -> None:
    batch = draw_batch(data, recipe=plain(), stage=stage(diagonal(2)), seed=0, step=0)
    assert batch.conditioning.text.shape[1] == len("a blue square") + 1
    assert bool(batch.conditioning.text_mask.any(1).all())
    assert int(batch.conditioning.text_mask.sum(1).max()) == batch.conditioning.text.shape[1]


@pytest.mark.parametrize("frames", [2, 3, 4, 8])
@pytest.mark.parametrize("change", [1, 2, 6, 10, 11])
def test_a_change_window_holds_the_words_before_and_after(
    frames: int, change: int, latent_clip: MakeClip, latent_data: MakeData
) -> None:
    data = latent_data(latent_clip(0, changes=(change,)))
    batch = draw_batch(data, recipe=plain(change_share=1.0), stage=stage(diagonal(frames)), seed=0, step=0)
    rows = words_of(batch, data)
    assert all(row[0] == "a red square" and row[-1] == "a blue square" for row in rows)
    possible = {change - start for start in range(12 - frames + 1) if start < change < start + frames}
    assert {row.index("a blue square") for row in rows} == possible, "the change is met at every place of the window"


def test_windows_come_from_all_over_a_clip_and_keep_words_pictures_and_actions_together(
    latent_clip: MakeClip, latent_data: MakeData
) -> None:
    clip = latent_clip(0)
    data = latent_data(clip)
    batch = draw_batch(data, recipe=plain(), stage=stage(diagonal(3), batch=128), seed=0, step=0)
    starts = set()
    for row, words in enumerate(words_of(batch, data)):
        start = next(i for i in range(12) if torch.equal(batch.latents[row, 0], clip.latents[i].float()))
        starts.add(start)
        assert torch.equal(batch.latents[row], clip.latents[start : start + 3].float())
        assert torch.equal(batch.conditioning.actions[row], clip.actions[start : start + 3])
        assert words == [data.texts[clip.text[start + i]] for i in range(3)]
    assert starts == set(range(10))


def test_early_words_lie_over_the_whole_window(latent_clip: MakeClip, latent_data: MakeData) -> None:
    data = latent_data(latent_clip(0, changes=(5,)))
    recipe = plain(change_share=1.0, early_text_share=1.0)
    batch = draw_batch(data, recipe=recipe, stage=stage(diagonal(4)), seed=0, step=0)
    assert all(row == ["a blue square"] * 4 for row in words_of(batch, data))


def test_dropped_words_are_the_unconditional_text(latent_clip: MakeClip, latent_data: MakeData) -> None:
    data = latent_data(latent_clip(0))
    batch = draw_batch(data, recipe=plain(text_dropout=1.0), stage=stage(diagonal(4)), seed=0, step=0)
    assert all(row == [""] * 4 for row in words_of(batch, data))
    some = draw_batch(data, recipe=plain(text_dropout=0.3), stage=stage(diagonal(4), batch=400), seed=0, step=0)
    share = sum(row == [""] * 4 for row in words_of(some, data)) / 400
    assert share == pytest.approx(0.3, abs=0.08)


def test_held_actions_are_those_of_the_cut_to_the_end_of_the_window(
    latent_clip: MakeClip, latent_data: MakeData
) -> None:
    clip = latent_clip(0)
    data = latent_data(clip)
    batch = draw_batch(data, recipe=plain(hold_action_share=1.0), stage=stage(diagonal(6)), seed=0, step=0)
    cuts = set()
    for row in range(64):
        start = next(i for i in range(12) if torch.equal(batch.latents[row, 0], clip.latents[i].float()))
        given, recorded = batch.conditioning.actions[row], clip.actions[start : start + 6]
        held = [cut for cut in range(6) if torch.equal(given[cut:], given[cut].expand(6 - cut, -1))]
        assert torch.equal(given[: held[0] + 1], recorded[: held[0] + 1])
        cuts.add(held[0])
    assert cuts == set(range(6))
    assert torch.equal(clip.actions, latent_clip(0).actions), "the recording itself is left alone"


def test_early_actions_lie_over_the_whole_window(latent_clip: MakeClip, latent_data: MakeData) -> None:
    clip = latent_clip(0)
    data = latent_data(clip)
    batch = draw_batch(data, recipe=plain(early_action_share=1.0), stage=stage(diagonal(6)), seed=0, step=0)
    for row in range(64):
        start = next(i for i in range(12) if torch.equal(batch.latents[row, 0], clip.latents[i].float()))
        assert torch.equal(batch.conditioning.actions[row], clip.actions[start + 5].expand(6, -1))
    assert torch.equal(clip.actions, latent_clip(0).actions), "the recording itself is left alone"


def test_dropped_actions_are_zero(latent_clip: MakeClip, latent_data: MakeData) -> None:
    data = latent_data(latent_clip(0))
    batch = draw_batch(data, recipe=plain(action_dropout=1.0), stage=stage(diagonal(6)), seed=0, step=0)
    assert not bool(batch.conditioning.actions.any())


def test_the_stride_share_decides_how_many_windows_skip_frames(data: LatentData) -> None:
    def strides(share: float) -> list[int]:
        drawn = draw_batch(data, recipe=plain(stride_share=share), stage=stage(diagonal(2), 200), seed=0, step=0)
        return drawn.conditioning.stride[:, 0].tolist()

    assert set(strides(0.0)) == {1}
    assert set(strides(1.0)) >= {2, 4}
    assert sum(s > 1 for s in strides(1.0)) / 200 > 0.9, "long searches may end at a plain clip"
    assert sum(s > 1 for s in strides(0.3)) / 200 == pytest.approx(0.3, abs=0.1)


def test_without_strided_clips_long_enough_the_plain_ones_serve(latent_clip: MakeClip, latent_data: MakeData) -> None:
    data = latent_data(latent_clip(0), latent_clip(1, frames=3, changes=(), stride=4))
    batch = draw_batch(data, recipe=plain(stride_share=1.0), stage=stage(diagonal(6), 4), seed=0, step=0)
    assert batch.conditioning.stride.tolist() == [[1] * 6] * 4


def test_windows_longer_than_every_clip_are_refused(data: LatentData) -> None:
    with pytest.raises(TrainingError, match="no clip holds 16 latent frames; record longer clips"):
        draw_batch(data, recipe=plain(), stage=stage(diagonal(16)), seed=0, step=0)


def test_one_long_clip_among_thousands_of_short_ones_is_found(latent_clip: MakeClip, latent_data: MakeData) -> None:
    short = latent_clip(0, frames=1, changes=())
    data = latent_data(*[short] * 5000, latent_clip(1))
    batch = draw_batch(data, recipe=plain(), stage=stage(diagonal(6), 8), seed=0, step=0)
    assert batch.latents.shape[:2] == (8, 6)


def test_a_chunk_is_under_the_words_of_its_last_frame_and_references_under_their_own() -> None:
    text = (1, 2, 3, 4, 5, 6, 7)
    cut = Partition(reference_frames=3, num_chunks=2, chunk_frames=2)
    assert list(chunk_texts(text, cut)) == [1, 2, 3, 5, 5, 7, 7]
    assert list(chunk_texts(text[:4], Partition(num_chunks=1, chunk_frames=4))) == [4] * 4
    assert list(chunk_texts(text[:4], diagonal(4))) == [1, 2, 3, 4]


@given(
    cut=st.builds(
        Partition, reference_frames=st.integers(0, 4), num_chunks=st.integers(1, 5), chunk_frames=st.integers(1, 4)
    ),
    data=st.data(),
)
@settings(deadline=None)
def test_no_chunk_is_under_words_older_than_any_of_its_frames(cut: Partition, data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.integers(0, 1), min_size=cut.buffer_frames, max_size=cut.buffer_frames))
    text = np.cumsum(steps).tolist()  # captions numbered in the order in which they come
    under = list(chunk_texts(text, cut))
    assert len(under) == cut.buffer_frames
    assert under[: cut.reference_frames] == text[: cut.reference_frames]
    assert all(given >= recorded for given, recorded in zip(under, text, strict=True))
    assert under[-1] == text[-1]


def test_the_mix_holds_every_chunk_size_that_fits_the_uniform_scheme_and_reference_frames() -> None:
    for frames in (2, 4, 8, 16):
        mix = mixed_partitions(frames)
        assert {p.partition.buffer_frames for p in mix} == {frames}
        chunks = {p.partition.chunk_frames for p in mix if not p.partition.reference_frames}
        assert chunks == {c for c in (1, 2, 4, 8, 16) if c <= frames}
        assert any(p.partition.num_chunks == 1 for p in mix)
        assert {p.partition.reference_frames for p in mix} - {0} == {k for k in (1, 2, 4) if k < frames}
        assert len({p.partition for p in mix}) == len(mix), "nothing is drawn under two names"


def test_a_recording_becomes_latents_under_the_words_of_each_latent_frames_last_frame(recording: Path) -> None:
    codec = Codec(config.tiny_codec()).eval()
    source = Recording(recording)
    encoded = encode_recording(source, codec=codec, text_encoder=ByteTextEncoder(dim=32, max_tokens=24))
    assert encoded.texts[0] == ""
    assert set(encoded.texts[1:]) == {f"a {colour} square {i}" for colour in ("red", "blue") for i in range(3)}
    assert len(encoded.encoded.states) == len(encoded.texts)

    first = source[0]
    for stride, clip in zip((1, 2, 4), encoded.clips[:3], strict=True):
        count = 48 // stride // 4
        assert (clip.stride, len(clip.text), clip.actions.shape, clip.latents.dtype) == (
            stride,
            count,
            (count, 5),
            torch.float16,
        )
        frames = first.frames[::stride]
        with torch.inference_mode():
            expected = codec.encode(frames_to_tensor(frames)[None])[0]
        torch.testing.assert_close(clip.latents.float(), expected, rtol=1e-2, atol=1e-2)
        last = [(i + 1) * 4 * stride - stride for i in range(count)]
        assert [encoded.texts[index] for index in clip.text] == [first.captions[frame] for frame in last]
        assert torch.equal(clip.actions, torch.from_numpy(first.actions[last]))
    assert encoded.clips[0].changes == (6,), "the caption changes on frame 24, the first of latent frame 6"
    assert sum(clip.stride == 1 for clip in encoded.clips) == len(source)


def test_what_was_encoded_can_be_trained_on(recording: Path) -> None:
    """Tensors of inference mode would stop the first backward."""
    encoded = encode_recording(
        Recording(recording), codec=Codec(config.tiny_codec()), text_encoder=ByteTextEncoder(dim=32, max_tokens=24)
    )
    assert not any(t.is_inference() for clip in encoded.clips for t in (clip.latents, clip.actions))
    assert not encoded.encoded.states.is_inference()


def test_a_recording_without_a_whole_latent_frame_is_refused(tmp_path: Path, record: Callable[..., Path]) -> None:
    encoder = ByteTextEncoder(dim=32, max_tokens=24)
    codec = Codec(config.tiny_codec())
    with pytest.raises(TrainingError, match="no clip has 4 frames; record longer clips"):
        encode_recording(Recording(record(tmp_path, clips=2, frames=3)), codec=codec, text_encoder=encoder)


def test_pixels_go_from_minus_one_to_one() -> None:
    frames = np.array([0, 255, 51], np.uint8).reshape(1, 1, 1, 3)
    assert frames_to_tensor(frames).flatten().tolist() == pytest.approx([-1, 1, -0.6])


def test_a_guided_batch_holds_what_guidance_pulls_away_from(latent_clip: MakeClip, latent_data: MakeData) -> None:
    """No text and no key where words stand alone; where they continue a caption, that one under the same keys."""
    whole = latent_data(latent_clip(0))
    texts = ("", "a red square", "a red square, night falls", "a cat", "a dog")
    clip = replace(whole.clips[0], text=(1, 1, 2, 2, 3, 3))
    clip = replace(clip, latents=clip.latents[:6], actions=clip.actions[:6])
    data = LatentData((clip,), texts, ByteTextEncoder(dim=32, max_tokens=32).encode(texts))
    guided = replace(stage(diagonal(6), 2), guidance_scale=2.0, event_guidance_scale=3.0)
    batch = draw_batch(data, recipe=plain(), stage=guided, seed=0, step=0)
    assert batch.guidance is not None
    away = replace(batch, conditioning=batch.guidance.away)
    assert words_of(batch, data) == [[texts[i] for i in (1, 1, 2, 2, 3, 3)]] * 2
    assert words_of(away, data) == [[texts[i] for i in (0, 0, 1, 1, 0, 0)]] * 2
    keys = batch.guidance.away.actions
    assert torch.equal(keys[:, 2:4], batch.conditioning.actions[:, 2:4])
    assert not keys[:, :2].any()
    assert not keys[:, 4:].any()
    assert batch.conditioning.actions.abs().sum(dim=(0, 2)).all()
    assert batch.guidance.scales.tolist() == [[2, 2, 3, 3, 2, 2]] * 2
    batch = draw_batch(data, recipe=plain(), stage=replace(guided, event_guidance_scale=None), seed=0, step=0)
    assert batch.guidance is not None
    away = words_of(replace(batch, conditioning=batch.guidance.away), data)
    assert away == [[""] * 6] * 2
    assert batch.guidance.scales.unique().tolist() == [2.0]
    events_only = replace(stage(diagonal(6), 2), event_guidance_scale=3.0)
    batch = draw_batch(data, recipe=plain(), stage=events_only, seed=0, step=0)
    assert batch.guidance is not None
    assert batch.guidance.scales.tolist() == [[1, 1, 3, 3, 1, 1]] * 2
    assert draw_batch(data, recipe=plain(), stage=stage(diagonal(6), 2), seed=0, step=0).guidance is None


def test_under_newer_keys_than_a_window_shows_guidance_pulls_away_from_those_before(
    latent_clip: MakeClip, latent_data: MakeData
) -> None:
    none, left, right = [0.0] * 5, [1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0]
    clip = replace(latent_clip(0, frames=12), text=(1,) * 12, actions=torch.tensor([left] * 6 + [right] * 6))
    data = replace(latent_data(clip), clips=(clip,))
    pressed = replace(stage(diagonal(6)), action_guidance_scale=5.0)
    recipe = plain(early_action_share=1.0, action_change_share=1.0)
    batch = draw_batch(data, recipe=recipe, stage=pressed, seed=0, step=0)
    assert batch.guidance is not None
    assert batch.conditioning.actions.unique(dim=1).tolist() == [[right]] * 64, "the newest key lies over all"
    assert batch.guidance.away.actions.unique(dim=1).tolist() == [[left]] * 64, "every window shows the change"
    assert torch.equal(batch.guidance.away.text_index, batch.conditioning.text_index)
    assert batch.guidance.scales.unique().tolist() == [5.0]
    assert batch.latents.unique(dim=0).shape[0] > 1, "windows begin at different times before the change"
    mixed = draw_batch(data, recipe=replace(recipe, action_change_share=0.0), stage=pressed, seed=0, step=0)
    assert mixed.guidance is not None
    steady = (mixed.guidance.scales == 1).all(dim=1)
    assert steady.any()
    assert not steady.all()
    assert mixed.guidance.away.actions[steady].unique(dim=0).unique(dim=1).tolist() == [[none]]
    assert draw_batch(data, recipe=recipe, stage=stage(diagonal(6)), seed=0, step=0).guidance is None


def test_steady_windows_are_under_one_caption_from_end_to_end(latent_clip: MakeClip, latent_data: MakeData) -> None:
    clip = latent_clip(0, frames=12)
    spoken = replace(clip, text=(1, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3, 3))
    data = replace(latent_data(latent_clip(0)), clips=(spoken,), texts=("", "a", "b", "c"))
    data = replace(data, encoded=ByteTextEncoder(dim=32, max_tokens=24).encode(data.texts))
    one = replace(stage(Partition(num_chunks=1, chunk_frames=4)), steady=True)
    batch = draw_batch(data, recipe=plain(change_share=1.0), stage=one, seed=0, step=0)
    starts = {0, 1, 7, 8}
    known = {start: spoken.latents[start : start + 4] for start in starts}
    drawn = [next(start for start in starts if torch.equal(known[start], window)) for window in batch.latents]
    assert set(drawn) == starts


def test_a_recording_without_steady_windows_is_refused(latent_clip: MakeClip, latent_data: MakeData) -> None:
    restless = replace(latent_clip(0, frames=6), text=(1, 0, 1, 0, 1, 0))
    data = replace(latent_data(latent_clip(0)), clips=(restless,))
    one = replace(stage(Partition(num_chunks=1, chunk_frames=4)), steady=True)
    with pytest.raises(TrainingError, match="4 latent frames under one caption"):
        draw_batch(data, recipe=plain(), stage=one, seed=0, step=0)


@pytest.mark.parametrize("wrong", [(0.5, 0.5), (-0.1, 0.5), (0.5, 1.1)])
def test_a_stage_with_an_impossible_range_of_tau_is_refused(wrong: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="give a range within 0 to 1"):
        replace(stage(diagonal(4)), one_chunk_tau=wrong)


@pytest.mark.parametrize("wrong", [{"teacher_steps": 0, "denoise_steps": 4}, {"teacher_steps": 4}])
def test_a_stage_that_distils_says_how_the_student_and_the_teacher_step(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="distillation needs both"):
        replace(stage(diagonal(4)), **wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"own_steps": 1}, {"own_steps": -1, "denoise_steps": 4}, {"own_steps": 1, "denoise_steps": 4, "teacher_steps": 2}],
)
def test_a_stage_of_own_steps_says_how_long_they_are_and_has_no_teacher(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="own steps are 0 or more"):
        replace(stage(diagonal(4)), **wrong)


@pytest.mark.parametrize(("chunks", "own_steps"), [(4, 3), (1, 1), (2, 2)])
def test_own_steps_that_begin_out_of_sight_of_the_recording_are_refused(chunks: int, own_steps: int) -> None:
    with pytest.raises(ConfigError, match="walk fewer steps"):
        replace(stage(Partition(num_chunks=chunks, chunk_frames=1)), denoise_steps=4, own_steps=own_steps)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_the_share_of_uniform_noise_is_what_was_asked_for(share: float) -> None:
    mix = recipes.mixed_partitions(8, uniform_share=share)
    uniform = [entry.weight for entry in mix if entry.partition == Partition(num_chunks=1, chunk_frames=8)]
    assert sum(uniform) / sum(entry.weight for entry in mix) == pytest.approx(share)
    assert {entry.partition.chunk_frames for entry in mix} == {1, 2, 4, 8}
    assert {entry.partition.reference_frames for entry in mix} == {0, 1, 2, 4}


def test_only_as_many_clips_are_encoded_as_are_asked_for(recording: Path) -> None:
    codec, encoder = Codec(config.tiny_codec()), ByteTextEncoder(dim=32, max_tokens=24)
    some = encode_recording(Recording(recording), codec=codec, text_encoder=encoder, limit=2)
    every = encode_recording(Recording(recording), codec=codec, text_encoder=encoder)
    assert len([clip for clip in some.clips if clip.stride == 1]) == 2
    assert len([clip for clip in every.clips if clip.stride == 1]) == len(Recording(recording)) > 2


def test_guidance_pulls_a_continued_caption_away_from_what_it_continues(
    latent_clip: MakeClip, latent_data: MakeData
) -> None:
    plain = latent_data(latent_clip(0))
    texts = ("", "a red square", "a red square, night falls", "a red squareness", "a cat")
    clip = latent_clip(0, frames=12)
    spoken = LatentClip(clip.latents, (1, 1, 1, 2, 2, 2, 1, 3, 3, 4, 4, 1), clip.actions, 1)
    assert LatentData((spoken,), texts, plain.encoded).away.tolist() == [0, 0, 1, 0, 0]
