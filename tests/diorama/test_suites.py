"""The frozen suites belong to the diorama as it is."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from examples.diorama import held_out, vocabulary
from examples.diorama.suite_recordings import (
    PRESS_AT,
    PRESS_FRAMES,
    TURN_AT,
    TURN_FRAMES,
    play,
    press_part,
    scene_part,
    turn_part,
)
from examples.diorama.suites import SUITES, main
from examples.diorama.world import State

COMMITTED = Path(__file__).parents[2] / "runtime/eddyline_runtime/evaluation/suites/diorama"


@pytest.mark.parametrize("name", SUITES)
def test_the_committed_suite_is_the_seeded_one(name: str, tmp_path: Path) -> None:
    main([str(tmp_path)])
    assert (tmp_path / name).read_text() == (COMMITTED / name).read_text()


def test_held_out_scenes_ask_for_every_held_out_triple_five_times_in_words_of_their_own() -> None:
    scenes = json.loads((COMMITTED / "held_out.json").read_text())["scenes"]
    states = [State(**scene["labels"]) for scene in scenes]
    asked = [(state.place, state.hero, state.colour) for state in states]
    assert sorted(asked) == sorted(5 * [*held_out.triples()])
    assert len({scene["prompt"] for scene in scenes}) == len(scenes) == 240


def test_steering_turns_cover_their_attributes_alike_by_events_and_prompts() -> None:
    turns = json.loads((COMMITTED / "steering.json").read_text())["turns"]
    count = Counter((turn["attribute"], turn["verb"]) for turn in turns)
    attributes = ("place", "time", "hero", "weather", "colour")
    assert count == {(name, verb): 10 for name in attributes for verb in ("event", "prompt")}
    for turn in turns:
        assert turn["value"] in vocabulary.VALUES[turn["attribute"]]
        assert turn["value"] != turn["scene"]["labels"][turn["attribute"]]


def test_key_presses_go_both_ways_from_rest_and_from_the_other_way_and_no_word_tells() -> None:
    presses = json.loads((COMMITTED / "actions.json").read_text())["presses"]
    count = Counter((*press["scene"]["keys"], "then", *press["keys"]) for press in presses)
    left, right = "ArrowLeft", "ArrowRight"
    assert count == {(left, "then", right): 24, (right, "then", left): 24, ("then", left): 24, ("then", right): 24}
    verbs = {word for wordings in vocabulary.DOINGS.values() for pair in wordings for word in pair[0].split()[:1]}
    assert not any(verbs & set(press["scene"]["prompt"].replace(",", "").split()) for press in presses)
    assert {press["value"] for press in presses} == {"walks left", "walks right"}


def test_paraphrases_ask_for_held_out_triples() -> None:
    states = [State(**scene["labels"]) for scene in json.loads((COMMITTED / "paraphrase.json").read_text())["scenes"]]
    assert len(states) >= 200
    assert all(held_out.is_held_out(state) for state in states)


def test_a_part_is_played_as_its_suite_asks() -> None:
    turns = json.loads((COMMITTED / "steering.json").read_text())["turns"]
    turn = next(turn for turn in turns if turn["attribute"] == "hero")
    states = [world.state for world, _ in play(turn_part(turn), random.Random(0))]
    heroes = [state.hero for state in states]
    assert heroes == [turn["scene"]["labels"]["hero"]] * TURN_AT + [turn["value"]] * (TURN_FRAMES - TURN_AT)
    press = json.loads((COMMITTED / "actions.json").read_text())["presses"][0]
    doing = [world.state.doing for world, _ in play(press_part(press), random.Random(0))]
    assert doing == [press["scene"]["labels"]["doing"]] * PRESS_AT + [press["value"]] * (PRESS_FRAMES - PRESS_AT)


def test_what_happens_in_a_scene_begins_anew_whenever_it_ends() -> None:
    labels = State(happening="lightning").labels() | {"doing": "walks left"}
    part = scene_part({"prompt": "", "labels": labels, "keys": ["ArrowLeft"]}, frames=100)
    states = [world.state for world, _ in play(part, random.Random(0))]
    assert Counter(state.happening for state in states)["lightning"] >= 95
    assert {state.doing for state in states} == {"walks left"}
