"""Does the picture show what the words say, and does the stream change, follow, move and last as it should."""

from collections.abc import Mapping, Sequence

from eddyline.errors import OptionError
from eddyline_runtime.evaluation.figures import Figure
from eddyline_runtime.evaluation.measures import goal_for, label, spell_goal
from eddyline_runtime.evaluation.report import markdown_rows
from eddyline_runtime.page.cells import ceiling_cell, value_cell
from eddyline_runtime.page.measured import PROFILES, Measured

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


def words_table(measured: Measured) -> str:
    """Attributes down; down each column one profile, asked in words of captions or of people who never read them.

    Raises:
        OptionError: neither was measured in any profile.
    """
    found = measured.figures()
    columns = [
        (group, profile) for profile in found for group in _ASKED if f"{group}.all" in found[profile]
    ]  # a profile in captions' words, then in others', then the next
    counts = [found[profile][f"{group}.all"].n for group, profile in columns]
    heads = [f"{_ASKED[group]}, {profile} (n = {n})" for (group, profile), n in zip(columns, counts, strict=True)]
    if not columns:
        raise OptionError("no file tells what pictures show; evaluate --only adherence --json evaluation_PROFILE.json")
    names = dict.fromkeys(
        key.removeprefix(f"{group}.")
        for group, profile in columns
        for key in found[profile]
        if key.startswith(f"{group}.")
    )
    rows = [["", "wanted", *heads, "recordings"]]
    for name in names:
        goals = [goal_for(f"{group}.{name}", PROFILES[0]) for group in _ASKED]
        wanted = " / ".join(spell_goal(f"adherence.{name}", goal) for goal in goals if goal)
        keys = [(profile, f"{group}.{name}") for group, profile in columns]
        figures = [(key, found[profile].get(key)) for profile, key in keys]
        cells = [value_cell(key, figure) if figure else "" for key, figure in figures]
        ceilings = [figure.ceiling for _, figure in figures if figure and figure.ceiling is not None]
        rows.append([label(name), wanted, *cells, ceiling_cell(f"adherence.{name}", next(iter(ceilings), None))])
    return markdown_rows(rows)


def stream_table(measured: Measured) -> str:
    """What a stream should do down, profiles across.

    Raises:
        OptionError: none of it was measured.
    """
    found = measured.figures()
    rows = [["", "wanted", *found, "recordings"]]
    for key, words in _STREAM.items():
        shown = {profile: (key, figures[key]) for profile, figures in found.items() if key in figures}
        if shown:
            cells = [value_cell(*shown[name]) if name in shown else "" for name in found]
            rows.append(_stream_row(words, shown, cells))
    drifted = {
        profile: (worst, figures[worst])
        for profile, figures in found.items()
        if (worst := _drifted_most(figures)) is not None
    }
    if drifted:
        cells = [f"{label(drifted[name][0])} {value_cell(*drifted[name])}" if name in drifted else "" for name in found]
        rows.append(_stream_row("... and of the attribute that may have lost most", drifted, cells))
    if len(rows) == 1:
        raise OptionError("no file tells how a stream goes; evaluate --only steering --json evaluation_PROFILE.json")
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
    ceilings = {ceiling_cell(key, figure.ceiling) for key, figure in shown.values()}
    return [
        f"{words} (of {' or '.join(map(str, counts))})",
        ", ".join(sorted(wanted)),
        *cells,
        " or ".join(sorted(ceilings - {""})),
    ]


def _drifted_most(figures: Mapping[str, Figure]) -> str | None:
    """The attribute whose loss can be the greatest by its interval; of equals the least certain."""
    lost = {
        key: figure for key, figure in figures.items() if key.startswith("drift.") and key != "drift.dynamic_degree"
    }
    return max(lost, key=lambda key: (lost[key].ci95[1], lost[key].ci95[1] - lost[key].ci95[0]), default=None)
