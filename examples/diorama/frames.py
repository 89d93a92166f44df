"""Sentence frames of wide captions: the ways in which different people type one scene.

Lists, one sentence, two sentences, the place first, the colour after the hero. All functions are pure; the frame comes
from the random generator that is passed in. A frame's own words are function words or words of `vocabulary` and
`wordings`, for the same reason as there.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

_LEADING = ("in", "on", "at", "by", "inside", "among", "amid", "during", "within")
_ARTICLES = ("a", "an", "the")
_AFTER_SHARE = 0.35  # colours said after the hero
_OPENING_SHARE = 0.3  # sentences that begin with "we see" and the like
_CAPITAL_SHARE, _STOP_SHARE, _NO_COMMA_SHARE = 0.2, 0.12, 0.1


@dataclass(frozen=True)
class Parts:
    """What one caption says; "" for what it leaves out."""

    hero: str
    """Without an article."""
    colour: str
    """An adjective."""
    colour_after: str
    """The same colour as a phrase that follows the hero."""
    place: str
    """An adverbial, such as "in a forest"."""
    time: str
    """An adverbial, such as "at night"."""
    verb: str
    """What the hero does, finite."""
    participle: str
    """What the hero does, as a participle."""
    extras: tuple[str, ...]
    """Clauses of weather, prop and happening."""
    opening: str
    """Words before a sentence, such as "we see"."""


def article(words: str) -> str:
    """Put "a" or "an" before `words`."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def bare(words: str) -> str:
    """Make `words` an entry of a list: "in a forest" becomes "forest", "as the sun sets" stays."""
    first, _, rest = words.partition(" ")
    if first in _LEADING and rest and not rest.startswith("front"):
        words = rest
    first, _, rest = words.partition(" ")
    return rest if first in _ARTICLES and rest else words


def thing(place: str) -> str:
    """Make a place the subject: "in a forest" becomes "a forest"; "" when it cannot be one."""
    first, _, rest = place.partition(" ")
    return rest if first in _LEADING and rest.startswith(("a ", "an ", "the ")) else ""


def sentence(parts: Parts, rng: random.Random) -> str:
    """Say `parts` in one of the frames."""
    clauses = rng.choice(_FRAMES)(parts, rng)
    words = _joined(clauses, ", ")
    if rng.random() < _NO_COMMA_SHARE:
        words = words.replace(",", "")
    if rng.random() < _CAPITAL_SHARE:
        words = ". ".join(part[:1].upper() + part[1:] for part in words.split(". "))
    return words + "." * (rng.random() < _STOP_SHARE)


def _joined(clauses: list[str], separator: str) -> str:
    tidy = (" ".join(clause.split()) for clause in clauses)
    return separator.join(clause for clause in tidy if clause)


def _named(parts: Parts, rng: random.Random) -> str:
    """The hero and its colour, without an article."""
    if not parts.colour:
        return parts.hero
    if rng.random() < _AFTER_SHARE:
        return f"{parts.hero} {parts.colour_after}"
    if rng.random() < 0.12:
        return f"{parts.hero} that is {parts.colour}"
    return f"{parts.colour} {parts.hero}"


def _subject(parts: Parts, rng: random.Random) -> str:
    named = _named(parts, rng)
    return rng.choice((article(named), article(named), article(named), f"the {named}", named))


def _opened(parts: Parts, rng: random.Random) -> str:
    """The hero, perhaps after an opening."""
    subject = article(_named(parts, rng))
    return f"{parts.opening} {subject}" if rng.random() < _OPENING_SHARE else subject


def _list(parts: Parts, rng: random.Random) -> list[str]:
    return [_named(parts, rng), parts.participle, *map(bare, (parts.place, parts.time, *parts.extras))]


def _mixed_list(parts: Parts, rng: random.Random) -> list[str]:
    return rng.sample(entries := _list(parts, rng), len(entries))


def _list_without_commas(parts: Parts, rng: random.Random) -> list[str]:
    return [_joined(_list(parts, rng), " ")]


def _list_after_the_place(parts: Parts, rng: random.Random) -> list[str]:
    named = f"{_named(parts, rng)} {parts.participle}"
    if not parts.place:
        return [named, parts.time, *parts.extras]
    return [f"{bare(parts.place)}: {named}", bare(parts.time), *parts.extras]


def _seen(parts: Parts, rng: random.Random) -> list[str]:
    return [f"{parts.opening} {_subject(parts, rng)} {parts.participle} {parts.place} {parts.time}", *parts.extras]


def _seen_at_a_time(parts: Parts, rng: random.Random) -> list[str]:
    return [parts.time, *parts.extras[:1], f"{_opened(parts, rng)} {parts.participle} {parts.place}", *parts.extras[1:]]


def _place_with_hero(parts: Parts, rng: random.Random) -> list[str]:
    hero, place = f"{article(_named(parts, rng))} {parts.participle}", thing(parts.place)
    if not place:
        return [f"{parts.place} {parts.time}", hero, *parts.extras]
    inside = rng.choice((f"with {hero} in it", f"and {hero}", f"and in it {hero}", f"where there is {hero}"))
    return [f"{place} {parts.time} {inside}", *parts.extras]


def _relative(parts: Parts, rng: random.Random) -> list[str]:
    doing = f"that {parts.verb}" if parts.verb else ""
    return [f"{_opened(parts, rng)} {doing} {parts.place} {parts.time}", *parts.extras]


def _joined_by_and(parts: Parts, rng: random.Random) -> list[str]:
    acting = f"{_opened(parts, rng)} {parts.participle} {parts.place} {parts.time}"
    return [" and ".join((acting, *parts.extras))]


def _two_sentences(parts: Parts, rng: random.Random) -> list[str]:
    first = f"{_subject(parts, rng)} {parts.verb} {parts.place}"
    rest = _joined([parts.time, *parts.extras], ", ")
    return [f"{first}. {rest}" if rest else first]


def _scene_then_hero(parts: Parts, rng: random.Random) -> list[str]:
    rest = _joined([f"{parts.place} {parts.time}", *parts.extras], ", ")
    hero = f"{_subject(parts, rng)} {parts.verb}"
    return [f"{rest}. {hero}" if rest else hero]


def _hero_is(parts: Parts, rng: random.Random) -> list[str]:
    """The colour said of the hero in a sentence of its own."""
    hero = f"{parts.opening if rng.random() < _OPENING_SHARE else ''} {article(parts.hero)}"
    colour = f". it is {rng.choice((parts.colour, parts.colour_after))}" if parts.colour else ""
    return [f"{hero} {parts.participle} {parts.place} {parts.time}{colour}", *parts.extras]


_Frame = Callable[[Parts, random.Random], list[str]]
_FRAMES: tuple[_Frame, ...] = (
    _list,
    _list,
    _mixed_list,
    _list_without_commas,
    _list_after_the_place,
    _seen,
    _seen,
    _seen_at_a_time,
    _place_with_hero,
    _place_with_hero,
    _relative,
    _joined_by_and,
    _two_sentences,
    _scene_then_hero,
    _hero_is,
)
