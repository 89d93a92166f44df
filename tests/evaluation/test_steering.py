"""Steering: a value counts that was not there and then comes in time; what an event leaves alone is to be kept."""

from dataclasses import replace

import numpy as np
import pytest

from eddyline_runtime.evaluation.probe import Probe
from eddyline_runtime.evaluation.steering import (
    TurnOutcome,
    judge_turn,
    receipt_figures,
    seen_when_full,
    steering_figures,
    turn_script,
    watched_frames,
    within_s,
)
from eddyline_runtime.evaluation.suite import Scene, Turn

LABELS = {"time": "day", "doing": "stands", "happening": "none"}
TURN = Turn(
    scene=Scene(prompt="a fox", labels=LABELS), verb="event", words="night falls", attribute="time", value="night"
)


@pytest.mark.parametrize(
    ("change_at", "start", "delay_s"), [(32, 200, 0.0), (40, 200, 0.5), (200, 200, None), (0, 0, None)]
)
def test_only_a_value_that_was_not_there_and_then_comes_counts(
    brightness: Probe, change_at: int, start: int, delay_s: float | None
) -> None:
    frames = np.zeros((64, 4, 4, 3), np.uint8)
    frames[:change_at, ..., 0] = start
    assert judge_turn(brightness, TURN, frames, fps=16.0, said_at=32).delay_s == delay_s


def test_one_window_alone_is_no_change(brightness: Probe) -> None:
    frames = np.zeros((64, 4, 4, 3), np.uint8)
    frames[..., 0] = 200
    frames[40:44] = 0
    assert judge_turn(brightness, TURN, frames, fps=16.0, said_at=32).delay_s is None


def test_what_was_right_before_an_event_and_is_not_what_it_changes_is_to_be_kept(brightness: Probe) -> None:
    frames = np.zeros((64, 4, 4, 3), np.uint8)
    assert judge_turn(brightness, TURN, frames, fps=16.0, said_at=32).kept == {"doing": True}
    frames[50:, ..., 1] = 255
    assert judge_turn(brightness, TURN, frames, fps=16.0, said_at=32).kept == {"doing": False}
    frames[:, ..., 1] = 255
    assert judge_turn(brightness, TURN, frames, fps=16.0, said_at=32).kept == {}, "it was wrong already"
    assert judge_turn(brightness, replace(TURN, verb="prompt"), frames, fps=16.0, said_at=32).kept == {}


@pytest.mark.parametrize(
    ("dark", "full_at", "seen"),
    [
        (slice(40, 80), 56, True),
        (slice(56, 72), 56, True),
        (slice(68, 80), 56, False),
        (slice(40, 56), 56, False),
        (slice(0, 80), 56, False),
        (slice(40, 80), None, False),
    ],
    ids=["before it", "just then", "later", "no more", "it was there already", "no date"],
)
def test_what_an_event_says_is_to_be_seen_in_the_second_that_its_receipt_names(
    brightness: Probe, dark: slice, full_at: int | None, seen: bool
) -> None:
    frames = np.zeros((80, 4, 4, 3), np.uint8)
    frames[..., 0] = 200
    frames[dark, ..., 0] = 0
    assert seen_when_full(brightness, TURN, frames, fps=16.0, said_at=32, full_at=full_at) is seen


def test_receipts_are_counted_all_together_and_by_attribute() -> None:
    turns = [TURN, TURN, replace(TURN, attribute="doing")]
    figures = receipt_figures(turns, [True, False, False], {"seen": 0.98})
    assert {name: figure.value for name, figure in figures.items()} == {
        "seen": pytest.approx(1 / 3),
        "seen_time": 0.5,
        "seen_doing": 0.0,
    }
    assert (figures["seen"].n, figures["seen"].ceiling) == (3, 0.98)
    assert receipt_figures([], []) == {}


@pytest.mark.parametrize(
    ("num_chunks", "chunk_frames", "frames"), [(4, 8, 80), (4, 4, 80), (4, 16, 32 + 48 + 16), (5, 12, 36 + 48 + 16)]
)
def test_a_turn_is_dreamed_until_a_second_after_its_first_full_frame(
    num_chunks: int, chunk_frames: int, frames: int
) -> None:
    assert watched_frames(fps=16.0, num_chunks=num_chunks, chunk_frames=chunk_frames) == frames


def test_words_that_are_followed_too_late_are_not_followed() -> None:
    turns = [TURN, TURN, replace(TURN, verb="prompt", attribute="doing")]
    outcomes = [TurnOutcome(1.0, {"doing": True}), TurnOutcome(2.0, {"doing": False}), TurnOutcome(None, {})]
    figures = steering_figures(turns, outcomes, within_s=1.5, ceilings={"right": 0.98})
    values = {name: figure.value for name, figure in figures.items()}
    assert values == {
        "right": pytest.approx(1 / 3),
        "right_time": 0.5,
        "right_doing": 0.0,
        "right_by_event": 0.5,
        "right_by_prompt": 0.0,
        "kept": 0.5,
        "kept_doing": 0.5,
        "delay_s": 1.0,
    }
    assert figures["right"].ceiling == 0.98
    assert figures["kept"].n == 2


def test_a_turn_says_its_words_after_two_seconds_and_has_six_chunks_to_follow() -> None:
    script = turn_script(TURN, 7, fps=16.0)
    assert (script.prompt, script.seed, script.cues[0].at) == ("a fox", 7, 32)
    assert script.cues[0].words is not None
    assert script.cues[0].words.text == "night falls"
    assert [within_s(fps=16.0, chunk_frames=frames) for frames in (8, 4)] == [3.0, 1.5]
