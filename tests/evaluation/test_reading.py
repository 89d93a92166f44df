"""Reading scenes: lasting attributes by majority, passing ones when seen; scores attribute by attribute."""

import numpy as np

from eddyline_runtime.evaluation.probe import Probe
from eddyline_runtime.evaluation.reading import read_scene, score_labels


def test_a_passing_thing_counts_when_seen_twice_and_lasting_ones_by_majority(brightness: Probe) -> None:
    frames = np.zeros((40, 4, 4, 3), np.uint8)
    frames[:28] = (200, 0, 0)
    assert read_scene(brightness, frames) == {"time": "day", "doing": "stands", "happening": "none"}
    frames[8:12, ..., 2] = 255
    assert read_scene(brightness, frames)["happening"] == "none"
    frames[20:24, ..., 2] = 255
    assert read_scene(brightness, frames)["happening"] == "lightning"


def test_scores_count_each_attribute_and_all_at_once() -> None:
    wanted = [{"time": "day", "hero": "fox"}, {"time": "night", "hero": "cat"}]
    figures = score_labels(wanted, [{"time": "day", "hero": "cat"}, {"time": "night", "hero": "cat"}], {"hero": 0.9})
    assert {name: figure.value for name, figure in figures.items()} == {"time": 1.0, "hero": 0.5, "all": 0.5}
    assert {name: figure.ceiling for name, figure in figures.items()} == {"time": None, "hero": 0.9, "all": None}
    assert score_labels([], []) == {}
