"""Other words for what the diorama shows, so that a model trained on its captions understands more than its vocabulary.

`wordings.json` names them by attribute and value, in the form that `vocabulary` has; nothing there is canonical. None
of the content words of the paraphrase suite are among them: it measures what a model makes of words it never read.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("wordings.json")


def wordings(attribute: str, value: str) -> list[str]:
    """Return the other wordings of a value of place, time, weather, hero, colour, prop or happening."""
    return list(read()[attribute][value])


def colours_after(value: str) -> list[str]:
    """Return phrases for a colour that follow the hero, such as "all in red"."""
    return list(read()["colour after the hero"][value])


def openings() -> list[str]:
    """Return words that may stand before a hero, such as "we see"."""
    return list(read()["opening"])


def doings(value: str) -> list[tuple[str, str]]:
    """Return the other wordings of what the hero does, each as finite verb and participle."""
    return [(verb, participle) for verb, participle in read()["doing"][value]]


def events(attribute: str, value: str) -> list[str]:
    """Return the other phrases for a change of `attribute` to `value`."""
    return list(read()["event"][attribute][value])


@cache
def read() -> dict[str, Any]:
    """Read the committed file."""
    words: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return words
