"""Which bars a report shows: the figures of an evaluation, group by group, then those that rivals are compared by."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from eddyline_runtime.evaluation.charts import Bar, Panel
from eddyline_runtime.evaluation.figures import Evaluation, Figure, RivalEvaluation
from eddyline_runtime.evaluation.measures import (
    BETTER,
    CALLS,
    MOTION,
    at_published_settings,
    figures_of,
    goal_for,
    label,
    spell,
    spell_interval,
)
from eddyline_runtime.evaluation.samples import OWN

TITLES: Mapping[str, tuple[str, str]] = {
    "adherence": ("Adherence", "captions of combinations never recorded"),
    "paraphrase": ("Paraphrases", "captions by someone who has not read the grammar"),
    "steering": ("Steering", "words that change one attribute of a running scene"),
    "receipts": ("Receipts", "what an event says is to be seen in the second from its first full frame on"),
    "actions": ("Keys", "the hero goes where the keys say"),
    "places": ("Places", "how much a scene that was left looks as it did: cosine of the probe's features"),
    "drift": ("Drift", "lost in minute 10 against minute 1"),
    "motion": ("Realism and motion", "against recordings; each on a scale of its own"),
}
"""What the groups of figures are called, and what they say."""

_SHARES = ((0.0, "0"), (0.25, "25"), (0.5, "50"), (0.75, "75"), (1.0, "100 %"))


def panels_of(evaluation: Evaluation) -> list[Panel]:
    """The figures as panels of bars; delays, which are no shares, and sweeps of rivals stand in the tables alone."""
    found = {key: figure for key, figure in figures_of(evaluation).items() if not key.endswith(".delay_s")}
    panels = []
    for group in TITLES:
        bars = [
            _bar(label(key), key, figure, profile=evaluation.profile)
            for key, figure in found.items()
            if group_of(key) == group
        ]
        if bars:
            panels.append(_group_panel(group, bars))
    rivals = {name: rival for name, rival in evaluation.rivals.items() if at_published_settings(name)}
    return panels + _rival_panels(rivals)


def group_of(key: str) -> str:
    """The group that a figure is shown in."""
    return "motion" if key in MOTION else key.partition(".")[0]


def _group_panel(group: str, bars: Sequence[Bar]) -> Panel:
    title, about = TITLES[group]
    if group == "motion":
        return Panel(title=title, about=about, bars=tuple(_on_own_scale(bar) for bar in bars), span=(0.0, 1.0))
    if group == "drift":
        widest = max(abs(edge) for bar in bars for edge in (bar.low, bar.high))
        end = max(1, math.ceil(10 * widest)) / 10
        ticks = ((-end, f"-{100 * end:.0f}"), (0.0, "0"), (end, f"{100 * end:.0f} points"))
        return Panel(title=title, about=about, bars=tuple(bars), span=(-end, end), ticks=ticks)
    return Panel(title=title, about=about, bars=tuple(bars), span=(0.0, 1.0), ticks=_SHARES)


def _rival_panels(rivals: Mapping[str, RivalEvaluation]) -> list[Panel]:
    panels = []
    names = {name: name.replace("_", " ") for name in rivals}
    columns = {name: figures_of(rival) for name, rival in rivals.items()}
    for key in ("adherence.all", *MOTION):
        bars = [
            replace(_bar(names[name], key, figures[key]), strong=name == OWN)
            for name, figures in columns.items()
            if key in figures
        ]
        if len(bars) > 1 and key in MOTION:
            panels.append(_comparison(label(key), BETTER[key], bars))
        elif len(bars) > 1:
            title, about = "Rivals: adherence", "everything that the words say is right"
            panels.append(Panel(title=title, about=about, bars=tuple(bars), span=(0.0, 1.0), ticks=_SHARES))
    if len(rivals) > 1:
        costs = [
            Bar(label=names[name], value=cost, low=cost, high=cost, note=f"{cost:.1f}", strong=name == OWN)
            for name, cost in ((name, rival.calls_per_second) for name, rival in rivals.items())
        ]
        panels.append(_comparison(label(CALLS), f"of video, guidance counted; {BETTER[CALLS]}", costs))
    return panels


def _comparison(title: str, about: str, bars: Sequence[Bar]) -> Panel:
    return Panel(title=f"Rivals: {title}", about=about, bars=tuple(bars), span=(0.0, max(map(_reach, bars))))


def _bar(name: str, key: str, figure: Figure, *, profile: str = "") -> Bar:
    goal = goal_for(key, profile) if profile else None
    return Bar(
        label=name,
        value=figure.value,
        low=figure.ci95[0],
        high=figure.ci95[1],
        note=f"{spell(key, figure.value)}  {spell_interval(key, figure)}",
        ceiling=figure.ceiling,
        goals=() if goal is None else goal.bounds,
    )


def _on_own_scale(bar: Bar) -> Bar:
    """The bar in shares of its own reach."""
    reach = _reach(bar)
    ceiling = None if bar.ceiling is None else bar.ceiling / reach
    return replace(bar, value=bar.value / reach, low=bar.low / reach, high=bar.high / reach, ceiling=ceiling)


def _reach(bar: Bar) -> float:
    """The end of a scale from 0 that has room for the bar, its whisker and its mark."""
    return 1.05 * max(bar.ceiling or 0.0, bar.value, bar.high) or 1.0
