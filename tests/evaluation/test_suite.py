"""Suites: the shipped ones can be read, and what is none is refused."""

from pathlib import Path

import pytest

from eddyline.errors import OptionError
from eddyline_runtime.evaluation.probe import load_probe
from eddyline_runtime.evaluation.suite import ACTIONS, HELD_OUT, PARAPHRASE, STEERING, load_suite, suite_folder
from eddyline_runtime.weights import world_folder


@pytest.mark.parametrize(
    ("question", "scenes", "turns", "presses"),
    [(HELD_OUT, 240, 0, 0), (PARAPHRASE, 216, 0, 0), (STEERING, 0, 100, 0), (ACTIONS, 0, 0, 96)],
)
def test_shipped_suites_ask_what_the_shipped_probe_can_read(
    question: str, scenes: int, turns: int, presses: int
) -> None:
    suite = load_suite(suite_folder("diorama"), question)
    assert (len(suite.scenes), len(suite.turns), len(suite.presses)) == (scenes, turns, presses)
    known = load_probe(world_folder("diorama") / "probe.safetensors").labels
    labels = [scene.labels for scene in suite.scenes] + [item.scene.labels for item in (*suite.turns, *suite.presses)]
    assert all(value in known[name] for row in labels for name, value in row.items())
    assert all(item.value in known[item.attribute] for item in (*suite.turns, *suite.presses))


def test_a_folder_of_ones_own_is_a_suite_too_and_others_are_refused(tmp_path: Path) -> None:
    assert suite_folder(str(tmp_path)) == tmp_path
    with pytest.raises(OptionError, match="use one of diorama, or a folder"):
        suite_folder("nothing")


@pytest.mark.parametrize("content", [None, "{", '{"scenes": []}'])
def test_a_missing_or_broken_suite_is_refused_with_its_path(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "held_out.json").write_text(content)
    with pytest.raises(OptionError, match=r"held_out\.json"):
        load_suite(tmp_path, HELD_OUT)
