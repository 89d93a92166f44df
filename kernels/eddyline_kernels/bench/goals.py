"""What the kernels are meant to reach on a GPU of the H200's class, and whether a run reached it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from eddyline_kernels.bench.contest import Measurement
from eddyline_kernels.bench.suite import BACKWARD, COPY, FORWARD, GATED_CASES, MATMUL

PEAKS = {"TFLOP/s": MATMUL, "TB/s": COPY}
"""The case whose rate is the most that this device does."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One number of ours."""

    case: str
    kind: Literal["rate", "share", "speed"]
    """`rate` as measured; its `share` of the device's peak; `speed`, how often as fast as a rival."""
    must: float
    aim: float | None = None
    rival: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A goal and what was measured for it; None: not measured."""

    goal: Goal
    value: float | None
    not_counted: str | None = None
    """Why what was measured does not count; None: it does, or nothing was measured."""

    @property
    def met(self) -> bool | None:
        """None: not measured, or not counted."""
        return None if self.value is None or self.not_counted is not None else self.value >= self.goal.must


GOALS = (
    Goal(case=FORWARD, kind="rate", must=430, aim=600),
    Goal(case=FORWARD, kind="speed", rival="FlexAttention, raster order", must=1.3),
    Goal(case=FORWARD, kind="speed", rival="FlexAttention, tile order", must=1.0),
    Goal(case=FORWARD, kind="speed", rival="roll, partition, cuDNN, reverse", must=1.1),
    Goal(case=FORWARD, kind="speed", rival="cuDNN, all tokens", must=5.5),
    Goal(case=BACKWARD, kind="rate", must=230, aim=340),
    Goal(case=BACKWARD, kind="speed", rival="FlexAttention, raster order", must=1.0),
    Goal(case=BACKWARD, kind="speed", rival="FlexAttention, tile order", must=1.0),
    *(Goal(case=case, kind="share", must=0.8, aim=0.9) for case in GATED_CASES),
    *(Goal(case=case, kind="speed", rival="torch.compile", must=1.0) for case in GATED_CASES),
)


def judge(goals: Sequence[Goal], measurements: Sequence[Measurement]) -> list[Outcome]:
    """What was measured for each goal."""
    measured = [m for m in measurements if m.state == "measured"]
    ours = {m.case: m for m in measured if m.ours}
    times = {(m.case, m.method): m.median_s for m in measured}
    peaks = {unit: m.rate for unit, case in PEAKS.items() for m in measured if m.case == case}
    outcomes = []
    for goal in goals:
        value = None
        mine = ours.get(goal.case)
        if mine is not None and mine.rate is not None and mine.median_s is not None:
            peak, theirs = peaks.get(mine.unit), times.get((goal.case, goal.rival))
            if goal.kind == "rate":
                value = mine.rate
            elif goal.kind == "share" and peak is not None:
                value = mine.rate / peak
            elif goal.kind == "speed" and theirs is not None:
                value = theirs / mine.median_s
        outcomes.append(Outcome(goal=goal, value=value))
    return outcomes
