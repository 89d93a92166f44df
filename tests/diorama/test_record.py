"""Recordings of the diorama: the same from the same seed, true to their labels, never a held-out combination."""

import subprocess
import sys
from collections import Counter
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pytest
from examples.diorama import held_out, vocabulary
from examples.diorama.record import clip_seed, record, render_clip, shots
from examples.diorama.world import State

from eddyline.recording import Recording


def test_the_same_seed_gives_the_same_clip() -> None:
    first, second, other = render_clip(5, 48), render_clip(5, 48), render_clip(6, 48)
    assert np.array_equal(first.frames, second.frames)
    assert first.captions == second.captions
    assert first.labels == second.labels
    assert np.array_equal(first.actions, second.actions)
    assert not np.array_equal(first.frames, other.frames)


def test_a_caption_changes_only_on_the_frame_on_which_a_label_changes() -> None:
    changed_words = changed_labels = 0
    for seed in range(60):
        taken = list(shots(seed, 128))
        for before, after in pairwise(taken):
            if before.world.state == after.world.state:
                assert before.caption == after.caption
            else:
                changed_labels += 1
                changed_words += before.caption != after.caption
    assert changed_words > 0.98 * changed_labels  # two wordings may agree by chance


def test_actions_are_the_held_keys_and_drive_the_labels() -> None:
    for seed in range(20):
        for shot in shots(seed, 64):
            actions = dict(zip(vocabulary.ACTION_NAMES, shot.actions(), strict=True))
            assert {name for name, value in actions.items() if value} == shot.keys
            if actions["ArrowUp"]:
                assert shot.world.state.doing == "jumps"
            if shot.world.state.doing == "walks left":
                assert actions["ArrowLeft"]


def test_recordings_never_show_a_held_out_combination() -> None:
    for index in range(300):
        for shot in shots(clip_seed(0, index), 128):
            assert not held_out.is_held_out(shot.world.state)


def test_every_value_and_every_change_is_recorded() -> None:
    seen: dict[str, set[str]] = {name: set() for name in vocabulary.VALUES}
    changed = set()
    for index in range(150):
        taken = list(shots(clip_seed(1, index), 128))
        for shot in taken:
            for name, value in shot.world.state.labels().items():
                seen[name].add(value)
        first, last = taken[0].world.state.labels(), taken[-1].world.state.labels()
        changed |= {name for name in first if first[name] != last[name]}
    assert {name: set(values) for name, values in vocabulary.VALUES.items()} == seen
    assert changed >= {"place", "time", "weather", "hero", "colour", "doing", "prop"}


def test_whatever_the_hero_does_is_recorded_for_a_whole_buffer_under_one_caption() -> None:
    buffer_frames = 32  # eight latent frames
    lasting: Counter[str] = Counter()
    for index in range(200):
        for _, stretch in groupby(shots(clip_seed(2, index), 128), key=lambda shot: (shot.caption, shot.keys)):
            same = list(stretch)
            if len(same) >= buffer_frames:
                lasting[same[0].world.state.doing] += 1
    assert min(lasting[doing] for doing in vocabulary.DOINGS) >= 10


def test_a_given_state_is_kept_when_nothing_may_change() -> None:
    state = State(place="cave", time="night", weather="fog", hero="robot", colour="white", prop="chest")
    clip = render_clip(3, 40, state, changes=False)
    for name in ("place", "time", "weather", "hero", "colour", "prop", "happening"):
        assert set(clip.labels[name]) == {getattr(state, name)}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_recording_holds_the_seeded_clips_whatever_the_number_of_workers(tmp_path: Path, workers: int) -> None:
    record(tmp_path / "out", clips=3, frames=20, seed=9, workers=workers)
    recording = Recording(tmp_path / "out")
    assert recording.info.action_names == vocabulary.ACTION_NAMES
    clips = {clip.seed: clip for clip in recording}
    assert set(clips) == {clip_seed(9, index) for index in range(3)}
    for seed, clip in clips.items():
        assert seed is not None
        expected = render_clip(seed, 20)
        assert np.array_equal(clip.frames, expected.frames)
        assert clip.captions == expected.captions
        assert clip.labels == expected.labels


def test_importing_the_world_opens_nothing() -> None:
    code = "import examples.diorama.record, examples.diorama.render, pygame; print(pygame.display.get_init())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")
