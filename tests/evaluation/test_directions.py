"""Directions: a hero is found where it is, presses count as the rule says, and whole worlds are measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eddyline.errors import OptionError
from eddyline.recording import RecordedClip, Recorder, Recording
from eddyline_runtime.evaluation import directions
from eddyline_runtime.evaluation.directions import Answer, Press, Track, answer, cut_hero, recorded_presses, track
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.model.streamdit import StreamDiT
from eddyline_runtime.weights import save_world, tiny_card

BOX = (20, 22, 8, 6)
NAMES = ("ArrowLeft", "ArrowRight", "ArrowUp", "KeyA", "KeyD")


def drawn(lefts: list[int], *, mirrored: bool = False, seed: int = 0) -> NDArray[np.uint8]:
    """A hero of 8x6 on grainy ground, its left side at each of `lefts`: [T, 32, 48, 3]."""
    rng = np.random.default_rng(seed)
    hero = np.random.default_rng(9).integers(0, 255, (6, 8, 3))
    frames = rng.integers(80, 120, (len(lefts), 32, 48, 3))
    for frame, left in zip(frames, lefts, strict=True):
        frame[22:28, left : left + 8] = hero[:, ::-1] if mirrored else hero
    return frames.astype(np.uint8)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 40), min_size=4, max_size=12), st.booleans())
def test_the_hero_is_found_at_its_column_whichever_way_it_looks(lefts: list[int], mirrored: bool) -> None:
    hero = cut_hero([drawn([20] * 4)], BOX, drawn([20]))
    seen = track(drawn(lefts, mirrored=mirrored, seed=1), hero)
    assert seen.left.tolist() == lefts
    assert seen.found.all()


def test_a_picture_without_the_hero_has_none() -> None:
    hero = cut_hero([drawn([20] * 4)], BOX, drawn([20]))
    empty = np.random.default_rng(2).integers(80, 120, (5, 32, 48, 3)).astype(np.uint8)
    assert not track(empty, hero).found.any()


@pytest.mark.parametrize(
    ("lefts", "lost", "key", "expected"),
    [
        ([20, 20, 20, 21, 23, 25, 27, 27, 27], (), "ArrowRight", Answer(True, 2)),
        ([20, 20, 20, 21, 23, 25, 27, 27, 27], (), "ArrowLeft", Answer(False)),
        ([20, 20, 20, 20, 20, 20, 21, 22, 23], (), "ArrowRight", Answer(False)),
        ([20, 20, 20, 19, 18, 17, 16, 14, 12], (), "ArrowLeft", Answer(True, 3)),
        ([20, 20, 20, 21, 23, 25, 27, 27, 27], (0, 1), "ArrowRight", Answer(False)),
        ([20, 20, 20, 21, 23, 25, 27, 27, 27], (7, 8), "ArrowRight", Answer(False)),
        ([20, 0, 20, 21, 90, 25, 27, 0, 27], (1, 4, 7), "ArrowRight", Answer(True, 2)),
        ([3, 3, 3, 2, 1, 0, 0, 0, 0], (), "ArrowLeft", None),
        ([36, 36, 36, 37, 38, 39, 40, 40, 40], (), "ArrowRight", None),
    ],
    ids=[
        "right",
        "wrong way",
        "too little",
        "left",
        "lost before",
        "lost after",
        "lost for a frame",
        "edge",
        "edge too",
    ],
)
def test_a_press_is_followed_if_the_hero_goes_there(
    lefts: list[int], lost: tuple[int, ...], key: str, expected: Answer | None
) -> None:
    found = np.array([frame not in lost for frame in range(len(lefts))])
    seen = Track(np.array(lefts), found)
    assert answer(seen, Press(key, 3, 9), columns=41) == expected


def test_presses_of_a_recording_are_those_held_for_half_a_second() -> None:
    actions = np.zeros((60, 5), np.float32)
    actions[10:20, 0] = 1  # half a second at 20 frames a second
    actions[25:34, 1] = 1  # too short
    actions[38:60, 1] = 1  # longer than what is looked at
    actions[0:8, 1] = 1  # held from the start: when it went down is not seen
    clip = RecordedClip(np.zeros((60, 8, 8, 3), np.uint8), ("a",) * 60, actions, {})
    assert list(recorded_presses(clip, NAMES, fps=20.0)) == [Press("ArrowLeft", 10, 20), Press("ArrowRight", 38, 58)]


def test_a_hero_outside_of_the_picture_is_refused() -> None:
    with pytest.raises(OptionError, match=r"8x6 at column 45, row 22 is not inside a picture of 48x32"):
        cut_hero([drawn([20])], (45, 22, 8, 6), drawn([20]))


def command_of(folder: Path, names: tuple[str, ...], *, fps: float = 16) -> list[str]:
    """Write a world of random weights and a recording of actions of these names; the arguments that name both."""
    with Recorder(folder / "recording", fps=fps, height=32, width=48, action_names=names) as recorder:
        for key, step in (("ArrowRight", 1), ("ArrowLeft", -1)) * 3:
            recorder.begin_clip()
            lefts = [20] * 5 + [20 + step * turn for turn in range(1, 13)]
            for turn, frame in enumerate(drawn(lefts)):
                held = [float(name == key and turn >= 5) for name in names]
                recorder.add(frame, caption="a hero", actions=held)
    card = tiny_card()
    save_world(folder / "world", card, model=StreamDiT(card.model), codec=Codec(card.codec))
    return ["--model", str(folder / "world"), "--recording", str(folder / "recording")]


@pytest.mark.parametrize(
    ("names", "hero", "told"),
    [
        (NAMES, "6,0,20,22,8,6", "clip 6 of .*, which has 6; count clips from 0"),
        (NAMES, "0,17,20,22,8,6", "frame 17 of clip 0 of .*, which has 17; count frames from 0"),
        (NAMES[1:], "0,0,20,22,8,6", "the recording .* has no ArrowLeft; only what these keys move is measured"),
    ],
)
def test_a_hero_that_is_not_there_and_keys_that_were_not_recorded_are_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, ...], hero: str, told: str
) -> None:
    assert directions.main([*command_of(tmp_path, names), "--hero", hero]) == directions.MISTAKE
    assert re.fullmatch(f"directions: {told}\n", capsys.readouterr().err)


def test_a_recording_of_other_sizes_than_the_world_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*command_of(tmp_path, NAMES, fps=20), "--hero", "0,0,20,22,8,6"]
    assert directions.main(given) == directions.MISTAKE
    assert "is of 48x32 at 20 frames a second, the world tiny of 48x32 at 16" in capsys.readouterr().err


def test_a_world_is_measured_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Random weights show no hero, so no press is followed; the recording, played truly, is the ceiling."""
    given = [*command_of(tmp_path, NAMES), "--hero", "0,0,20,22,8,6"]
    files = ["--json", str(tmp_path / "found.json"), "--sheet", str(tmp_path / "sheet")]
    assert directions.main([*given, *files, "--streams", "2", "--presses", "2"]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert json.loads(capsys.readouterr().out) == found
    assert (found["direction"]["value"], found["direction"]["n"], found["direction"]["ceiling"]) == (0.0, 4, 1.0)
    assert found["delay_s"] is None
    assert (tmp_path / "sheet").read_bytes().startswith(b"\x89PNG")
    assert len(Recording(tmp_path / "recording")) == 6
