"""Places: a scene that is returned to looks as it did when it was bookmarked, more than one that is described again."""

from dataclasses import asdict, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from eddyline_runtime.evaluation.dreams import Cue, Script, dream
from eddyline_runtime.evaluation.parts import Plan, Subject, measure_places
from eddyline_runtime.evaluation.places import LENGTH_S, Likeness, judge_place, place_figures, place_scripts
from eddyline_runtime.evaluation.probe import Probe
from eddyline_runtime.evaluation.suite import Scene, Suite, Turn
from eddyline_runtime.prompts import Wish
from eddyline_runtime.weights import World

TURN = Turn(
    scene=Scene(prompt="a fox in a forest", labels={"place": "forest"}),
    verb="event",
    words="now it is a cave",
    attribute="place",
    value="cave",
)


def painted(*colours: tuple[int, int, int]) -> np.ndarray:
    """A film of as many equal parts, each of one colour."""
    frames = np.zeros((round(LENGTH_S * 16), 4, 4, 3), np.uint8)
    for colour, part in zip(colours, np.array_split(frames, len(colours)), strict=True):
        part[:] = colour
    return frames


def test_likeness_compares_the_end_of_the_scene_with_the_end_of_what_came_after_it(brightness: Probe) -> None:
    red, green, both = (200, 0, 0), (0, 200, 0), (200, 200, 0)
    assert judge_place(brightness, painted(red, green, red), fps=16.0) == Likeness(back=1.0, away=0.0)
    likeness = judge_place(brightness, painted(red, red, green, green, red, both), fps=16.0)
    assert likeness == Likeness(back=pytest.approx(0.5**0.5), away=0.0)
    assert judge_place(brightness, painted(red, (0, 0, 0), green), fps=16.0) == Likeness(back=0.0, away=0.0)


def test_figures_are_means_over_scenes_and_absent_where_nothing_was_found() -> None:
    found = {"returned": [Likeness(1.0, 0.2), Likeness(0.5, 0.4)], "prompted": [Likeness(0.4, 0.1)]}
    figures = place_figures(found)
    assert {name: figure.value for name, figure in figures.items()} == {
        "returned": 0.75,
        "prompted": 0.4,
        "left": pytest.approx(0.3),
    }
    assert figures["left"].n == 2
    assert place_figures({}) == {}


def test_the_three_scenes_differ_only_in_how_they_are_left_and_returned_to() -> None:
    scripts = place_scripts(TURN, 7, fps=16.0)
    assert {(script.prompt, script.seed) for script in scripts.values()} == {("a fox in a forest", 7)}
    said = {name: [(cue.at, cue.words.verb) for cue in script.cues if cue.words] for name, script in scripts.items()}
    assert said == {
        "returned": [(64, "event"), (128, "cut")],
        "prompted": [(64, "event"), (128, "prompt")],
        "stayed": [],
    }


def test_a_dream_returns_to_the_chunk_that_was_bookmarked_and_has_the_length_that_was_asked_for(world: World) -> None:
    back = Wish(id=0, verb="cut", text="", bookmark="here")
    script = Script(prompt="a red knight", seed=0, cues=(Cue(at=16, bookmark="here"), Cue(at=32, words=back)))
    (frames,) = dream(world, [script], frames=46, profile="smooth")
    assert len(frames) == 46
    assert np.abs(frames[32:40].astype(int) - frames[8:16]).max() <= 4, "but for half precision"


def test_every_turn_that_changes_the_place_is_measured_in_every_way(
    world: World, brightness: Probe, tmp_path: Path
) -> None:
    suite = Suite(name="", description="", turns=(replace(TURN, attribute="time"), TURN))
    (tmp_path / "steering.json").write_bytes(msgspec.json.encode(asdict(suite)))
    subject = Subject(world=world, profile="responsive", probe=brightness, suites=tmp_path)
    (piece,) = measure_places(subject, Plan())
    assert {name: figure.n for name, figure in piece.fields["places"].items()} == {
        "returned": 1,
        "prompted": 1,
        "stayed": 1,
        "left": 1,
    }
