"""Places: a scene is left for another place and then returned to, by its bookmark or by its prompt alone; how much does
it look as it did?

Likeness is the cosine between what the probe's features are on average in two stretches of video.

Shapes: T frames, H W picture height and width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eddyline_runtime.evaluation.dreams import Cue, Frames, Script
from eddyline_runtime.evaluation.figures import Figure
from eddyline_runtime.evaluation.intervals import mean
from eddyline_runtime.evaluation.probe import Probe
from eddyline_runtime.evaluation.suite import Turn
from eddyline_runtime.prompts import Wish

PLACE = "place"
"""The attribute that the turns change which leave a scene."""
BEFORE_S = 4.0
"""How long a scene runs before it is bookmarked and left."""
AWAY_S = 4.0
"""How long it is left for."""
BACK_S = 4.0
"""How long it is watched after the return."""
LOOK_S = 2.0
"""How long a stretch is that is compared: the last before the bookmark, away, and after the return. So the frames right
after it, which are those of the bookmark, do not count, and a prompt has had the time to be followed."""
LENGTH_S = BEFORE_S + AWAY_S + BACK_S

RETURNED, PROMPTED, STAYED, LEFT = "returned", "prompted", "stayed", "left"
"""Likeness after a return to the bookmark, after the prompt was said again, in a scene that was never left, and while
it was left."""


def place_scripts(turn: Turn, seed: int, *, fps: float) -> dict[str, Script]:
    """The scene of a turn, left and returned to, left and described again, and never left."""
    before, back = round(BEFORE_S * fps), round((BEFORE_S + AWAY_S) * fps)
    prompt, name = turn.scene.prompt, "here"
    leave = Wish(id=0, verb=turn.verb, text=turn.words, hold_frames=back - before)
    marked = (Cue(at=before, bookmark=name), Cue(at=before, words=leave))
    returning = Wish(id=1, verb="cut", text=prompt, bookmark=name)
    prompting = Wish(id=1, verb="prompt", text=prompt)
    return {
        RETURNED: Script(prompt=prompt, seed=seed, cues=(*marked, Cue(at=back, words=returning))),
        PROMPTED: Script(prompt=prompt, seed=seed, cues=(*marked, Cue(at=back, words=prompting))),
        STAYED: Script(prompt=prompt, seed=seed),
    }


@dataclass(frozen=True)
class Likeness:
    """How much a stretch of video is like the one before the bookmark, -1 to 1: after the return, and while away."""

    back: float
    away: float


def judge_place(probe: Probe, frames: Frames, *, fps: float) -> Likeness:
    """Compare three stretches of a scene of `LENGTH_S`."""
    ends = [round(seconds * fps) for seconds in (BEFORE_S, BEFORE_S + AWAY_S, LENGTH_S)]
    look = round(LOOK_S * fps)
    before, away, back = (probe.features(frames[end - look : end]).mean(axis=0) for end in ends)
    return Likeness(back=_cosine(before, back), away=_cosine(before, away))


def place_figures(found: Mapping[str, Sequence[Likeness]]) -> dict[str, Figure]:
    """Mean likeness by how a scene was returned to, and of a scene that is left; intervals are over scenes."""
    figures = {name: mean([likeness.back for likeness in scenes]) for name, scenes in found.items() if scenes}
    left = [likeness.away for likeness in found.get(RETURNED, ())]
    return figures | ({LEFT: mean(left)} if left else {})


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    sizes = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(one @ other) / sizes if sizes else 0.0
