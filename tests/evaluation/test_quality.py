"""Measuring a world: dreams in lockstep, scores and intervals, steering seen or not, contact sheets."""

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from eddyline.errors import OptionError
from eddyline_runtime.evaluation.probe import Probe
from eddyline_runtime.evaluation.quality import (
    Quality,
    Scene,
    Score,
    Suite,
    Turn,
    contact_sheet,
    dream,
    load_suite,
    measure_adherence,
    measure_steering,
    read_scene,
    score_kept,
    score_labels,
    wilson,
)
from eddyline_runtime.prompts import Wish
from eddyline_runtime.weights import World, load_world


@pytest.fixture(scope="module")
def world() -> World:
    return load_world("tiny", random_weights=True)


class BrightnessProbe(Probe):
    """Reads whether the upper left pixel is dark or bright; sees a happening where its blue is full."""

    def __init__(self) -> None:
        super().__init__({"time": ("night", "day"), "happening": ("none", "lightning")})

    def look(self, frames: NDArray[np.uint8], *, stride: int = 4) -> dict[str, NDArray[np.float32]]:
        pixels = frames[: len(frames) // 4 * 4 : 4, 0, 0]
        bright, blue = pixels[:, 0] > 127, pixels[:, 2] == 255
        return {
            "time": np.stack([~bright, bright], axis=1).astype(np.float32),
            "happening": np.stack([~blue, blue], axis=1).astype(np.float32),
        }


def test_wilsons_interval_is_right_at_the_edges_and_in_the_middle() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10)[1] == 1.0
    assert wilson(0, 10)[0] == 0.0
    low, high = wilson(50, 100)
    assert low == pytest.approx(0.4038, abs=1e-3)
    assert high == pytest.approx(0.5962, abs=1e-3)


def test_scores_count_each_attribute_and_all_at_once() -> None:
    wanted = [{"time": "day", "hero": "fox"}, {"time": "night", "hero": "cat"}]
    scores = score_labels(wanted, [{"time": "day", "hero": "cat"}, {"time": "night", "hero": "cat"}])
    assert scores == {"time": Score(2, 2), "hero": Score(1, 2), "all": Score(1, 2)}


def test_a_dream_depends_on_its_seed_and_words_but_not_on_how_many_scenes_there_are(world: World) -> None:
    scenes = [Scene(prompt=f"a red knight {number}", labels={}) for number in range(3)]
    dreamed = dream(world, scenes, frames=18, seed=4, batch=2)
    assert [frames.shape for frames in dreamed] == [(18, 32, 48, 3)] * 3
    again = dream(world, scenes, frames=18, seed=4, batch=2)
    assert all(np.array_equal(first, second) for first, second in zip(dreamed, again, strict=True))
    other = dream(world, scenes, frames=18, seed=5, batch=2)
    assert not np.array_equal(dreamed[0], other[0])


def test_words_said_later_leave_earlier_frames_alone(world: World) -> None:
    scenes = [Scene(prompt="a red knight", labels={})]
    wish = Wish(id=0, verb="event", text="it starts to rain", hold_frames=1000)
    plain = dream(world, scenes, frames=48)[0]
    steered = dream(world, scenes, frames=48, said=[wish], said_at=16)[0]
    assert np.array_equal(plain[:16], steered[:16])
    assert not np.array_equal(plain[16:], steered[16:])


def test_keys_are_held_only_when_asked_for(world: World) -> None:
    scenes = [Scene(prompt="a red knight", labels={}, keys=("ArrowLeft",))]
    without, held = (dream(world, scenes, frames=16, with_keys=keys)[0] for keys in (False, True))
    assert not np.array_equal(without, held)


def test_a_passing_thing_counts_when_seen_twice_and_lasting_ones_by_majority() -> None:
    frames = np.zeros((40, 4, 4, 3), np.uint8)
    frames[:28] = (200, 0, 0)
    assert read_scene(BrightnessProbe(), frames) == {"time": "day", "happening": "none"}
    frames[8:12, ..., 2] = 255
    assert read_scene(BrightnessProbe(), frames)["happening"] == "none"
    frames[20:24, ..., 2] = 255
    assert read_scene(BrightnessProbe(), frames)["happening"] == "lightning"


def test_adherence_and_steering_report_scores_for_a_world(world: World) -> None:
    scenes = tuple(Scene(prompt=f"knight {i}", labels={"time": "day", "happening": "none"}) for i in range(3))
    adherence = measure_adherence(world, BrightnessProbe(), Suite(name="s", description="", scenes=scenes), seconds=1.5)
    assert adherence.scores["time"].count == 3
    assert len(adherence.read) == 3
    turns = tuple(
        Turn(scene=scenes[0], verb=verb, words="night falls", attribute="time", value=value)
        for verb in ("event", "prompt")
        for value in ("day", "night")
    )
    suite = Suite(name="t", description="", turns=turns)
    steering = measure_steering(world, BrightnessProbe(), suite, before_s=1.0, within_s=1.0)
    assert steering.scores["all"].count == 4
    assert {name: score.count for name, score in steering.by_verb.items()} == {"by event": 2, "by prompt": 2}
    report = Quality(world="tiny", profile="smooth", seed=0, adherence=(adherence,), steering=(steering,))
    assert "steering within 1 s: t" in report.table()
    assert set(steering.kept) == {"all"}, "these scenes ask for nothing but the time, and passing things"
    plain = json.loads(report.to_json())
    assert plain["adherence"][0]["scores"]["time"]["high"] <= 1


@pytest.mark.parametrize(
    ("change_at", "start", "right", "delay_s"),
    [(32, 200, 1, 0.0), (40, 200, 1, 0.5), (200, 200, 0, None), (0, 0, 0, None)],
)
def test_steering_counts_only_a_value_that_was_not_there_and_then_comes(
    world: World, monkeypatch: pytest.MonkeyPatch, change_at: int, start: int, right: int, delay_s: float | None
) -> None:
    frames = np.full((64, 4, 4, 3), start, np.uint8)
    frames[change_at:] = 0
    monkeypatch.setattr("eddyline_runtime.evaluation.quality.dream", lambda *given, **named: [frames])
    scene = Scene(prompt="a fox by day", labels={"time": "day"})
    turn = Turn(scene=scene, verb="event", words="night falls", attribute="time", value="night")
    suite = Suite(name="t", description="", turns=(turn,))
    steering = measure_steering(world, BrightnessProbe(), suite, before_s=2.0, within_s=2.0)
    assert steering.scores["time"] == Score(right, 1)
    assert steering.delays_s == (() if delay_s is None else (delay_s,))


def test_kept_counts_what_was_right_before_an_event_and_is_not_what_it_changes() -> None:
    labels = {"time": "day", "hero": "fox", "place": "cave", "happening": "none"}
    turns = [
        Turn(scene=Scene(prompt="", labels=labels), verb="event", words="", attribute="time", value="night")
        for _ in range(2)
    ]
    turns.append(replace(turns[0], verb="prompt"))
    before = [labels, labels | {"place": "hall"}, labels]
    after = [labels | {"time": "night", "hero": "cat"}, labels | {"time": "night", "happening": "lightning"}, {}]
    assert score_kept(turns, before, after) == {"hero": Score(1, 2), "place": Score(1, 1), "all": Score(2, 3)}


@pytest.mark.parametrize("name", ["diorama/held_out", "diorama/seen"])
def test_shipped_scene_suites_can_be_read(name: str) -> None:
    suite = load_suite(name)
    assert len(suite.scenes) == 96
    assert not suite.turns
    assert all(set(scene.labels) == set(suite.scenes[0].labels) for scene in suite.scenes)


def test_the_shipped_steering_suite_asks_for_sixty_changes() -> None:
    suite = load_suite("diorama/steering")
    assert len(suite.turns) == 60
    for turn in suite.turns:
        assert turn.scene.labels[turn.attribute] != turn.value
    assert replace(suite, name="x") != suite


def test_an_unknown_suite_names_those_there_are() -> None:
    with pytest.raises(OptionError, match="diorama/held_out, diorama/seen, diorama/steering"):
        load_suite("diorama/nothing")


def test_a_contact_sheet_has_room_for_every_picture_and_its_words() -> None:
    pictures = [np.full((32, 48, 3), 40 * number, np.uint8) for number in range(5)]
    sheet = contact_sheet(pictures, ["a red knight walks through a forest at night"] * 5, columns=2)
    assert sheet.width == 2 * (96 + 8) + 8
    assert sheet.height > 3 * 64
    assert np.asarray(sheet)[8 + 10, 8 + 96 + 8 + 10].tolist() == [40, 40, 40]
