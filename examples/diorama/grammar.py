"""Words for a state of the diorama: captions with varied wording, one canonical wording, and short phrases.

All functions are pure; the wording comes from the random generator that is passed in. Plain words are those of
`vocabulary`; wide words take many more from `wordings`, as captions of recordings do. Tellings take most of theirs from
`lexicon`, words of a dictionary that no recording is told in, and say in canonical words what they mean.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from . import frames, lexicon, vocabulary, wordings
from .world import State

_Wording = TypeVar("_Wording")

# how often a clause that may be left out is left out; the hero's doing most often, so that keys have the last word; a
# prop never but in brief tellings, so that what is not said is not there
_OMIT_DOING, _OMIT_PROP, _OMIT_CLEAR, _OMIT_HAPPENING = 0.5, 0.0, 0.6, 0.08
_OMIT_PLACE, _OMIT_TIME, _OMIT_COLOUR = 0.03, 0.05, 0.03  # rarely: players leave them out as well
MAX_WORDS = 34
# how often a wide caption takes each of its words from `wordings`, and how often its sentence from `frames`
_WIDE_SHARE = 0.6
_FRAMES_SHARE = 0.65
_LEXICON_SHARE = 0.75  # how often a telling takes each of its words from the lexicon
_BRIEF_SHARE, _BRIEF_OMIT = 0.25, 0.5  # how many tellings are brief, and how often these leave a clause out


@dataclass(frozen=True)
class Telling:
    """A caption, and the same in canonical words."""

    words: str
    plain: str
    """What `words` say and no more."""
    unsaid: frozenset[str] = frozenset()
    """The attributes that neither says."""


def caption(state: State, rng: random.Random, *, mention: Collection[str] = (), wide: bool = False) -> str:
    """Describe `state` in one sentence of varied wording; with `wide`, in words and sentences from far more.

    Clauses of doing, clear weather and happening may be left out (rarely also place, time and colour), but never those
    of the attributes named in `mention`. At most `MAX_WORDS` words.
    """
    return captioned(state, rng, mention=mention, wide=wide).words


def captioned(state: State, rng: random.Random, *, mention: Collection[str] = (), wide: bool = False) -> Telling:
    """A `caption`, and the same in canonical words."""
    return _short_telling(state, rng, mention=mention, wide=wide, lexical=False)


def telling(state: State, rng: random.Random) -> Telling:
    """Describe `state` in the words of recordings' captions and, for the most part, of the lexicon."""
    return _short_telling(state, rng, mention=(), wide=True, lexical=True)


def _short_telling(state: State, rng: random.Random, *, mention: Collection[str], wide: bool, lexical: bool) -> Telling:
    """A telling of at most `MAX_WORDS` words."""
    while len((told := _telling(state, rng, mention, wide, lexical)).words.split()) > MAX_WORDS:
        pass
    return told


def _telling(state: State, rng: random.Random, mention: Collection[str], wide: bool, lexical: bool) -> Telling:
    """A telling of any length."""

    def choose(plain: Sequence[_Wording], others: Sequence[_Wording]) -> _Wording:
        return rng.choice(others if wide and others and rng.random() < _WIDE_SHARE else plain)

    def looked_up() -> bool:
        return lexical and rng.random() < _LEXICON_SHARE

    def worded(attribute: str, words: dict[str, tuple[str, ...]]) -> str:
        value = getattr(state, attribute)
        if attribute in lexicon.ATTRIBUTES and looked_up():
            return lexicon.phrase(attribute, value, rng)
        return choose(words[value], wordings.wordings(attribute, value))

    least = _BRIEF_OMIT if lexical and rng.random() < _BRIEF_SHARE else 0.0

    def said(attribute: str, omit: float) -> bool:
        return rng.random() >= max(omit, least) or attribute in mention

    hero = worded("hero", vocabulary.HEROES)
    colour = worded("colour", vocabulary.COLOURS)
    if not said("colour", _OMIT_COLOUR):
        colour = ""
    place = worded("place", vocabulary.PLACES) if said("place", _OMIT_PLACE) else ""
    time = worded("time", vocabulary.TIMES) if said("time", _OMIT_TIME) else ""
    verb, participle = choose(vocabulary.DOINGS[state.doing], wordings.doings(state.doing))
    if looked_up():
        verb, participle = lexicon.doing(state.doing, rng)
    doing = said("doing", _OMIT_DOING)
    clauses_said = {"colour": colour, "place": place, "time": time, "doing": doing}
    unsaid = {name for name, words in clauses_said.items() if not words}

    extras: list[str] = []
    if said("weather", _OMIT_CLEAR if state.weather == "clear" else 0.0):
        extras.append(worded("weather", vocabulary.WEATHERS))
    else:
        unsaid.add("weather")
    if state.prop != "none" and said("prop", _OMIT_PROP):
        extras.append(worded("prop", vocabulary.PROPS))
    else:
        unsaid.add("prop")
    if state.happening != "none" and said("happening", _OMIT_HAPPENING):
        extras.append(worded("happening", vocabulary.HAPPENINGS))
    else:
        unsaid.add("happening")
    if len(extras) > 1 and rng.random() < 0.4:
        rng.shuffle(extras)
    plain = canonical(state, unsaid=unsaid)

    if wide and rng.random() < _FRAMES_SHARE:
        after = lexicon.colour_after(state.colour, rng) if looked_up() else ""
        parts = frames.Parts(
            hero=hero,
            colour=colour,
            colour_after=after or rng.choice(wordings.colours_after(state.colour)),
            place=place,
            time=time,
            verb=verb if doing else "",
            participle=participle if doing else "",
            extras=tuple(extras),
            opening=rng.choice(wordings.openings()),
        )
        return Telling(frames.sentence(parts, rng), plain, frozenset(unsaid))

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
    return Telling(", ".join(clause for clause in clauses if clause), plain, frozenset(unsaid))


def canonical(state: State, *, unsaid: Collection[str] = ()) -> str:
    """Describe `state` completely but for the attributes in `unsaid`, always in the same words; the hero is always
    named."""

    def said(attribute: str, words: str) -> str:
        return "" if attribute in unsaid else words

    hero = frames.article(f"{said('colour', state.colour)} {state.hero}".strip())
    doing = said("doing", vocabulary.DOINGS[state.doing][0][0])
    place = said("place", vocabulary.PLACES[state.place][0])
    time = said("time", vocabulary.TIMES[state.time][0])
    parts = [
        " ".join(f"{hero} {doing} {place} {time}".split()),
        said("weather", vocabulary.WEATHERS[state.weather][0]),
        said("prop", next(iter(vocabulary.PROPS[state.prop]), "")),
        said("happening", next(iter(vocabulary.HAPPENINGS[state.happening]), "")),
    ]
    return ", ".join(part for part in parts if part)


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
