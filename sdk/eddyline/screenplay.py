"""Scripts of films: what is said, and which keys are held, at which second of a film. From a file, or for a world.

A file is a text in UTF-8. A line says the second, the verb and the words, such as `2.5 event (4 s): it starts to rain`;
empty ones, and those that begin with #, are passed over. The first is the prompt that the view is opened with, at 0.
`prompt`, `event` and `cut` do what the view's methods do, and an event that does not say how long lasts as long as
theirs. `keys: ArrowLeft, ArrowUp` holds those that it names and lets go of all others. The film ends at a last line
`12 end`; without it, LAST_S after the line before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from eddyline.errors import ScriptError, UsageError
from eddyline.keys import held_state
from eddyline.link import World
from eddyline.protocol import MAX_HOLD_S
from eddyline.view import check_text

Verb: TypeAlias = Literal["prompt", "event", "cut", "keys"]

HOLD_S = 4.0
"""How long an event lasts that does not say it, as in `View.event`."""
STEP_S = 2.5
"""What a step of a script lasts at least: words need some 1.5 s until they show fully, and then a moment to be seen."""
LAST_S = 5.0
"""What is filmed after the last line of a file that does not say where the film ends."""
MAX_SCRIPT_S = 3600.0
MAX_LINES = 400
"""Of a file; the contact sheet has a picture for each."""
MAX_SCRIPT_BYTES = 1 << 20
EXAMPLE = "`2.5 event: it starts to rain`"

DIORAMA_SCRIPT: tuple[tuple[Verb, str], ...] = (
    ("prompt", "a red fox walks right in a forest by day, the sky is clear"),
    ("event", "it starts to rain"),
    ("prompt", "a blue knight stands in a castle hall at night, a lit torch"),
    ("event", "the hero turns into a ghost"),
    ("prompt", "a yellow pig walks left on a beach at sunset"),
    ("event", "night falls"),
    ("prompt", "a purple cat jumps in a snowfield by day, it snows"),
    ("event", "fireworks go off"),
)

_LINE = re.compile(r"(?P<at>\S+)(?:\s+s)?\s+(?P<verb>\w+)\s*(?P<hold>\([^)]*\))?\s*(?P<words>.*)")


@dataclass(frozen=True)
class ScriptLine:
    """What to do when the film has reached `at_s` seconds."""

    at_s: float
    verb: Verb
    text: str
    """Words, or the names of keys."""
    hold_s: float = HOLD_S
    """How long an event lasts."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that a line of this kind names."""
        return tuple(self.text.replace(",", " ").split())


@dataclass(frozen=True)
class Script:
    """A film as a file tells it: its lines in the order of their time, the first a prompt at 0, and its length."""

    lines: tuple[ScriptLine, ...]
    seconds: float


def steps_that_fit(seconds: float) -> int:
    """How many steps of a script have STEP_S each within so many seconds; one at least."""
    return max(1, int(seconds / STEP_S))


def script_for(world: World, *, seconds: float) -> list[ScriptLine]:
    """A script of prompts and events for a world, as many as fit, spread evenly over `seconds`, each event in force
    until the next; other worlds than the embedded one get their own phrases as prompts."""
    words: Sequence[tuple[Verb, str]] = DIORAMA_SCRIPT
    if world.model != "diorama":
        phrases = world.phrases or ("a quiet landscape", "a storm comes up")
        stride = max(1, len(phrases) // len(DIORAMA_SCRIPT))
        words = [("prompt", phrase) for phrase in phrases[::stride][: len(DIORAMA_SCRIPT)]]
    words = words[: steps_that_fit(seconds)]
    step_s = seconds / len(words)
    return [ScriptLine(number * step_s, verb, text, hold_s=step_s) for number, (verb, text) in enumerate(words)]


def read_script(path: Path) -> Script:
    """Read a file. Raises ScriptError where it is missing or no script, with the line and what to write instead."""
    try:
        with open(path, "rb") as file:
            written = file.read(MAX_SCRIPT_BYTES + 1)
        if len(written) > MAX_SCRIPT_BYTES:
            raise ScriptError(f"{path} has over {MAX_SCRIPT_BYTES} bytes; name a text with lines such as {EXAMPLE}")
        return parse_script(written.decode("utf-8-sig"), name=str(path))
    except OSError as error:
        raise ScriptError(
            f"{path} cannot be read ({error.strerror}); name a text with lines such as {EXAMPLE}"
        ) from error
    except UnicodeDecodeError as error:
        raise ScriptError(f"{path} is no text in UTF-8 ({error.reason}); save it as such") from error


def parse_script(text: str, *, name: str) -> Script:
    """Read the text of a file that is called so; raises as `read_script`."""
    lines: list[ScriptLine] = []
    last = end = 0  # the number of the last line that said something, and of the end
    end_s: float | None = None
    for number, written in enumerate(text.split("\n"), 1):
        said = written.strip()
        if not said or said.startswith("#"):
            continue
        try:
            if end_s is not None:
                raise ScriptError(f"the film ends in line {end}; write no more after it")
            line = _line(said)
            at_s = line if isinstance(line, float) else line.at_s
            if not lines and not (isinstance(line, ScriptLine) and line.verb == "prompt" and at_s == 0.0):
                raise ScriptError(f"{said[:40]!r} comes first; begin with a scene, such as `0 prompt: a red fox`")
            if lines and at_s < lines[-1].at_s:
                raise ScriptError(f"{at_s:g} s is before line {last}, at {lines[-1].at_s:g} s; write them in order")
            if isinstance(line, ScriptLine):
                if len(lines) == MAX_LINES:
                    raise ScriptError(f"one line too many; the limit is {MAX_LINES}: make two films of it")
                lines.append(line)
                last = number
            else:
                if at_s == lines[-1].at_s:
                    raise ScriptError(f"the film ends at the second of line {last}; let it go on after that")
                end_s, end = at_s, number
        except UsageError as error:
            raise ScriptError(f"{name}, line {number}: {error}") from error
    if not lines:
        raise ScriptError(f"{name} says nothing; begin with a scene, such as `0 prompt: a red fox`")
    return Script(tuple(lines), lines[-1].at_s + LAST_S if end_s is None else end_s)


def _line(said: str) -> ScriptLine | float:
    """What one line says, or the second at which the film ends. Raises a UsageError that says what is wrong with it."""
    found = _LINE.fullmatch(said)
    if found is None:
        raise ScriptError(f"{said[:40]!r} says no second and verb; write a line such as {EXAMPLE}")
    at, verb, hold, words = found["at"], found["verb"], found["hold"], found["words"]
    at_s = _seconds(at)
    if at_s is None or not 0.0 <= at_s <= MAX_SCRIPT_S:
        raise ScriptError(f"{at!r} is no second of the film; begin with a number from 0 to {MAX_SCRIPT_S:g}")
    if verb == "end":
        if hold or words:
            raise ScriptError(f"{(hold or '') + words!r} stands after `end`; write `{at} end` alone")
        return at_s
    known = next((one for one in get_args(Verb) if one == verb), None)
    if known is None:
        raise ScriptError(f"unknown verb {verb!r}; use {', '.join(get_args(Verb))} or end")
    hold_s = HOLD_S
    if hold:
        told_s = _seconds(hold[1:-1].strip())
        if known != "event" or told_s is None or not 0.0 < told_s <= MAX_HOLD_S:
            raise ScriptError(
                f"{verb} {hold}; an event alone takes seconds in brackets, over 0 and up to {MAX_HOLD_S:g}, such as "
                "`event (4 s): it starts to rain`"
            )
        hold_s = told_s
    if not words.startswith(":"):
        raise ScriptError(f"there is no colon after {verb}{f' {hold}' if hold else ''}; write a line such as {EXAMPLE}")
    line = ScriptLine(at_s, known, words[1:].strip(), hold_s)
    if known == "keys":
        held_state(line.keys, None)  # which other names are actions, the world alone knows
    else:
        check_text(line.text)
    return line


def _seconds(text: str) -> float | None:
    try:
        return float(text.removesuffix("s"))
    except ValueError:
        return None
