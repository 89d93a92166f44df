"""The text line of `eddyline play`: what was typed so far, and which of the world's phrases could come next.

Plain state without a window: `window.py` feeds it keys and draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_CHARS = 300
"""The longest line that can be typed."""


@dataclass
class WordLine:
    """A line of text with its end as the only place to write, and the phrases of a world to complete it with."""

    phrases: tuple[str, ...] = ()
    text: str = ""
    has_focus: bool = True
    """Whether letters go into the line (otherwise they are keys of the game)."""
    turn: int = 0
    """Which handful of phrases an empty line suggests."""

    def type(self, text: str) -> None:
        """Write at the end of the line; what is not printable, or would not fit, is left out."""
        self.text = (self.text + "".join(letter for letter in text if letter.isprintable()))[:MAX_CHARS]

    def erase(self, *, word: bool = False) -> None:
        """Remove the last letter, or the last word with the spaces after it."""
        if word:
            kept = self.text.rstrip()
            self.text = kept[: kept.rfind(" ") + 1]
        else:
            self.text = self.text[:-1]

    def escape(self) -> None:
        """Empty the line; an empty line gives up the focus."""
        if self.text:
            self.text = ""
        else:
            self.has_focus = False

    def take(self) -> str:
        """Return what was typed and empty the line; an empty string when there is nothing but spaces."""
        text, self.text = " ".join(self.text.split()), ""
        if text:
            self.turn += 1
        return text

    def suggestions(self, limit: int) -> list[str]:
        """At most `limit` phrases that go on from what was typed; on an empty line, a handful of all of them."""
        return suggest(self.text, self.phrases, limit=limit, turn=self.turn)

    def complete(self, phrase: str) -> None:
        """Put `phrase` into the line, in place of the beginning of it that was typed already."""
        shared = overlap(self.text, phrase)
        kept = self.text[: len(self.text) - shared]
        space = "" if shared or not kept or kept.endswith(" ") else " "
        self.text = (kept + space + phrase)[:MAX_CHARS]


def overlap(text: str, phrase: str) -> int:
    """How many letters at the end of `text`, from the start of a word on, are the beginning of `phrase` or of one of
    its words; 0 for none. Case does not count."""
    lower, target = text.lower(), phrase.lower()
    starts = [0, *(place + 1 for place, letter in enumerate(lower) if letter == " ")]
    for start in starts:
        tail = lower[start:]
        if tail.strip() and target.startswith(tail):
            return len(tail)
    last = lower[starts[-1] :]
    return len(last) if last and any(word.startswith(last) for word in target.split()) else 0


def suggest(text: str, phrases: Sequence[str], *, limit: int, turn: int = 0) -> list[str]:
    """The phrases that could complete `text`, those that share most with it first.

    When nothing is begun (an empty line, or a finished phrase), a handful from all over the list, another each turn.
    """
    if not phrases or limit < 1:
        return []
    finished = not text or text.endswith(" ") or any(text.lower().endswith(phrase.lower()) for phrase in phrases)
    if not finished:
        shared = [(overlap(text, phrase), phrase) for phrase in phrases]
        found = [(size, phrase) for size, phrase in shared if size > 0]
        return [phrase for _, phrase in sorted(found, key=lambda pair: -pair[0])[:limit]]
    stride = max(1, len(phrases) // limit)
    return list(dict.fromkeys(phrases[(turn + number * stride) % len(phrases)] for number in range(limit)))
