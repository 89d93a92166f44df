"""The tables of figures on a page, written from files of evaluations, so that no number is copied by hand.

    python -m eddyline_runtime.evaluation.page README.md docs/measurements

A page marks where a table goes by `<!-- table: NAME -->` and `<!-- end of table -->`, each on a line of its own; what
is between them is replaced. Tables: `words` (does the picture show what the words say), `stream` (does it change,
follow, move and last as it should), `rivals` (other ways of streaming on the same weights).
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eddyline.errors import OptionError
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
    """What was measured of one world, by profile, from whichever files; in the order in which profiles are told."""

    profiles: Mapping[str, Evaluation]

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
    for name in PROFILES:
        files = sorted(folder.glob(f"evaluation_{name}*.json"))
        for file in files:
            found = read_evaluation(file)
            if found.profile != name:
                raise OptionError(f"{file} is of the profile {found.profile}; name it evaluation_{found.profile}*.json")
            profiles[name] = _merged(profiles[name], found, file) if name in profiles else found
    if not profiles:
        raise OptionError(f"{folder} holds no evaluation_PROFILE.json; write them there with evaluate --json")
    return Measured(profiles)


def _merged(first: Evaluation, second: Evaluation, file: Path) -> Evaluation:
    """Both files' figures as one evaluation's, made as the first was."""
    merged: dict[str, Any] = {}
    for name in (*GROUPS, "rivals"):
        old, new = getattr(first, name), getattr(second, name)
        twice = [f"{name}.{key}" for key in old.keys() & new.keys() if old[key] != new[key]]
        merged[name] = {**old, **new}
        _refuse_twice(twice, file)
    for name in MOTION:
        old, new = getattr(first, name), getattr(second, name)
        merged[name] = new if old is None else old
        _refuse_twice([name] if None not in (old, new) and old != new else [], file)
    return replace(first, **merged)


def _refuse_twice(keys: Sequence[str], where: object) -> None:
    if keys:
        raise OptionError(f"{where} tells {min(keys)} differently from another file; keep one of them")


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
    """Ways of streaming down: the world's own profiles, then each rival at its published settings, at the setting of
    its sweep with the least Fréchet distance, and at the one of the fewest calls."""
    ways: list[tuple[str, RivalEvaluation]] = []
    rivals: dict[str, RivalEvaluation] = {}
    for profile, evaluation in measured.profiles.items():
        if OWN in evaluation.rivals:
            ways.append((f"StreamDiT, {profile}", evaluation.rivals[OWN]))
        others = {name: rival for name, rival in evaluation.rivals.items() if name != OWN}
        _refuse_twice(
            [f"rivals.{name}" for name in rivals.keys() & others.keys() if rivals[name] != others[name]],
            f"an evaluation of {profile}",
        )
        rivals |= others
    for name, words in _RIVALS.items():
        if name in rivals:
            ways.append((words, rivals[name]))
        swept = {key: rival for key, rival in rivals.items() if key.startswith(f"{name}-")}
        ways += [(f"... `{key}`, {why} of {len(swept)} settings", swept[key]) for key, why in _chosen(swept).items()]
    keys = ("frechet", "dynamic_degree", "flicker", "adherence.all")
    ceilings = {
        key: figure.ceiling for _, way in ways for key, figure in figures_of(way).items() if figure.ceiling is not None
    }
    heads = [label(key) + (f" (recordings {spell(key, ceilings[key])})" if key in ceilings else "") for key in keys]
    rows = [["", "network calls a second", *heads]]
    for words, way in ways:
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
