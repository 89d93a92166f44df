"""The lexicon: words of a dictionary for what the diorama shows, which no recording is told in.

`lexicon.json` was chosen from WordNet (synonyms, kinds, parts and glosses around the diorama's own words) and from a
list of named colours; of heroes it has what else a storyteller may call or describe them by. It is not what captions
are made of; it is what a text refiner learns the meaning of, as a person would look words up. For each value it has
groups of words and of patterns that take any word of the group.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from .frames import article

FILE = Path(__file__).with_name("lexicon.json")
ATTRIBUTES = ("place", "time", "weather", "hero", "colour", "prop")
"""Attributes that `phrase` has words for; what the hero does has two forms of each, see `doing`."""


def phrase(attribute: str, value: str, rng: random.Random) -> str:
    """Draw a phrase for a value, such as "amid an oak grove"; of a colour, what stands before the hero."""
    return _filled(_group(read()[attribute][value], rng), rng)


def colour_after(value: str, rng: random.Random) -> str:
    """Draw a phrase for a colour that follows the hero, such as "the colour of plums"."""
    return _filled(_group(read()["colour after the hero"][value], rng), rng)


def doing(value: str, rng: random.Random) -> tuple[str, str]:
    """Draw words for what the hero does, as finite verb and participle."""
    group = _group(read()["doing"][value], rng)
    pattern = rng.choice(group["patterns"])
    verb, participle = rng.choice(group["words"]).split("|")
    return pattern.replace("{}", verb), pattern.replace("{}", participle)


def _group(groups: list[dict[str, list[str]]], rng: random.Random) -> dict[str, list[str]]:
    """A group, the more often the more words it has."""
    return rng.choices(groups, [len(group["words"]) for group in groups])[0]


def _filled(group: dict[str, list[str]], rng: random.Random) -> str:
    return _fitted(rng.choice(group["patterns"]), rng.choice(group["words"]))


def _fitted(pattern: str, word: str) -> str:
    """The word in its pattern, in which "a" becomes "an" where the word wants it."""
    before, _, after = pattern.partition("{}")
    if before == "a " or before.endswith(" a "):
        return before[:-2] + article(word) + after
    return before + word + after


def phrases(attribute: str, value: str) -> Iterator[str]:
    """Every phrase of a value of any attribute; what the hero does as "finite|participle"."""
    for group in read()[attribute][value]:
        for pattern in group["patterns"]:
            yield from (_fitted(pattern, word) for word in group["words"])


@cache
def read() -> dict[str, Any]:
    """Read the committed file."""
    words: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return words
