"""Other ways of streaming on the same weights: what they cost and what they show."""

from collections.abc import Callable, Collection, Mapping

from eddyline.errors import OptionError
from eddyline_runtime.evaluation.baselines.rivals import SWEEP
from eddyline_runtime.evaluation.figures import RivalEvaluation
from eddyline_runtime.evaluation.measures import figures_of, label, spell
from eddyline_runtime.evaluation.report import markdown_rows
from eddyline_runtime.page.measured import PROFILES, Measured, own_way, told

_RIVALS = {"fifo": "FIFO-Diffusion", "reuse_and_diffuse": "Reuse-and-Diffuse", "clip": "clip after clip"}


def rivals_table(measured: Measured) -> str:
    """Ways of streaming down, on the most scenes that any was measured on: the world's own by profile, and rivals at
    their published settings."""
    scenes, ways = _most_scenes(measured, _RIVALS)
    return _ways_table(scenes, _own_ways(ways) | {words: ways[key] for key, words in _RIVALS.items() if key in ways})


def sweep_table(measured: Measured) -> str:
    """The same on the scenes of the sweep, and of each rival the setting with the least Fréchet distance and the one of
    the fewest calls."""
    scenes, ways = _most_scenes(measured, SWEEP)
    rows = _own_ways(ways)
    for name, words in _RIVALS.items():
        if name in ways:
            rows[words] = ways[name]
        settings = _settings(ways, name)
        rows |= {f"... `{key}`, {why} of {len(settings)} settings": ways[key] for key, why in _chosen(settings).items()}
    return _ways_table(scenes, rows)


def _most_scenes(measured: Measured, names: Collection[str]) -> tuple[int, Mapping[str, RivalEvaluation]]:
    """What was measured on the most scenes on which any of `names` was."""
    counts = [scenes for scenes, ways in measured.ways.items() if any(name in ways for name in names)]
    if not counts:
        raise OptionError(f"none of {', '.join(names)} was measured; evaluate --only rivals --rivals NAME --json FILE")
    return max(counts), measured.ways[max(counts)]


def _own_ways(ways: Mapping[str, RivalEvaluation]) -> dict[str, RivalEvaluation]:
    return {f"StreamDiT, {profile}": ways[own_way(profile)] for profile in PROFILES if own_way(profile) in ways}


def _settings(ways: Mapping[str, RivalEvaluation], rival: str) -> dict[str, RivalEvaluation]:
    return {key: way for key, way in ways.items() if key.startswith(f"{rival}-")}


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
        cells = [told(key, figures[key]) if key in figures else "" for key in keys]
        rows.append([words, f"{way.calls_per_second:g}", *cells])
    return markdown_rows(rows)


def _chosen(swept: Mapping[str, RivalEvaluation]) -> dict[str, str]:
    """The settings of a sweep that are told, each with why."""
    if not swept:
        return {}
    best, cheapest = min(swept, key=_distance(swept)), min(swept, key=_calls(swept))
    return {best: "best and fewest calls"} if best == cheapest else {best: "best", cheapest: "fewest calls"}


def _distance(rivals: Mapping[str, RivalEvaluation]) -> Callable[[str], float]:
    def distance(name: str) -> float:
        figure = rivals[name].frechet
        return float("inf") if figure is None else figure.value

    return distance


def _calls(rivals: Mapping[str, RivalEvaluation]) -> Callable[[str], float]:
    return lambda name: rivals[name].calls_per_second
