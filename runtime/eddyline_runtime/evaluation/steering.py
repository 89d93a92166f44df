"""Steering: a scene runs, words change one attribute; is that seen in time, and does the rest stay?

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
