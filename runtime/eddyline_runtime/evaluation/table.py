"""An evaluation as plain text, a line for each figure."""

from collections.abc import Mapping

from eddyline_runtime.evaluation.figures import Evaluation, Figure
from eddyline_runtime.evaluation.measures import figures_of, spell, spell_interval


def table(evaluation: Evaluation) -> str:
    """All figures with 95 % intervals, counts, and what recordings of the game reach."""
    seeds = ", ".join(map(str, evaluation.seeds))
    lines = [f"{evaluation.world}, profile {evaluation.profile}, seeds {seeds}", *_lines(figures_of(evaluation))]
    for name, rival in evaluation.rivals.items():
        lines += ["", f"{name}: {rival.calls_per_second:.1f} network calls a second", *_lines(figures_of(rival))]
    return "\n".join(lines)


def _lines(figures: Mapping[str, Figure]) -> list[str]:
    return [
        f"  {key:<28} {spell(key, figure.value):>12} {spell_interval(key, figure):>16}  n {figure.n:<5}"
        + ("" if figure.ceiling is None else f" recordings {spell(key, figure.ceiling)}")
        for key, figure in figures.items()
    ]
