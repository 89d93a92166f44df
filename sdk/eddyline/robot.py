"""A player made of dice: which keys are held when, so that a game can be recorded without anyone at the keyboard.

Keys that pull against each other (left and right, up and down) are never held together; every other key is held and let
go on its own. A key stays as it is for `SHORTEST_S` to `LONGEST_S` seconds: long enough to be seen, short enough that a
recording shows the same place under every key.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

SHORTEST_S, LONGEST_S = 0.2, 1.5
AXES = (("ArrowLeft", "ArrowRight"), ("ArrowUp", "ArrowDown"), ("KeyA", "KeyD"), ("KeyW", "KeyS"))
"""Keys of which at most one is held."""


@dataclass
class _Track:
    """One choice that goes on through the game: none of its keys, or one of them."""

    choices: tuple[str | None, ...]
    dice: random.Random
    held: str | None = None
    until_s: float = 0.0

    def at(self, now_s: float) -> str | None:
        while now_s >= self.until_s:
            self.held = self.dice.choice([choice for choice in self.choices if choice != self.held])
            self.until_s += self.dice.uniform(SHORTEST_S, LONGEST_S)
        return self.held


class Robot:
    """Holds keys drawn at random.

    keys: the W3C names that it may press; seed: equal seeds hold the same keys at the same times.
    """

    def __init__(self, keys: Sequence[str], seed: int) -> None:
        groups = [tuple(key for key in axis if key in keys) for axis in AXES]
        groups += [(key,) for key in keys if not any(key in axis for axis in AXES)]
        self._tracks = [_Track((None, *group), random.Random(f"{seed} {' '.join(group)}")) for group in groups if group]

    def held(self, now_s: float) -> frozenset[str]:
        """The keys held `now_s` seconds into the game, 0 or more; asked in the order of time."""
        return frozenset(key for track in self._tracks if (key := track.at(now_s)) is not None)
