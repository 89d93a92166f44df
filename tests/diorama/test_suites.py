"""The frozen suites belong to the diorama as it is."""

import json
from pathlib import Path

import pytest
from examples.diorama import held_out, vocabulary
from examples.diorama.suites import SUITES, main
from examples.diorama.world import State

COMMITTED = Path(__file__).parents[2] / "runtime/eddyline_runtime/evaluation/suites/diorama"


@pytest.mark.parametrize("name", SUITES)
def test_the_committed_suite_is_the_seeded_one(name: str, tmp_path: Path) -> None:
    main([str(tmp_path)])
    assert (tmp_path / name).read_text() == (COMMITTED / name).read_text()


def test_held_out_scenes_ask_for_every_held_out_triple_twice_and_seen_ones_for_none() -> None:
    held, seen = (
        [State(**scene["labels"]) for scene in json.loads((COMMITTED / name).read_text())["scenes"]]
        for name in ("held_out.json", "seen.json")
    )
    asked = [(state.place, state.hero, state.colour) for state in held]
    assert sorted(asked) == sorted([*held_out.triples(), *held_out.triples()])
    assert not any(held_out.is_held_out(state) for state in seen)


def test_steering_turns_cover_place_time_and_hero_alike() -> None:
    turns = json.loads((COMMITTED / "steering.json").read_text())["turns"]
    count = {name: sum(turn["attribute"] == name for turn in turns) for name in ("place", "time", "hero")}
    assert set(count.values()) == {20}
    assert all(turn["value"] in vocabulary.VALUES[turn["attribute"]] for turn in turns)
