"""Write pairs of texts that say the same: in words of the lexicon, and in the diorama's own words.

    python -m examples.diorama.tellings pairs.jsonl --count 24000

Each line is {"words": ..., "plain": ...}; from such pairs `eddyline-runtime learn-words` teaches a world to read what
it was not trained on. A sixth of them are captions as recordings have them, which stand for themselves: what the world
reads well is to stay as it is. Combinations that are held out of recordings are held out of them as well.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path

from . import grammar, vocabulary
from .grammar import Telling
from .record import random_state
from .world import State

_EVENT_SHARE = 0.35
_CAPTION_SHARE = 1 / 6
_HAPPENING_SHARE = 0.2


def tellings(count: int, seed: int) -> list[Telling]:
    """Draw tellings of scenes; a third of them go on with an event."""
    rng = random.Random(seed)
    return [_draw(rng) for _ in range(count)]


def _draw(rng: random.Random) -> Telling:
    state = _state(rng)
    if rng.random() < _CAPTION_SHARE:
        caption = grammar.caption(state, rng)
        told = Telling(caption, caption)
    else:
        told = grammar.telling(state, rng)
    if rng.random() >= _EVENT_SHARE:
        return told
    attribute = rng.choice(list(vocabulary.EVENTS))
    value = rng.choice(list(vocabulary.EVENTS[attribute]))
    plain = grammar.event(attribute, value)
    words = plain if told.words == told.plain else grammar.event(attribute, value, rng)
    return Telling(f"{told.words}, {words}", f"{told.plain}, {plain}")


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
