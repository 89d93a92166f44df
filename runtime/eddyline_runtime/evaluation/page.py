"""The tables of figures on a page, written from files of evaluations, so that no number is copied by hand.

    python -m eddyline_runtime.evaluation.page README.md docs/measurements

A page marks where a table goes by `<!-- table: NAME -->` and `<!-- end of table -->`, each on a line of its own; what
is between them is replaced. Tables: `words` (does the picture show what the words say), `stream` (does it change,
follow, move and last as it should), `rivals` (other ways of streaming on the same weights, as published), `sweep` (the
same with what their settings can do).
"""

import argparse
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eddyline.errors import OptionError
from eddyline_runtime.evaluation.baselines.rivals import SWEEP
from eddyline_runtime.evaluation.figures import Evaluation, Figure, RivalEvaluation, read_evaluation, write_whole
from eddyline_runtime.evaluation.measures import (
    GROUPS,
    MOTION,
    figures_of,
    goal_for,
    label,
    spell,
    spell_goal,
    spell_interval,
)
from eddyline_runtime.evaluation.report import markdown_rows
from eddyline_runtime.evaluation.samples import OWN

PROFILES = ("smooth", "responsive", "fine")

_MARKED = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)

_ASKED = {"adherence": "never recorded", "paraphrase": "in words of no caption"}
_STREAM = {
    "steering.right": "a change by event or prompt is seen within 3 s (responsive: 1.5 s)",
    "steering.kept": "what was right before an event is right after it",
    "receipts.seen": "an event is to be seen in the second from the first full frame of its receipt",
    "actions.direction": "a key that goes down is followed within 1 s and for 1 s",
    "frechet": "Fréchet distance in the probe's features",
    "dynamic_degree": "dynamic degree, optical flow a frame",
    "flicker": "flicker, 0 to 255",
    "border_jump": "change at borders of chunks against inside",
    "drift.dynamic_degree": "drift: of dynamic degree, minute 10 lost against minute 1",
}
_RIVALS = {"fifo": "FIFO-Diffusion", "reuse_and_diffuse": "Reuse-and-Diffuse", "clip": "clip after clip"}


@dataclass(frozen=True)
class Measured:
    """What was measured of one world, from whichever files."""

    profiles: Mapping[str, Evaluation]
    """In the order in which profiles are told; rivals left out."""
    ways: Mapping[int, Mapping[str, RivalEvaluation]]
    """By the number of scenes, which a Fréchet distance depends on: ways of streaming, the profiles' own as
    `OWN, PROFILE`, rivals by their names."""

    def figures(self) -> dict[str, dict[str, Figure]]:
        """All figures of each profile by their keys."""
        return {name: figures_of(evaluation) for name, evaluation in self.profiles.items()}


def read_measured(folder: Path) -> Measured:
    """Read `evaluation_PROFILE.json` and `evaluation_PROFILE_*.json`; parts that are in two files must not differ.

    Raises:
        OptionError: a file is no evaluation or of another profile than its name says, two files of a profile tell a
            figure differently, or there are none.
    """
    profiles: dict[str, Evaluation] = {}
    ways: dict[int, dict[str, RivalEvaluation]] = {}
    for name in PROFILES:
        for file in sorted(folder.glob(f"evaluation_{name}*.json")):
            found = read_evaluation(file)
            if found.profile != name:
                raise OptionError(f"{file} is of the profile {found.profile}; name it evaluation_{found.profile}*.json")
            for way, rival in found.rivals.items():
                same = ways.setdefault(max(figure.n for figure in figures_of(rival).values()), {})
                key = _own(name) if way == OWN else way
                _refuse_twice([f"rivals.{way}"] if same.get(key, rival) != rival else [], file)
                same[key] = rival
            found = replace(found, rivals={})
            profiles[name] = _merged(profiles[name], found, file) if name in profiles else found
    if not profiles:
        raise OptionError(f"{folder} holds no evaluation_PROFILE.json; write them there with evaluate --json")
    return Measured(profiles, ways)


def _own(profile: str) -> str:
    return f"{OWN}, {profile}"


def _merged(first: Evaluation, second: Evaluation, file: Path) -> Evaluation:
    """Both files' figures as one evaluation's, made as the first was."""
    merged: dict[str, Any] = {}
    for name in GROUPS:
        old, new = getattr(first, name), getattr(second, name)
        twice = [f"{name}.{key}" for key in old.keys() & new.keys() if old[key] != new[key]]
        merged[name] = {**old, **new}
        _refuse_twice(twice, file)
    for name in MOTION:
        old, new = getattr(first, name), getattr(second, name)
        merged[name] = new if old is None else old
        _refuse_twice([name] if None not in (old, new) and old != new else [], file)
    return replace(first, **merged)


def _refuse_twice(keys: Sequence[str], file: Path) -> None:
    if keys:
        raise OptionError(f"{file} tells {min(keys)} differently from another file; keep one of them")


def words_table(measured: Measured) -> str:
    """Attributes down; down each column one profile, asked in words of captions or of people who never read them."""
    found = measured.figures()
    columns = [
        (group, profile) for profile in found for group in _ASKED if f"{group}.all" in found[profile]
    ]  # a profile in captions' words, then in others', then the next
    counts = [found[profile][f"{group}.all"].n for group, profile in columns]
    heads = [f"{_ASKED[group]}, {profile} (n = {n})" for (group, profile), n in zip(columns, counts, strict=True)]
    first, *_ = found.values()
    names = [key.partition(".")[2] for key in first if key.startswith("adherence.")]
    rows = [["", "wanted", *heads, "recordings"]]
    for name in names:
        goals = [goal_for(f"{group}.{name}", PROFILES[0]) for group in _ASKED]
        wanted = " / ".join(spell_goal(f"adherence.{name}", goal) for goal in goals if goal)
        keys = [(profile, f"{group}.{name}") for group, profile in columns]
        shown = [_told(key, found[profile][key]) if key in found[profile] else "" for profile, key in keys]
        own = f"adherence.{name}"
        rows.append([label(name), wanted, *shown, _ceiling(own, first[own].ceiling)])
    return markdown_rows(rows)


def _ceiling(key: str, ceiling: float | None) -> str:
    return "" if ceiling is None else spell(key, ceiling)


def _told(key: str, figure: Figure) -> str:
    return f"{spell(key, figure.value)} {spell_interval(key, figure)}"


def stream_table(measured: Measured) -> str:
    """What a stream should do down, profiles across."""
    found = measured.figures()
    rows = [["", "wanted", *found, "recordings"]]
    for key, words in _STREAM.items():
        shown = {profile: (key, figures[key]) for profile, figures in found.items() if key in figures}
        if shown:
            cells = [_told(*shown[name]) if name in shown else "" for name in found]
            rows.append(_stream_row(words, shown, cells))
    drifted = {
        profile: (worst, figures[worst])
        for profile, figures in found.items()
        if (worst := _drifted_most(figures)) is not None
    }
    if drifted:
        cells = [f"{label(drifted[name][0])} {_told(*drifted[name])}" if name in drifted else "" for name in found]
        rows.append(_stream_row("... and of the attribute that may have lost most", drifted, cells))
    return markdown_rows(rows)


def _stream_row(words: str, shown: Mapping[str, tuple[str, Figure]], cells: Sequence[str]) -> list[str]:
    """A row: what each profile showed, with the key of its figure, in the cells."""
    goals = [(profile, key, goal_for(key, profile)) for profile, (key, _) in shown.items()]
    wanted = {
        spell_goal(key, goal) + (f" ({profile})" if goal.profile else "")
        for profile, key, goal in goals
        if goal is not None
    }
    counts = sorted({figure.n for _, figure in shown.values()})
    key, figure = next(iter(shown.values()))
    return [
        f"{words} (of {' or '.join(map(str, counts))})",
        ", ".join(sorted(wanted)),
        *cells,
        _ceiling(key, figure.ceiling),
    ]


def _drifted_most(figures: Mapping[str, Figure]) -> str | None:
    """The attribute whose loss can be the greatest by its interval; of equals the least certain."""
    lost = {
        key: figure for key, figure in figures.items() if key.startswith("drift.") and key != "drift.dynamic_degree"
    }
    return max(lost, key=lambda key: (lost[key].ci95[1], lost[key].ci95[1] - lost[key].ci95[0]), default=None)


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
    return {f"StreamDiT, {profile}": ways[_own(profile)] for profile in PROFILES if _own(profile) in ways}


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
        cells = [_told(key, figures[key]) if key in figures else "" for key in keys]
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


TABLES: Mapping[str, Callable[[Measured], str]] = {
    "words": words_table,
    "stream": stream_table,
    "rivals": rivals_table,
    "sweep": sweep_table,
}


def with_tables(page: str, measured: Measured) -> str:
    """The page with every marked table as it was measured.

    Raises:
        OptionError: no table is marked, one that is marked is unknown, or its end is missing.
    """
    marks = re.findall(r"<!-- table: (\w+) -->", page)
    unknown = [name for name in marks if name not in TABLES]
    if not marks or unknown:
        raise OptionError(
            f"the page marks {', '.join(map(repr, unknown)) or 'no table'}; put <!-- table: NAME --> and "
            f"<!-- end of table --> on lines of their own, where NAME is one of {', '.join(TABLES)}"
        )
    done, found = _MARKED.subn(lambda m: f"{m[1]}{TABLES[m[2]](measured)}\n{m[4]}", page)
    if found != len(marks):
        raise OptionError(
            f"of {len(marks)} tables that the page marks {found} have an end; put <!-- end of table --> after each"
        )
    return done


def _read_page(page: Path) -> str:
    try:
        return page.read_text(encoding="utf-8")
    except OSError as error:
        raise OptionError(
            f"{page} cannot be read ({error.strerror}); name a Markdown file with marked tables"
        ) from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{page} is no text in UTF-8 ({error.reason}); save it as such") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and write the page; 2 where something in the way is told."""
    parser = argparse.ArgumentParser(prog="python -m eddyline_runtime.evaluation.page", description=__doc__)
    parser.add_argument("page", type=Path, help="a Markdown file with marked tables")
    parser.add_argument("measurements", type=Path, help="a folder of evaluation_PROFILE*.json")
    given = parser.parse_args(arguments)
    try:
        write_whole(given.page, with_tables(_read_page(given.page), read_measured(given.measurements)))
    except OptionError as error:
        print(f"eddyline-runtime: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
