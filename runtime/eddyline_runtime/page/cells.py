"""Figures as they stand in the cells of a table."""

from eddyline_runtime.evaluation.figures import Figure
from eddyline_runtime.evaluation.measures import spell, spell_interval


def value_cell(key: str, figure: Figure) -> str:
    """A figure with its 95 % interval."""
    return f"{spell(key, figure.value)} {spell_interval(key, figure)}"


def ceiling_cell(key: str, ceiling: float | None) -> str:
    """What recordings reach; empty where that is not known."""
    return "" if ceiling is None else spell(key, ceiling)
