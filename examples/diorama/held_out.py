"""The combinations of place, hero and colour that recordings never show: they test what a model makes of new ones.

One triple in eight is held out, balanced: every place with every hero, every place with every colour and every
hero with every colour still occur. `python -m examples.diorama.held_out` writes the list again.
"""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path

from . import vocabulary
from .world import State

Triple = tuple[str, str, str]
FILE = Path(__file__).with_name("held_out.json")
_SEED = 20261121


def choose(seed: int = _SEED) -> list[Triple]:
    """Choose 48 of the 384 triples: each place-colour and hero-colour pair exactly once."""
    rng = random.Random(seed)
    places, heroes, colours = (rng.sample(list(values), len(values)) for values in _axes())
    chosen = [
        (place, heroes[(row + index) % len(heroes)], colour)
        for row, place in enumerate(places)
        for index, colour in enumerate(colours)
    ]
    return sorted(chosen)


def _axes() -> tuple[tuple[str, ...], ...]:
    return tuple(vocabulary.PLACES), tuple(vocabulary.HEROES), tuple(vocabulary.COLOURS)


@cache
def triples() -> frozenset[Triple]:
    """Read the committed list."""
    return frozenset((place, hero, colour) for place, hero, colour in json.loads(FILE.read_text())["held_out"])


def is_held_out(state: State) -> bool:
    """Tell whether recordings must not show `state`."""
    return (state.place, state.hero, state.colour) in triples()


def main() -> None:
    """Write the list."""
    lines = ",\n".join(f"    {json.dumps(triple)}" for triple in choose())
    FILE.write_text(f'{{\n  "what": ["place", "hero", "colour"],\n  "held_out": [\n{lines}\n  ]\n}}\n')


if __name__ == "__main__":
    main()
