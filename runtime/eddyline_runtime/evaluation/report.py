"""What `evaluate --report` draws from an evaluation: tables, bars, contact sheets, and a page for people to rate on.

report.md                 the figures as Markdown tables, goals met or missed; rivals; how it was made
figures.png               the figures as bars
contact_sheet.png         the world's own dreams; contact_sheet_NAME.png: a rival's, of the same prompts, or
                          those of paraphrases
rating/index.html         blind pairwise rating, see `rating`
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eddyline.errors import OptionError
from eddyline_runtime.evaluation.charts import draw_panels
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
    spell_goal,
    spell_interval,
    winners,
)
from eddyline_runtime.evaluation.panels import TITLES, group_of, panels_of
from eddyline_runtime.evaluation.rating import make_pairs, write_page
from eddyline_runtime.evaluation.samples import OWN, Sample
from eddyline_runtime.evaluation.sheets import contact_sheet

REPORT = "report.md"
"""The file of the tables, in the folder of a report."""
SHEET_ROWS = 12
"""Prompts of a contact sheet, at most."""
SWEEP_KEYS = ("adherence.all", *MOTION)
"""The figures that the table of a sweep shows; who is best is told for every figure."""


@dataclass(frozen=True, kw_only=True)
class Attachments:
    """What lies beside the tables: contact sheets, by whose dreams they show, and the number of pairs to rate."""

    sheets: Mapping[str, str]
    num_pairs: int


def write_report(evaluation: Evaluation, samples: Sequence[Sample], out: Path, *, fps: float) -> None:
    """Draw an evaluation into a folder, over what is there.

    Without samples there is no contact sheet, without a rival's samples no rating page.

    Args:
        samples: dreams to look at; those of one prompt and of different names are rated against each other. Rivals'
            dreams with settings of a sweep are left out.
        fps: frames a second of the samples.

    Raises:
        OptionError: the folder cannot be written.
    """
    shown = [sample for sample in samples if at_published_settings(sample.name)]
    pairs = make_pairs(shown, np.random.default_rng(evaluation.seeds))
    heading = _heading(evaluation)
    chosen = choose_rows(shown)
    sheets = {name: f"contact_sheet{'' if name == OWN else f'_{name}'}.png" for name in chosen}
    try:
        out.mkdir(parents=True, exist_ok=True)
        draw_panels(panels_of(evaluation), title=heading).save(out / "figures.png", optimize=True)
        for name, rows in chosen.items():
            sheet = contact_sheet(rows, title=f"{heading}: {_plain(name)}", fps=fps)
            sheet.save(out / sheets[name], optimize=True)
        if pairs:
            write_page(pairs, out / "rating", title=f"{evaluation.world}: blind rating", fps=fps)
        text = markdown(evaluation, Attachments(sheets=sheets, num_pairs=len(pairs)))
        (out / REPORT).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OptionError(
            f"the report cannot be written into {out} ({error.strerror or error}); free space, or choose another folder"
        ) from error


def choose_rows(samples: Sequence[Sample], rows: int = SHEET_ROWS) -> dict[str, list[Sample]]:
    """For each name the dreams of its contact sheet, the world's own first: the same prompts in the same order.

    Prompts come from the dreams of the first name; those that all who share any of them dreamed go before others. Who
    shares none has a sheet of its own prompts.
    """
    by_name: dict[str, dict[str, Sample]] = {}
    for sample in sorted(samples, key=lambda sample: sample.name != OWN):
        by_name.setdefault(sample.name, {}).setdefault(sample.prompt, sample)
    if not by_name:
        return {}
    first, *_ = by_name.values()
    sharing = [dreams for dreams in by_name.values() if first.keys() & dreams.keys()]
    prompts = sorted(first, key=lambda prompt: not all(prompt in dreams for dreams in sharing))[:rows]
    return {
        name: [dreams[prompt] for prompt in (prompts if dreams in sharing else [*dreams][:rows]) if prompt in dreams]
        for name, dreams in by_name.items()
    }


def markdown(evaluation: Evaluation, attachments: Attachments) -> str:
    """The report as Markdown."""
    found = figures_of(evaluation)
    parts = [
        f"# {_heading(evaluation)}",
        _summary(evaluation, found),
        _made(evaluation),
        "![The figures as bars with their intervals](figures.png)",
    ]
    for group, (title, about) in TITLES.items():
        figures = {key: figure for key, figure in found.items() if group_of(key) == group}
        if figures:
            parts += [f"## {title}", f"{about[0].upper()}{about[1:]}.", _table(figures, evaluation.profile)]
    if evaluation.rivals:
        parts += ["## Rivals", *_rival_parts(evaluation.rivals)]
    if attachments.sheets:
        parts.append("## Contact sheets")
        parts += [
            f"![Dreams of {name}: prompts down, time across]({file})" for name, file in attachments.sheets.items()
        ]
    if attachments.num_pairs:
        parts += [
            "## Rating by people",
            f"[The rating page](rating/index.html) shows {attachments.num_pairs} pairs blind, from disk. Votes "
            "saved from it are counted by `python -m eddyline_runtime.evaluation.rating tally rating VOTES.json ...`.",
        ]
    return "\n\n".join(parts) + "\n"


def _heading(evaluation: Evaluation) -> str:
    return f"{evaluation.world}, {evaluation.profile} profile"


def _summary(evaluation: Evaluation, found: Mapping[str, Figure]) -> str:
    goals = {key: goal for key in found if (goal := goal_for(key, evaluation.profile)) is not None}
    met = sum(goal.met(found[key].value) for key, goal in goals.items())
    return (
        f"{met} of {len(goals)} goals are met. Intervals are of 95 %; `n` is how many a figure was counted over; "
        "*recordings*: what the same measurement finds on recordings of the game."
    )


def _made(evaluation: Evaluation) -> str:
    made = evaluation.made
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    parts = [f"Made {made.date} by `{made.command}` on {made.machine}"]
    parts += [f"in {made.networks}"] if made.networks else []
    parts += [f"with {versions}"] if versions else []
    seeds = ", ".join(str(seed) for seed in evaluation.seeds)
    parts += [f"seed{'s' if len(evaluation.seeds) > 1 else ''} {seeds}"] if seeds else []
    parts += [f"{sum(made.seconds.values()) / 60:.1f} minutes"] if made.seconds else []
    return ", ".join(parts) + "."


def _table(figures: Mapping[str, Figure], profile: str) -> str:
    rows = [["", "value", "95 % interval", "n", "recordings", "goal", ""]]
    for key, figure in figures.items():
        goal = goal_for(key, profile)
        rows.append(
            [
                label(key),
                spell(key, figure.value),
                spell_interval(key, figure),
                str(figure.n),
                "" if figure.ceiling is None else spell(key, figure.ceiling),
                "" if goal is None else spell_goal(key, goal),
                "" if goal is None else "met" if goal.met(figure.value) else "**missed**",
            ]
        )
    return markdown_rows(rows)


def _rival_parts(rivals: Mapping[str, RivalEvaluation]) -> list[str]:
    """Tables of rivals, the world's own first, and in words where a rival wins."""
    better = "; ".join(f"{label(key)}: {words}" for key, words in BETTER.items())
    published = {
        name: rivals[name] for name in sorted(rivals, key=lambda name: name != OWN) if at_published_settings(name)
    }
    parts = [
        f"All stream from the same weights, for the same prompts. {better}.",
        _rival_table(published),
        *_lost(published),
    ]
    if len(published) < len(rivals):
        parts += ["### Sweep of the rivals' settings", _sweep_table(rivals), *_lost(rivals)]
    return parts


def _rival_table(rivals: Mapping[str, RivalEvaluation]) -> str:
    """Figures down, ways of streaming across."""
    best, shown = winners(rivals), {name: _cells(rival) for name, rival in rivals.items()}
    figures = {name: figures_of(rival) for name, rival in rivals.items()}
    rows = [["", *map(_plain, rivals), "recordings", "best"]]
    for key in (*dict.fromkeys(key for found in figures.values() for key in found), CALLS):
        ceilings = [found[key].ceiling for found in figures.values() if key in found]
        ceiling = next((ceiling for ceiling in ceilings if ceiling is not None), None)
        cells = [_marked(shown[name].get(key, ""), name in best.get(key, ())) for name in rivals]
        named = ", ".join(_marked(_plain(name), name != OWN) for name in best.get(key, ()))
        rows.append([label(key), *cells, "" if ceiling is None else spell(key, ceiling), named])
    return markdown_rows(rows)


def _sweep_table(rivals: Mapping[str, RivalEvaluation]) -> str:
    """Ways of streaming down, some figures across."""
    best, shown = winners(rivals), {name: _cells(rival) for name, rival in rivals.items()}
    keys = [key for key in (*SWEEP_KEYS, CALLS) if sum(key in cells for cells in shown.values()) > 1]
    rows = [["", *map(label, keys)]]
    rows += [
        [_plain(name), *(_marked(shown[name].get(key, ""), name in best[key]) for key in keys)]
        for name in sorted(rivals)
    ]
    return markdown_rows(rows)


def _cells(rival: RivalEvaluation) -> dict[str, str]:
    """Each figure with its interval, and the calls, in words."""
    figures = figures_of(rival).items()
    words = {key: f"{spell(key, figure.value)} {spell_interval(key, figure)}" for key, figure in figures}
    return words | {CALLS: f"{rival.calls_per_second:.1f}"}


def _lost(rivals: Mapping[str, RivalEvaluation]) -> list[str]:
    """A sentence that names every figure in which rivals are best, and whether by more than the intervals."""
    best, figures = winners(rivals), {name: figures_of(rival) for name, rival in rivals.items()}
    if OWN not in rivals or not best:
        return []
    told = []
    for key, names in best.items():
        if OWN not in names:
            own, other = figures[OWN].get(key), figures[names[0]].get(key)
            close = own and other and max(own.ci95[0], other.ci95[0]) <= min(own.ci95[1], other.ci95[1])
            told.append(f"{label(key)} ({', '.join(map(_plain, names))}{'; the intervals overlap' if close else ''})")
    return [f"A rival is best in: {', '.join(told)}." if told else "No rival is best anywhere."]


def _marked(words: str, bold: bool) -> str:
    return f"**{words}**" if bold and words else words


def _plain(name: str) -> str:
    return name.replace("_", " ")


def markdown_rows(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first row its head."""
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([lines[0], f"|{' --- |' * len(rows[0])}", *lines[1:]])
