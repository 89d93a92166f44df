"""Other ways of streaming on the same weights: what they cost and what they show."""

import math
from collections.abc import Callable, Mapping

from eddyline.errors import OptionError
from eddyline_runtime.evaluation.figures import RivalEvaluation
from eddyline_runtime.evaluation.measures import at_published_settings, figures_of, label, spell
from eddyline_runtime.evaluation.report import markdown_rows
from eddyline_runtime.page.cells import value_cell
from eddyline_runtime.page.measured import PROFILES, Measured, profile_way

_RIVALS = {"fifo": "FIFO-Diffusion", "reuse_and_diffuse": "Reuse-and-Diffuse", "clip": "clip after clip"}


def rivals_table(measured: Measured) -> str:
    """Ways of streaming down: the world's own by profile, rivals at their published settings, and settings that were
    measured on these scenes since a sweep on others found them to be good.

    Raises:
        OptionError: no rival was measured.
    """
    scenes, ways = _scenes_of_most(measured, lambda name: name in _RIVALS, "default")
    rows = _own_ways(ways)
    for name, words in _RIVALS.items():
        if name in ways:
            rows[words] = ways[name]
        rows |= {f"... `{key}`": way for key, way in _settings(ways, name).items()}
    return _ways_table(scenes, rows)


def sweep_table(measured: Measured) -> str:
    """The same on the scenes of the sweep, and of each rival the setting with the least Fréchet distance and the one of
    the fewest calls.

    Raises:
        OptionError: no setting was measured.
    """
    scenes, ways = _scenes_of_most(measured, lambda name: not at_published_settings(name), "sweep")
    rows = _own_ways(ways)
    for name, words in _RIVALS.items():
        if name in ways:
            rows[words] = ways[name]
        settings = _settings(ways, name)
        rows |= {f"... `{key}`, {why} of {len(settings)} settings": ways[key] for key, why in _chosen(settings).items()}
    return _ways_table(scenes, rows)


def _scenes_of_most(
    measured: Measured, wanted: Callable[[str], bool], group: str
) -> tuple[int, Mapping[str, RivalEvaluation]]:
    """Of each number of scenes, what was measured on it; the number is chosen on which most of the wanted ways were,
    and of equals the larger, for those on other numbers cannot stand beside them."""
    found = {scenes: sum(map(wanted, ways)) for scenes, ways in measured.ways.items()}
    if not any(found.values()):
        raise OptionError(
            f"no such rival was measured; evaluate --only rivals --rivals {group} --json evaluation_PROFILE_rivals.json"
        )
    scenes = max(found, key=lambda scenes: (found[scenes], scenes))
    return scenes, measured.ways[scenes]


def _own_ways(ways: Mapping[str, RivalEvaluation]) -> dict[str, RivalEvaluation]:
    return {f"StreamDiT, {profile}": ways[profile_way(profile)] for profile in PROFILES if profile_way(profile) in ways}


def _settings(ways: Mapping[str, RivalEvaluation], rival: str) -> dict[str, RivalEvaluation]:
    return {key: way for key, way in ways.items() if not at_published_settings(key) and key.startswith(rival)}


def _ways_table(scenes: int, ways: Mapping[str, RivalEvaluation]) -> str:
    keys = ("frechet", "dynamic_degree", "flicker", "adherence.all")
    ceilings = {
        key: figure.ceiling
        for way in ways.values()
        for key, figure in figures_of(way).items()
        if figure.ceiling is not None
    }
    heads = [label(key) + (f" (recordings {spell(key, ceilings[key])})" if key in ceilings else "") for key in keys]
    rows = [[f"{scenes} scenes", "network calls a second", *heads]]
    for words, way in ways.items():
        figures = figures_of(way)
        cells = [value_cell(key, figures[key]) if key in figures else "" for key in keys]
        rows.append([words, f"{way.calls_per_second:g}", *cells])
    return markdown_rows(rows)


def _chosen(swept: Mapping[str, RivalEvaluation]) -> dict[str, str]:
    """The settings of a sweep that are told, each with why; of equal calls the one with the lesser distance."""
    distances = {name: way.frechet.value for name, way in swept.items() if way.frechet is not None}
    best = min(distances, key=lambda name: distances[name], default=None)
    cheapest = min(swept, key=lambda name: (swept[name].calls_per_second, distances.get(name, math.inf)), default=None)
    why = {best: "best", cheapest: "fewest calls"} if best != cheapest else {best: "best and fewest calls"}
    return {name: words for name, words in why.items() if name is not None}
