"""Write the frozen suites by which worlds dreamed from the diorama are measured: words, and the labels they ask for.

    python -m examples.diorama.suites runtime/eddyline_runtime/evaluation/suites/diorama

A suite is drawn from a seed, so this writes the committed files again.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle, product
from pathlib import Path
from typing import Any

from . import grammar, held_out, vocabulary
from .world import State

_SEED = 20261122
_STEERING_SEED = 20261125  # drawn anew after settings had been chosen on an earlier draw
_KEYS = {"stands": [], "walks left": ["ArrowLeft"], "walks right": ["ArrowRight"], "jumps": ["ArrowUp"]}
_ACTIONS_SEED = 20261127
_STEERED = ("place", "time", "hero", "weather", "colour")
_TURNS_EACH = 20
_OTHER_WORDINGS = 4


def _free_state(rng: random.Random, place: str, hero: str, colour: str) -> State:
    drawn = {name: rng.choice(values) for name, values in vocabulary.VALUES.items()}
    happenings = ("lightning", "fireworks", "alarm bell")
    drawn["happening"] = rng.choice(happenings) if rng.random() < 0.25 else "none"
    return State(**{**drawn, "place": place, "hero": hero, "colour": colour})


def _scene(state: State, words: str) -> dict[str, Any]:
    return {"prompt": words, "labels": state.labels(), "keys": _KEYS[state.doing]}


def _wordings(rng: random.Random) -> list[Callable[[State], str]]:
    """Canonical words, then others; each leaves nothing out."""
    return [
        grammar.canonical,
        *[lambda state: grammar.caption(state, rng, mention=vocabulary.VALUES)] * _OTHER_WORDINGS,
    ]


def held_out_suite(seed: int = _SEED) -> dict[str, Any]:
    """Each held-out triple five times: in canonical words and in four others."""
    rng = random.Random(seed)
    scenes = [
        _scene(state, words(state))
        for triple in sorted(held_out.triples())
        for words in _wordings(rng)
        for state in [_free_state(rng, *triple)]
    ]
    rng.shuffle(scenes)  # so that any first part is a fair sample
    return {
        "name": "diorama held out",
        "description": "Combinations of place, hero and colour that no recording shows.",
        "scenes": scenes,
    }


def steering_suite(seed: int = _STEERING_SEED) -> dict[str, Any]:
    """A scene, and words that change one attribute of it while it runs; by an event or by a new prompt in turn."""
    rng = random.Random(seed)
    turns = []
    for attribute in _STEERED:
        values = vocabulary.VALUES[attribute]
        for verb, value in zip(cycle(("event", "prompt")), rng.choices(values, k=_TURNS_EACH), strict=False):
            while True:
                triple = (rng.choice(vocabulary.VALUES[name]) for name in ("place", "hero", "colour"))
                before = replace(_free_state(rng, *triple), happening="none")
                after = replace(before, **{attribute: value})
                allowed = not held_out.is_held_out(before) and not held_out.is_held_out(after)
                if allowed and getattr(before, attribute) != value:
                    break
            words = grammar.event(attribute, value) if verb == "event" else grammar.canonical(after)
            turns.append(
                {
                    "scene": _scene(before, grammar.canonical(before)),
                    "verb": verb,
                    "words": words,
                    "attribute": attribute,
                    "value": value,
                }
            )
    rng.shuffle(turns)
    return {
        "name": "diorama steering",
        "description": "Words that change place, time, hero, weather or colour of a running scene.",
        "turns": turns,
    }


def actions_suite(seed: int = _ACTIONS_SEED) -> dict[str, Any]:
    """Each held-out triple twice, under no word of what the hero does: a walking key goes down after none or after the
    opposite one."""
    rng = random.Random(seed)
    walks = ("walks left", "walks right")
    ways = cycle(product(walks, (True, False)))
    presses = []
    for triple, (doing, turns_round) in zip(sorted(held_out.triples()) * 2, ways, strict=False):
        before = walks[1 - walks.index(doing)] if turns_round else "stands"
        state = replace(_free_state(rng, *triple), doing=before, happening="none")
        silent = grammar.canonical(state).replace(f" {vocabulary.DOINGS[before][0][0]} ", " ")
        presses.append({"scene": _scene(state, silent), "keys": _KEYS[doing], "attribute": "doing", "value": doing})
    rng.shuffle(presses)
    return {
        "name": "diorama actions",
        "description": "A walking key goes down in a running scene of a combination that no recording shows.",
        "presses": presses,
    }


SUITES: dict[str, Callable[[], dict[str, Any]]] = {
    "held_out.json": held_out_suite,
    "steering.json": steering_suite,
    "actions.json": actions_suite,
}


def main(arguments: list[str] | None = None) -> None:
    """Write every suite into a folder."""
    parser = argparse.ArgumentParser(prog="python -m examples.diorama.suites", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the suites")
    out: Path = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    for name, make in SUITES.items():
        (out / name).write_text(json.dumps(make(), indent=1) + "\n")


if __name__ == "__main__":
    main()
