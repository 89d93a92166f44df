"""Game events become words: who sees what, from where it stands, how often, and in what order. Pure: no view, no clock.

    from eddyline.director import Director, GameEvent, Observer, Rule

    director = Director(
        [
            Rule("theft", "{who} runs past {where}", hold_s=3.0),
            Rule("bell", "an alarm bell rings", heard_within=900.0, priority=2),
        ],
        phrases=runtime.world.phrases,
    )
    ...
    observers = [Observer("guard", x=guard.x), Observer("cat", x=cat.x, sight=150.0)]
    for line in director.direct([GameEvent("theft", x=thief.x, who="a thief")], observers, now_s=time):
        views[line.observer].event(line.text, hold_s=line.hold_s)

Places are in the game's own units, x to the right and y down as pygame has them; times are seconds on any clock.
"""

from __future__ import annotations

import difflib
import math
import re
import string
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from eddyline.errors import OptionError
from eddyline.protocol import MAX_HOLD_S

__all__ = [
    "Director",
    "GameEvent",
    "Line",
    "Observer",
    "Rule",
    "Side",
    "knows_of",
    "sees",
    "side",
    "unknown_words",
    "word",
]

Side: TypeAlias = Literal["left", "right", "ahead", "behind"]
"""On which side of an observer something is; seen from the side, only `"left"` and `"right"`."""

MAX_WAITING = 16
"""Clauses that wait for one observer; of more, the least important ones are left out."""
MAX_REMEMBERED = 1024
"""Observers of whom the director remembers what they were told; of more, those that came least recently are
forgotten, as if they were new."""
MISSPELT = 0.75
"""How alike (difflib's ratio) a word must be to an unknown one to be offered for it; others share letters only."""
AHEAD_DEG, BEHIND_DEG = 30.0, 150.0
"""Bearings up to the first are ahead, beyond the second behind."""
_LETTERS = re.compile(r"[a-z]+")
_FUNCTION = """
a an the in on at by of to and or is are it its as with there this that for from no now out up off left right past ahead
behind
"""
_FUNCTION_WORDS = frozenset(_FUNCTION.split())


@dataclass(frozen=True)
class GameEvent:
    """Something that happened in the game, at a place."""

    kind: str
    """Which rules speak of it."""
    x: float
    """To the right."""
    y: float = 0.0
    """Down."""
    who: str = ""
    """Who takes part, in words ("a thief")."""
    what: str = ""
    """What takes part, in words ("a chest")."""


@dataclass(frozen=True)
class Observer:
    """Somebody in whose view the game's events are told, and where it is at one moment."""

    name: str
    """Of the observer, and of its view."""
    x: float
    """To the right."""
    y: float = 0.0
    """Down."""
    facing_deg: float | None = None
    """Where it looks, 0 along x and 90 along y; None for a picture from the side, in which left is where x is smaller
    and everything within `sight` is seen."""
    fov_deg: float = 120.0
    """How wide it looks, over 0 and up to 360."""
    sight: float = math.inf
    """How far it sees."""


@dataclass(frozen=True)
class Rule:
    """How events of one kind are told.

    Raises OptionError for a field that `words` cannot have, braces that do not match, no words, or a number out of
    range.
    """

    kind: str
    """Of the events, as `GameEvent.kind` says it."""
    words: str
    """What is told; may name {who}, {what}, {side} ("left", "ahead") and {where} ("on the left", "ahead")."""
    observers: tuple[str, ...] = ()
    """Told only to these; empty: to all."""
    heard_within: float = 0.0
    """So far away it is told to those, too, who do not see it."""
    priority: int = 0
    """Higher comes first."""
    hold_s: float = 4.0
    """How long it lasts in the picture, over 0 and up to 3600."""
    cooldown_s: float = 2.0
    """The same rule is not told to the same observer again sooner."""

    def __post_init__(self) -> None:
        """Check everything that does not depend on events."""
        if not self.words.strip():
            raise OptionError(f"the rule for {self.kind!r} has no words; say what the view shall show")
        unknown = sorted(_fields(self.words) - {"who", "what", "side", "where"})
        if unknown:
            raise OptionError(
                f"the rule for {self.kind!r} names {{{unknown[0]}}}; its words may have {{who}}, {{what}}, {{side}} "
                "and {where}"
            )
        if not 0.0 < self.hold_s <= MAX_HOLD_S:
            raise OptionError(f"hold_s={self.hold_s!r} of {self.kind!r}; give seconds, over 0 and up to {MAX_HOLD_S:g}")
        if not (self.cooldown_s >= 0.0 and self.heard_within >= 0.0):
            raise OptionError(
                f"cooldown_s={self.cooldown_s!r} and heard_within={self.heard_within!r} of {self.kind!r}; neither may "
                "be below 0"
            )


@dataclass(frozen=True)
class Line:
    """What to tell one view now. Made by `Director.direct()`."""

    observer: str
    """The name of the observer in whose view it is to be told."""
    text: str
    """For `View.event`."""
    hold_s: float
    """For `View.event`: how long it lasts in the picture."""
    kinds: tuple[str, ...]
    """The events it tells of, the most important first."""


@dataclass(frozen=True)
class _Clause:
    """One event told to one observer, still unsaid."""

    kind: str
    text: str
    hold_s: float
    priority: int
    since_s: float


@dataclass
class _Audience:
    """What the director remembers of one observer."""

    waiting: list[_Clause] = field(default_factory=list)
    told_s: dict[int, float] = field(default_factory=dict)
    """When each rule was taken up last."""
    spoken_s: float = -math.inf


class Director:
    """Turns the events of each turn of the game's loop into lines for the views that can know of them.

    rules: several may speak of one kind; each does. phrases: what the world knows best (`runtime.world.phrases`); rules
    whose words are not among theirs are refused, for the picture would not show them; empty: nothing is checked.
    known_words: words that the world knows although its phrases lack them. observers: the names there can be; a rule
    for others is refused; empty: not checked. gap_s: a view is told something at most so often. clauses: events told in
    one line at most, the most important first. stale_s: what waited longer is no news and left out.

    Raises OptionError for rules that name nobody or say what the world does not know, and numbers out of range.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        *,
        phrases: Collection[str] = (),
        known_words: Collection[str] = (),
        observers: Collection[str] = (),
        gap_s: float = 1.0,
        clauses: int = 2,
        stale_s: float = 3.0,
    ) -> None:
        self._rules = tuple(rules)
        self._gap_s, self._clauses, self._stale_s = gap_s, clauses, stale_s
        self._phrases, self._known = tuple(phrases), _stems((*phrases, *known_words))
        self._audiences: dict[str, _Audience] = {}
        self.left_out = 0
        """Clauses that were never told: stale, or crowded out by more important ones."""
        if not (gap_s >= 0.0 and stale_s >= 0.0 and clauses >= 1):
            raise OptionError(f"gap_s={gap_s!r}, stale_s={stale_s!r}, clauses={clauses!r}; give 0, 0 and 1 or more")
        for rule in self._rules:
            _check_named(rule, observers)
            self._check_known(rule.kind, re.sub(r"\{\w*\}", " ", rule.words))

    def direct(self, events: Iterable[GameEvent], observers: Sequence[Observer], *, now_s: float) -> list[Line]:
        """Take in what happened since the last call, and return what to tell now, in the order of `observers`.

        Call it in every turn of the game's loop, without events too: what waits is told when its time comes. `now_s`
        must not go back. Raises OptionError when an event lacks what its rule names or says what the world does not
        know, or two observers have one name.
        """
        if len({observer.name for observer in observers}) < len(observers):
            raise OptionError("two observers have one name; names tell views apart")
        happened = tuple(events)
        lines = []
        for observer in observers:
            audience = self._audiences.pop(observer.name, None) or _Audience()
            self._audiences[observer.name] = audience  # last, as the one that came most recently
            for event in happened:
                self._hear(audience, observer, event, now_s)
            line = self._speak(audience, observer.name, now_s)
            if line is not None:
                lines.append(line)
        while len(self._audiences) > max(MAX_REMEMBERED, len(observers)):
            del self._audiences[next(iter(self._audiences))]
        return lines

    def _hear(self, audience: _Audience, observer: Observer, event: GameEvent, now_s: float) -> None:
        for number, rule in enumerate(self._rules):
            if rule.kind != event.kind or not knows_of(observer, event, rule):
                continue
            if now_s - audience.told_s.get(number, -math.inf) < rule.cooldown_s:
                continue
            text = word(rule, event, observer)
            self._check_known(rule.kind, text)
            audience.told_s[number] = now_s
            audience.waiting.append(_Clause(rule.kind, text, rule.hold_s, rule.priority, now_s))
        audience.waiting.sort(key=lambda clause: (-clause.priority, clause.since_s))
        self.left_out += len(audience.waiting[MAX_WAITING:])
        del audience.waiting[MAX_WAITING:]

    def _check_known(self, kind: str, text: str) -> None:
        if not self._phrases:
            return
        unknown = _unknown(text, self._known)
        if unknown:
            known = {word for phrase in self._phrases for word in _LETTERS.findall(phrase.lower())} - _FUNCTION_WORDS
            near = difflib.get_close_matches(unknown[0], sorted(known), n=3, cutoff=MISSPELT)
            hint = f"it knows {', '.join(near)}" if near else "use words of its phrases"
            raise OptionError(
                f"the rule for {kind!r} says {unknown[0]!r}, which no phrase of this world has; {hint}, or name it in "
                "known_words"
            )

    def _speak(self, audience: _Audience, name: str, now_s: float) -> Line | None:
        fresh = [clause for clause in audience.waiting if now_s - clause.since_s <= self._stale_s]
        self.left_out += len(audience.waiting) - len(fresh)
        audience.waiting = fresh
        if not fresh or now_s - audience.spoken_s < self._gap_s:
            return None
        said, audience.waiting = fresh[: self._clauses], fresh[self._clauses :]
        audience.spoken_s = now_s
        return Line(
            observer=name,
            text=", ".join(dict.fromkeys(clause.text for clause in said)),
            hold_s=max(clause.hold_s for clause in said),
            kinds=tuple(dict.fromkeys(clause.kind for clause in said)),
        )


def knows_of(observer: Observer, event: GameEvent, rule: Rule) -> bool:
    """Whether an observer sees or hears an event, and the rule is for it."""
    if rule.observers and observer.name not in rule.observers:
        return False
    distance = math.hypot(event.x - observer.x, event.y - observer.y)
    return sees(observer, event) or distance <= rule.heard_within


def sees(observer: Observer, event: GameEvent) -> bool:
    """Whether an event is within an observer's sight and field of view."""
    if not math.hypot(event.x - observer.x, event.y - observer.y) <= observer.sight:  # nor at a place of NaN
        return False
    return observer.facing_deg is None or abs(_bearing_deg(observer, event)) <= observer.fov_deg / 2


def side(observer: Observer, event: GameEvent) -> Side:
    """On which side of an observer an event is."""
    if observer.facing_deg is None:
        return "left" if event.x < observer.x else "right"
    bearing = _bearing_deg(observer, event)
    if abs(bearing) <= AHEAD_DEG:
        return "ahead"
    if abs(bearing) > BEHIND_DEG:
        return "behind"
    return "right" if bearing > 0 else "left"


def word(rule: Rule, event: GameEvent, observer: Observer) -> str:
    """A rule's words for one event, as one observer would say it.

    Raises OptionError when the event lacks what the words name.
    """
    for name in ("who", "what"):
        if name in _fields(rule.words) and not getattr(event, name).strip():
            raise OptionError(
                f"the rule for {rule.kind!r} says {{{name}}}, and the event has none; give {name}= in words"
            )
    seen = side(observer, event)
    where = f"on the {seen}" if seen in ("left", "right") else seen
    return rule.words.format(who=event.who, what=event.what, side=seen, where=where)


def unknown_words(text: str, phrases: Collection[str], known_words: Collection[str] = ()) -> tuple[str, ...]:
    """The words of a text that no phrase has in any of their forms; function words and sides are always known."""
    return _unknown(text, _stems((*phrases, *known_words)))


def _stems(phrases: Iterable[str]) -> frozenset[str]:
    return frozenset(_stem(word) for phrase in phrases for word in _LETTERS.findall(phrase.lower()))


def _unknown(text: str, known: Collection[str]) -> tuple[str, ...]:
    """The words of a text whose stems are not among those that are known."""
    words = dict.fromkeys(_LETTERS.findall(text.lower()))
    return tuple(word for word in words if word not in _FUNCTION_WORDS and _stem(word) not in known)


def _bearing_deg(observer: Observer, event: GameEvent) -> float:
    """Where an event is from where an observer looks, -180 to 180; to its right is above 0, for y points down. What
    happens where the observer stands is ahead, whichever way it looks."""
    right, down = event.x - observer.x, event.y - observer.y
    if right == 0 == down:
        return 0.0
    absolute = math.degrees(math.atan2(down, right))
    return (absolute - (observer.facing_deg or 0.0) + 180.0) % 360.0 - 180.0


def _fields(words: str) -> set[str]:
    """The fields that words name. Raises OptionError for braces that do not match, and more than a name in them."""
    try:
        parts = tuple(string.Formatter().parse(words))
    except ValueError as error:
        raise OptionError(
            f"the words {words!r} cannot be read: {error}; a field is written {{who}}, a brace as such twice"
        ) from error
    for _, name, how, conversion in parts:
        if how or conversion:
            raise OptionError(f"the words {words!r} say how {{{name}}} is written; give its name alone")
    return {name for _, name, _, _ in parts if name is not None}


def _check_named(rule: Rule, observers: Collection[str]) -> None:
    missing = [name for name in rule.observers if observers and name not in observers]
    if missing:
        raise OptionError(
            f"the rule for {rule.kind!r} is for {missing[0]!r}, who is nobody here; use some of {', '.join(observers)}"
        )


def _stem(word: str) -> str:
    """A word without the ending that only grammar gave it."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word
