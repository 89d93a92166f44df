"""Steering: a scene runs, words change one attribute; is that seen in time, does the rest stay, and is it seen when the
receipt says that frames are fully under the words?

Shapes: T frames, H W picture height and width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eddyline_runtime.evaluation.dreams import Cue, Frames, Script
from eddyline_runtime.evaluation.figures import Figure
from eddyline_runtime.evaluation.intervals import median, rate, ratio
from eddyline_runtime.evaluation.probe import WINDOW_FRAMES, Probe
from eddyline_runtime.evaluation.reading import MOMENTARY, read_scene
from eddyline_runtime.evaluation.suite import Turn
from eddyline_runtime.prompts import Wish

BEFORE_S = 2.0
"""How long a scene runs before the words."""
AFTER_S = 3.0
"""How long it is watched after them; what was kept is read in the last second."""
WITHIN_CHUNKS = 6
"""The new value must be there within so many chunks: 3 s in the smooth profile, 1.5 s in the responsive one."""
_LONG_FRAMES = 10_000
"""How long an event is held: to the end."""


def within_s(*, fps: float, chunk_frames: int) -> float:
    """How soon words must be followed in a profile with chunks of so many frames, seconds."""
    return WITHIN_CHUNKS * chunk_frames / fps


@dataclass(frozen=True)
class TurnOutcome:
    """How a turn went.

    delay_s: from the words to the first frame of the new value; None if it was there already, or never came. kept:
    for each attribute that was right before an event and that the event leaves alone, whether it was right at the end.
    """

    delay_s: float | None
    kept: dict[str, bool]


def watched_frames(*, fps: float, num_chunks: int, chunk_frames: int) -> int:
    """How many frames of a turn are dreamed: `BEFORE_S` and `AFTER_S`, and at least a second from the first frame that
    is fully under the words, in a profile with so many chunks of so many frames."""
    asked = -(-round(BEFORE_S * fps) // chunk_frames) * chunk_frames
    full = asked + (num_chunks - 1) * chunk_frames
    return max(round((BEFORE_S + AFTER_S) * fps), full + round(fps))


def turn_script(turn: Turn, seed: int, *, fps: float) -> Script:
    """The scene, then the words. They count from the last frame made, so what a view holds ready comes on top."""
    words = Wish(id=0, verb=turn.verb, text=turn.words, hold_frames=_LONG_FRAMES)
    return Script(prompt=turn.scene.prompt, seed=seed, cues=(Cue(at=round(BEFORE_S * fps), words=words),))


def judge_turn(probe: Probe, turn: Turn, frames: Frames, *, fps: float, said_at: int) -> TurnOutcome:
    """Read a turn whose words came before frame `said_at`."""
    second = round(fps)
    before = read_scene(probe, frames[max(0, said_at - second) : said_at])
    after = read_scene(probe, frames[-second:])
    delay = _delay(probe, turn, frames, said_at)
    return TurnOutcome(delay_s=None if delay is None else delay / fps, kept=_kept(turn, before, after))


def seen_when_full(probe: Probe, turn: Turn, frames: Frames, *, fps: float, said_at: int, full_at: int | None) -> bool:
    """Whether the new value is there in the second from frame `full_at` on, the receipt's first full frame (None: it
    has none), and was not in the second before the words."""
    if full_at is None:
        return False
    second = round(fps)
    before, full = frames[max(0, said_at - second) : said_at], frames[full_at : full_at + second]
    return read_scene(probe, before)[turn.attribute] != turn.value == read_scene(probe, full)[turn.attribute]


def _kept(turn: Turn, before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, bool]:
    """Prompts do not count: they say everything anew. Neither does what comes and goes by itself."""
    if turn.verb != "event":
        return {}
    left_alone = [name for name in turn.scene.labels if name != turn.attribute and name not in MOMENTARY]
    wanted = {name: turn.scene.labels[name] for name in left_alone}
    return {name: after[name] == value for name, value in wanted.items() if before.get(name) == value}


def _delay(probe: Probe, turn: Turn, frames: Frames, said_at: int) -> int | None:
    """Frames from the words to the new value: its first two windows in a row; None if it was there already or never
    comes."""
    wanted = probe.labels[turn.attribute].index(turn.value)
    before = probe.look(frames[:said_at])[turn.attribute]
    if before[-len(before) // 3 :].mean(axis=0).argmax() == wanted:
        return None
    after = probe.look(frames[said_at:])[turn.attribute].argmax(axis=1) == wanted
    for window in range(len(after) - 1):
        if after[window] and after[window + 1]:
            return window * WINDOW_FRAMES
    return None


def steering_figures(
    turns: Sequence[Turn],
    outcomes: Sequence[TurnOutcome],
    *,
    within_s: float,
    ceilings: Mapping[str, float] | None = None,
) -> dict[str, Figure]:
    """`right`, `kept`, each also per attribute; `right_by_event`, `right_by_prompt`; the median `delay_s` of turns that
    were right. Intervals of what was kept are over turns, since the attributes of one turn go together."""
    known = ceilings or {}
    right = [outcome.delay_s is not None and outcome.delay_s <= within_s for outcome in outcomes]
    figures = {"right": rate(right, known.get("right"))} if right else {}
    groups = [("right_{}", turn.attribute) for turn in turns], [("right_by_{}", turn.verb) for turn in turns]
    for names in groups:
        for name in sorted({pattern.format(group) for pattern, group in names}):
            chosen = [hit for (pattern, group), hit in zip(names, right, strict=True) if pattern.format(group) == name]
            figures[name] = rate(chosen, known.get(name))
    figures |= _kept_figures(outcomes, known)
    delays = [
        outcome.delay_s for outcome, hit in zip(outcomes, right, strict=True) if hit and outcome.delay_s is not None
    ]
    if delays:
        figures["delay_s"] = median(delays, known.get("delay_s"))
    return figures


def receipt_figures(
    turns: Sequence[Turn], seen: Sequence[bool], ceilings: Mapping[str, float] | None = None
) -> dict[str, Figure]:
    """`seen`, also per attribute: whether each turn was, see `seen_when_full`."""
    known = ceilings or {}
    figures = {"seen": rate(seen, known.get("seen"))} if seen else {}
    for attribute in sorted({turn.attribute for turn in turns}):
        chosen = [hit for turn, hit in zip(turns, seen, strict=True) if turn.attribute == attribute]
        figures[f"seen_{attribute}"] = rate(chosen, known.get(f"seen_{attribute}"))
    return figures


def _kept_figures(outcomes: Sequence[TurnOutcome], ceilings: Mapping[str, float]) -> dict[str, Figure]:
    names = dict.fromkeys(name for outcome in outcomes for name in outcome.kept)
    figures = {
        f"kept_{name}": rate(
            [outcome.kept[name] for outcome in outcomes if name in outcome.kept], ceilings.get(f"kept_{name}")
        )
        for name in names
    }
    counted = [outcome.kept for outcome in outcomes if outcome.kept]
    if counted:
        pairs = sum(len(kept) for kept in counted)
        hits = [float(sum(kept.values())) for kept in counted]
        tries = [float(len(kept)) for kept in counted]
        figures = {"kept": ratio(hits, tries, ceilings.get("kept"), n=pairs)} | figures
    return figures
