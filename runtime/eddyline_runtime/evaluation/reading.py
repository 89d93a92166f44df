"""Reading a dream: what the probe sees in it as a whole, and how that compares with what was asked for.

Shapes: T frames, H W picture height and width, N windows of the probe, V values of an attribute.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from eddyline_runtime.evaluation.dreams import Frames
from eddyline_runtime.evaluation.figures import Figure
from eddyline_runtime.evaluation.intervals import rate
from eddyline_runtime.evaluation.probe import Probe

MOMENTARY = ("happening",)
"""Attributes that are only to be seen now and then while they last (lightning between two flashes)."""
_MOMENTARY_WINDOWS = 2
"""In so many windows a passing thing must be seen."""
NOTHING = "none"
"""The value of a passing attribute while nothing passes."""
ALL = "all"
"""The figure of everything right at once."""

Labels = Mapping[str, str]
"""The value of each attribute."""


def read_scene(probe: Probe, frames: Frames) -> dict[str, str]:
    """Read the frames of one scene; see `settle`."""
    return settle(probe, probe.look(frames))


def settle(probe: Probe, shares: Mapping[str, NDArray[np.float32]]) -> dict[str, str]:
    """From probabilities [N, V] of a scene's windows to its labels: the likeliest value of each attribute, passing
    things if they were seen at all."""
    labels = {name: probe.labels[name][int(seen.mean(axis=0).argmax())] for name, seen in shares.items()}
    for name in MOMENTARY:
        if name in shares:
            values = Counter(probe.labels[name][int(row.argmax())] for row in shares[name])
            passing = [(value, count) for value, count in values.most_common() if value != NOTHING]
            enough = min(_MOMENTARY_WINDOWS, len(shares[name]))
            labels[name] = passing[0][0] if passing and passing[0][1] >= enough else NOTHING
    return labels


def score_labels(
    wanted: Sequence[Labels], read: Sequence[Labels], ceilings: Mapping[str, float] | None = None
) -> dict[str, Figure]:
    """How often each attribute is as it was wanted, and all of them at once.

    Intervals take scenes as independent; where a prompt was dreamed under several seeds they are a little too narrow.
    """
    names = [name for name in wanted[0] if name in read[0]] if wanted else []
    hits = {name: [want[name] == got[name] for want, got in zip(wanted, read, strict=True)] for name in names}
    if not hits:
        return {}
    hits[ALL] = [all(row) for row in zip(*hits.values(), strict=True)]
    known = ceilings or {}
    return {name: rate(right, known.get(name)) for name, right in hits.items()}
