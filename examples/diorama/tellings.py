"""Write pairs of texts: in words of the lexicon or going on with events, and plainly what that comes to.

    python -m examples.diorama.tellings pairs.jsonl --count 24000

Each line is {"words": ..., "plain": ...}; from such pairs `eddyline-runtime learn-words` teaches a world to read what
it was not trained on. Half of them go on with events, said after the rest as in the runtime ("a pig in a cave, it
becomes a cat"): their plain words describe what is there afterwards ("a cat in a cave"), so that an event is read like
a prompt that says so. Of the others a sixth are captions as recordings have them, which stand for themselves: what the
world reads well is to stay as it is. Combinations that are held out of recordings are held out of them as well.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path

from . import grammar, held_out, vocabulary
from .grammar import Telling
from .record import random_state
from .world import State

_EVENT_COUNTS = {0: 0.5, 1: 0.36, 2: 0.1, 3: 0.04}
_CAPTION_SHARE = 1 / 6
_HAPPENING_SHARE = 0.2
_SAID_AS_STATE = 0.15  # events that say what is, not what changes: "it rains"
_VARIED_SHARE = 0.7  # of the others, those in any wording
_STATES = {
    "place": vocabulary.PLACES,
    "time": vocabulary.TIMES,
    "weather": vocabulary.WEATHERS,
    "prop": vocabulary.PROPS,
    "happening": vocabulary.HAPPENINGS,
}


def tellings(count: int, seed: int) -> list[Telling]:
    """Draw tellings of scenes; half of them go on with an event, or several."""
    rng = random.Random(seed)
    return [_draw(rng) for _ in range(count)]


def _draw(rng: random.Random) -> Telling:
    state = _state(rng)
    captioned = rng.random() < _CAPTION_SHARE
    told = grammar.captioned(state, rng) if captioned else grammar.telling(state, rng)
    events = rng.choices(list(_EVENT_COUNTS), list(_EVENT_COUNTS.values()))[0]
    if not events:
        return replace(told, plain=told.words) if captioned else told
    for _ in range(events):
        state, told = _go_on(state, told, rng)
    return told


def _go_on(state: State, told: Telling, rng: random.Random) -> tuple[State, Telling]:
    """The state and its telling after one more event."""
    attribute = rng.choice(list(vocabulary.EVENTS))
    options = [replace(state, **{attribute: value}) for value in vocabulary.EVENTS[attribute]]
    after = rng.choice([option for option in options if not held_out.is_held_out(option)])
    unsaid = told.unsaid - {attribute}
    words = f"{told.words}, {_event(attribute, getattr(after, attribute), rng)}"
    return after, Telling(words, grammar.canonical(after, unsaid=unsaid), unsaid)


def _event(attribute: str, value: str, rng: random.Random) -> str:
    """Words for a change, or for what is there after it."""
    phrases = _STATES.get(attribute, {}).get(value, ())
    if phrases and rng.random() < _SAID_AS_STATE:
        return rng.choice(phrases)
    return grammar.event(attribute, value, rng if rng.random() < _VARIED_SHARE else None)


def _state(rng: random.Random) -> State:
    happening = rng.choice(vocabulary.VALUES["happening"]) if rng.random() < _HAPPENING_SHARE else "none"
    return replace(random_state(rng), doing=rng.choice(vocabulary.VALUES["doing"]), happening=happening)


def main(arguments: list[str] | None = None) -> None:
    """Write the pairs into a file."""
    parser = argparse.ArgumentParser(prog="python -m examples.diorama.tellings", description=__doc__)
    parser.add_argument("out", type=Path, help="a file of JSON lines")
    parser.add_argument("--count", type=int, default=24_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    lines = [json.dumps({"words": told.words, "plain": told.plain}) for told in tellings(given.count, given.seed)]
    given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
