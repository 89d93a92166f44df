"""Words for a state of the diorama: captions with varied wording, one canonical wording, and short phrases.

All functions are pure; the wording comes from the random generator that is passed in. Plain words are those of
`vocabulary`; wide words take many more from `wordings`, as captions of recordings do.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import TypeVar

from . import frames, vocabulary, wordings
from .world import State

_Wording = TypeVar("_Wording")

# how often a clause that may be left out is left out; the hero's doing most often, so that keys have the last word
_OMIT_DOING, _OMIT_PROP, _OMIT_CLEAR, _OMIT_HAPPENING = 0.5, 0.05, 0.6, 0.08
_OMIT_PLACE, _OMIT_TIME, _OMIT_COLOUR = 0.03, 0.05, 0.03  # rarely: players leave them out as well
MAX_WORDS = 34
# how often a wide caption takes each of its words from `wordings`, and how often its sentence from `frames`
_WIDE_SHARE = 0.6
_FRAMES_SHARE = 0.65


def caption(state: State, rng: random.Random, *, mention: Collection[str] = (), wide: bool = False) -> str:
    """Describe `state` in one sentence of varied wording; with `wide`, in words and sentences from far more.

    Clauses of doing, prop, clear weather and happening may be left out (rarely also place, time and colour), but
    never those of the attributes named in `mention`. At most `MAX_WORDS` words.
    """
    while len((words := _caption(state, rng, mention, wide)).split()) > MAX_WORDS:
        pass
    return words


def _caption(state: State, rng: random.Random, mention: Collection[str], wide: bool) -> str:
    """One draw of `caption`, of any length."""

    def choose(plain: Sequence[_Wording], others: Sequence[_Wording]) -> _Wording:
        return rng.choice(others if wide and others and rng.random() < _WIDE_SHARE else plain)

    def worded(attribute: str, words: dict[str, tuple[str, ...]]) -> str:
        value = getattr(state, attribute)
        return choose(words[value], wordings.wordings(attribute, value))

    def said(attribute: str, omit: float) -> bool:
        return rng.random() >= omit or attribute in mention

    hero = worded("hero", vocabulary.HEROES)
    colour = worded("colour", vocabulary.COLOURS)
    if not said("colour", _OMIT_COLOUR):
        colour = ""
    place = worded("place", vocabulary.PLACES) if said("place", _OMIT_PLACE) else ""
    time = worded("time", vocabulary.TIMES) if said("time", _OMIT_TIME) else ""
    verb, participle = choose(vocabulary.DOINGS[state.doing], wordings.doings(state.doing))
    doing = said("doing", _OMIT_DOING)

    extras: list[str] = []
    if said("weather", _OMIT_CLEAR if state.weather == "clear" else 0.0):
        extras.append(worded("weather", vocabulary.WEATHERS))
    if state.prop != "none" and said("prop", _OMIT_PROP):
        extras.append(worded("prop", vocabulary.PROPS))
    if state.happening != "none" and said("happening", _OMIT_HAPPENING):
        extras.append(worded("happening", vocabulary.HAPPENINGS))
    if len(extras) > 1 and rng.random() < 0.4:
        rng.shuffle(extras)

    if wide and rng.random() < _FRAMES_SHARE:
        parts = frames.Parts(
            hero=hero,
            colour=colour,
            colour_after=rng.choice(wordings.colours_after(state.colour)),
            place=place,
            time=time,
            verb=verb if doing else "",
            participle=participle if doing else "",
            extras=tuple(extras),
            opening=rng.choice(wordings.openings()),
        )
        return frames.sentence(parts, rng)

    subject = frames.article(f"{colour} {hero}".strip())
    acting = f"{subject} {verb}" if doing else subject
    being = f"{subject} {participle}" if doing else subject
    sentences = (
        [f"{acting} {place} {time}", *extras],
        [time, f"{acting} {place}", *extras],
        [f"{place} {time}", acting, *extras],
        [f"{being} {place}", time, *extras],
        [f"there is {being} {place} {time}", *extras],
        [*extras, f"{acting} {place} {time}"],
        [f"{time} {place}", *extras, being],
        [f"{acting} {time}", place, *extras],
    )
    clauses = (" ".join(clause.split()) for clause in rng.choice(sentences))
    return ", ".join(clause for clause in clauses if clause)


def canonical(state: State) -> str:
    """Describe `state` completely, always in the same words."""
    parts = [
        f"a {state.colour} {state.hero} {vocabulary.DOINGS[state.doing][0][0]} "
        f"{vocabulary.PLACES[state.place][0]} {vocabulary.TIMES[state.time][0]}",
        vocabulary.WEATHERS[state.weather][0],
    ]
    if state.prop != "none":
        parts.append(vocabulary.PROPS[state.prop][0])
    if state.happening != "none":
        parts.append(vocabulary.HAPPENINGS[state.happening][0])
    return ", ".join(parts)


def event(attribute: str, value: str, rng: random.Random | None = None) -> str:
    """Say that `attribute` changes to `value`, such as "night falls"; in the first wording without `rng`, with it in
    any, wide ones too."""
    phrases = vocabulary.EVENTS[attribute][value]
    return rng.choice([*phrases, *wordings.events(attribute, value)]) if rng else phrases[0]


def phrases() -> list[str]:
    """List the short canonical phrases that the world knows, as suggestions for what to type."""
    known = [f"a {colour} {hero}" for hero in vocabulary.HEROES for colour in vocabulary.COLOURS]
    for words in (vocabulary.PLACES, vocabulary.TIMES, vocabulary.WEATHERS, vocabulary.PROPS, vocabulary.HAPPENINGS):
        known += [phrases[0] for value, phrases in words.items() if phrases and value != "transformation"]
    known += [verbs[0][0] for verbs in vocabulary.DOINGS.values()]
    for values in vocabulary.EVENTS.values():
        known += [phrases[0] for phrases in values.values()]
    return list(dict.fromkeys(known))
