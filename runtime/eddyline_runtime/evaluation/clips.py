"""All that is measured of one clip, dreamed or recorded; and the figures of many.

Shapes: T frames, N windows of the probe, D features.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eddyline_runtime.evaluation.dreams import Frames
from eddyline_runtime.evaluation.figures import Figure
from eddyline_runtime.evaluation.intervals import mean, ratio
from eddyline_runtime.evaluation.motion import Borders, Motion, measure_borders, measure_motion
from eddyline_runtime.evaluation.probe import Probe
from eddyline_runtime.evaluation.reading import MOMENTARY, NOTHING, settle

CLIP_S = 2.0
"""How long a clip is dreamed."""
SKIP_S = 0.5
"""How much of its start is not looked at: there a scene begins."""


@dataclass(frozen=True, eq=False)
class ClipMeasure:
    """What was found in one clip. labels: as the probe read them; features: [N, D]."""

    labels: dict[str, str]
    features: NDArray[np.float32]
    motion: Motion
    borders: Borders


def measure_clip(probe: Probe, frames: Frames, *, fps: float, chunk_frames: int) -> ClipMeasure:
    """Measure a clip of `CLIP_S` seconds or longer from `SKIP_S` on."""
    skip = round(SKIP_S * fps)
    seen = frames[skip:]
    features = probe.features(seen)
    return ClipMeasure(
        labels=settle(probe, probe.shares(features)),
        features=features,
        motion=measure_motion(seen),
        borders=measure_borders(seen, chunk_frames, first=skip),
    )


def motion_figures(
    clips: Sequence[ClipMeasure], ceilings: Mapping[str, float] | None = None
) -> dict[str, Figure | None]:
    """`dynamic_degree`, `flicker` and `border_jump` of some clips; the latter is None where no clip has a border."""
    known = ceilings or {}
    return {
        "dynamic_degree": mean([clip.motion.speed_px for clip in clips], known.get("dynamic_degree")),
        "flicker": mean([clip.motion.flicker for clip in clips], known.get("flicker")),
        "border_jump": border_figure(
            [clip.borders for clip in clips if is_calm(clip)], ceiling=known.get("border_jump")
        ),
    }


def is_calm(clip: ClipMeasure) -> bool:
    """Whether nothing was read that passes by: a flash is a jump of its own, wherever chunks begin."""
    return all(clip.labels.get(name, NOTHING) == NOTHING for name in MOMENTARY)


def border_figure(borders: Sequence[Borders], *, ceiling: float | None = None) -> Figure | None:
    """The jump at borders over the change inside chunks, of clips that have both; None if there are none."""
    both = [found for found in borders if math.isfinite(found.across) and math.isfinite(found.inside)]
    if not any(found.inside for found in both):
        return None
    return ratio([found.across for found in both], [found.inside for found in both], ceiling)
