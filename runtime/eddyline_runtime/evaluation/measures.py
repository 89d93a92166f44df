"""What is known of each figure of an evaluation: its name, its unit, its goal, and which of two is better.

Figures are named by their keys in the file: "adherence.place", "steering.kept", "frechet".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from eddyline_runtime.evaluation.figures import Evaluation, Figure, RivalEvaluation

GROUPS = ("adherence", "paraphrase", "steering", "receipts", "actions", "places", "drift")
MOTION = ("frechet", "dynamic_degree", "flicker", "border_jump")
CALLS = "calls_per_second"

BETTER: Mapping[str, str] = {
    "frechet": "lower is better",
    "dynamic_degree": "nearer to recordings is better",
    "flicker": "nearer to recordings is better",
    "border_jump": "nearer to 1 is better",
    CALLS: "lower is better",
}
"""Which values are better, where it is not the higher ones."""

_LABELS = {
    "frechet": "Fréchet distance",
    "direction": "direction right",
    "delay_s": "median delay",
    "all": "all at once",
    "time": "time of day",
    "doing": "what the hero does",
    "happening": "what happens",
    "seen": "seen in time",
    "returned": "returned to its bookmark",
    "prompted": "returned to by its prompt",
    "stayed": "never left",
    "left": "while it is left",
    CALLS: "network calls a second",
}


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a figure should be at least, at most, or both; in one profile, where that is named."""

    at_least: float | None = None
    at_most: float | None = None
    profile: str | None = None

    @property
    def bounds(self) -> tuple[float, ...]:
        """One number or two, the lower first."""
        return tuple(bound for bound in (self.at_least, self.at_most) if bound is not None)

    def met(self, value: float) -> bool:
        """Whether a value reaches the goal."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


GOALS: Mapping[str, Goal] = {
    "adherence": Goal(at_least=0.90),
    "paraphrase": Goal(at_least=0.80),
    "steering.right": Goal(at_least=0.90),
    "steering.kept": Goal(at_least=0.90),
    "receipts.seen": Goal(at_least=0.85),
    "actions.direction": Goal(at_least=0.95, profile="responsive"),
    "drift": Goal(at_most=0.03),
    "drift.dynamic_degree": Goal(at_least=-0.10, at_most=0.10),
}
"""Goals of figures, or of a group: then each attribute of it has the goal, but not all at once."""


def figures_of(part: Evaluation | RivalEvaluation) -> dict[str, Figure]:
    """All figures that were measured, those of rivals apart."""
    found = {
        f"{group}.{name}": figure for group in GROUPS for name, figure in getattr(part, group, {}).items()
    }  # a rival has adherence alone
    return found | {name: figure for name in MOTION if (figure := getattr(part, name)) is not None}


def at_published_settings(name: str) -> bool:
    """Whether a way of streaming is the world's own or a rival as published; those of a sweep are NAME-SETTING."""
    return "-" not in name


def goal_for(key: str, profile: str) -> Goal | None:
    """The goal of a figure; None where there is none, or none in this profile."""
    group, _, name = key.partition(".")
    goal = GOALS.get(key) or (GOALS.get(group) if name != "all" else None)
    return goal if goal is not None and goal.profile in (None, profile) else None


def label(key: str) -> str:
    """What a figure is called within its group."""
    name = key.rpartition(".")[2]
    return _LABELS.get(name, name.replace("_", " "))


def spell(key: str, value: float) -> str:
    """A value of a figure with its unit."""
    return f"{_number(key, value)}{_unit(key)}"


def spell_interval(key: str, figure: Figure) -> str:
    """The 95 % interval of a figure in the unit of its value, which is left out."""
    whole = _is_share(key)
    low, high = (f"{100 * end:.0f}" if whole else _number(key, end) for end in figure.ci95)
    return f"[{low}, {high}]"


def spell_goal(key: str, goal: Goal) -> str:
    """A goal in the unit of its figure."""
    words = " to ".join(f"{100 * bound:g}" for bound in goal.bounds)
    sign = "" if len(goal.bounds) > 1 else "≥ " if goal.at_most is None else "≤ "
    return f"{sign}{words}{_unit(key)}"


def winners(rivals: Mapping[str, RivalEvaluation]) -> dict[str, tuple[str, ...]]:
    """For each figure that several ways of streaming have, and for the calls: who is best; several, if equal."""
    losses: dict[str, dict[str, float]] = {}
    for name, rival in rivals.items():
        for key, figure in figures_of(rival).items():
            losses.setdefault(key, {})[name] = _loss(key, figure)
        losses.setdefault(CALLS, {})[name] = rival.calls_per_second
    return {
        key: tuple(name for name, loss in costs.items() if loss == min(costs.values()))
        for key, costs in losses.items()
        if len(costs) > 1
    }


def _loss(key: str, figure: Figure) -> float:
    """How bad a figure is, on a scale of its own; lower is better."""
    if key == "frechet":
        return figure.value
    if key == "border_jump":
        return abs(figure.value - 1)
    if key in BETTER and figure.ceiling is not None:
        return abs(figure.value - figure.ceiling)
    return -figure.value


def _is_share(key: str) -> bool:
    group, _, name = key.partition(".")
    return group in GROUPS and group != "drift" and name != "delay_s"


def _unit(key: str) -> str:
    if _is_share(key) or key == "drift.dynamic_degree":
        return " %"
    if key.startswith("drift."):
        return " points"
    return {"delay_s": " s", "dynamic_degree": " px"}.get(key.rpartition(".")[2], "")


def _number(key: str, value: float) -> str:
    if key.partition(".")[0] in GROUPS and not key.endswith(".delay_s"):
        return f"{100 * value:.1f}"
    size = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(4, max(0, 2 - size))}f}"  # three figures
