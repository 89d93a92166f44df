"""The report: every figure with its verdict, rivals that win, bars as long as their values, sheets of pictures."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eddyline.errors import OptionError
from eddyline_runtime.evaluation.charts import Bar, Panel, draw_panels, plain
from eddyline_runtime.evaluation.figures import Evaluation, Figure, Made, RivalEvaluation
from eddyline_runtime.evaluation.measures import GOALS, figures_of, goal_for, label, spell, spell_interval, winners
from eddyline_runtime.evaluation.panels import TITLES, group_of, panels_of
from eddyline_runtime.evaluation.report import Attachments, choose_rows, markdown, write_report
from eddyline_runtime.evaluation.samples import OWN, PARAPHRASED, Sample
from eddyline_runtime.evaluation.sheets import cell_size, contact_sheet

NOTHING_BESIDE = Attachments(sheets={}, num_pairs=0)


def figure(value: float, *, spread: float = 0.02, n: int = 200, ceiling: float | None = None) -> Figure:
    return Figure(value=value, ci95=(value - spread, value + spread), n=n, ceiling=ceiling)


def rival(hero: float, frechet: float, degree: float, border: float, calls: float) -> RivalEvaluation:
    return RivalEvaluation(
        calls_per_second=calls,
        adherence={"hero": figure(hero)},
        frechet=figure(frechet),
        dynamic_degree=figure(degree, ceiling=0.9),
        border_jump=figure(border),
    )


EVALUATION = Evaluation(
    world="a world",
    profile="smooth",
    seeds=(3, 5),
    made=Made(date="2026-05-01", command="eddyline-runtime evaluate", machine="a machine", versions={"torch": "2.13"}),
    adherence={"place": figure(0.95, ceiling=0.99), "weather": figure(0.8999), "all": figure(0.4)},
    paraphrase={"place": figure(0.8), "hero": figure(0.79)},
    steering={"right": figure(0.91), "kept": figure(0.7), "right_hero": figure(0.5), "delay_s": figure(1.5, n=55)},
    receipts={"seen": figure(0.86, ceiling=0.98), "seen_hero": figure(0.6)},
    actions={"direction": figure(0.5)},
    places={"returned": figure(0.9), "prompted": figure(0.8)},
    drift={"place": figure(0.031), "hero": figure(-0.05), "dynamic_degree": figure(-0.2)},
    frechet=figure(6.25, ceiling=1.5),
    dynamic_degree=figure(0.5, ceiling=0.9),
    flicker=figure(1.5),
    border_jump=figure(1.04, n=31),
    rivals={
        "fifo": rival(hero=0.97, frechet=7.0, degree=1.3, border=0.8, calls=64.0),
        OWN: rival(hero=0.9, frechet=5.0, degree=0.7, border=1.1, calls=2.0),
        "clip": rival(hero=0.9, frechet=5.0, degree=0.8, border=3.0, calls=2.0),
    },
)
VERDICTS = {
    "adherence.place": "met",
    "adherence.weather": "**missed**",
    "adherence.all": "",
    "paraphrase.place": "met",
    "paraphrase.hero": "**missed**",
    "steering.right": "met",
    "steering.kept": "**missed**",
    "steering.right_hero": "",
    "steering.delay_s": "",
    "receipts.seen": "met",
    "receipts.seen_hero": "",
    "actions.direction": "",
    "places.returned": "",
    "places.prompted": "",
    "drift.place": "**missed**",
    "drift.hero": "met",
    "drift.dynamic_degree": "**missed**",
    **dict.fromkeys(("frechet", "dynamic_degree", "flicker", "border_jump"), ""),
}


def tables(text: str) -> dict[str, dict[str, list[str]]]:
    """Heading -> first cell of a row -> the other cells."""
    found: dict[str, dict[str, list[str]]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|"):
            first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
            found.setdefault(heading, {})[first] = rest
    return found


def dreams(names: tuple[str, ...] = (OWN, "fifo"), *, prompts: int = 3, frames: int = 9) -> list[Sample]:
    """Every frame in a colour of its own: the red names who dreamed, the green the prompt, the blue the frame."""
    return [
        Sample(name, f"a fox in prompt {prompt}", colours(50 * (who + 1), 20 * prompt + 30, frames))
        for who, name in enumerate(names)
        for prompt in range(prompts)
    ]


def colours(red: int, green: int, frames: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    film = np.zeros((frames, 8, 12, 3), np.uint8)
    film[..., 0], film[..., 1] = red, green
    film[..., 2] = 10 * np.arange(frames)[:, None, None]
    return film


def places(sheet: Image.Image, colour: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Left, top, width, height of the only box of a colour."""
    rows, columns = np.nonzero((np.asarray(sheet.convert("RGB")) == colour).all(axis=-1))
    box = int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1
    assert len(rows) == box[2] * box[3]
    return box


def test_the_report_holds_every_figure_with_its_goals_verdict() -> None:
    found = figures_of(EVALUATION)
    assert set(found) == set(VERDICTS)
    told = tables(markdown(EVALUATION, NOTHING_BESIDE))
    for key, figure in found.items():
        value, interval, n, recordings, _, verdict = told[TITLES[group_of(key)][0]][label(key)]
        assert (value, interval, n) == (spell(key, figure.value), spell_interval(key, figure), str(figure.n))
        assert recordings == ("" if figure.ceiling is None else spell(key, figure.ceiling))
        assert verdict == VERDICTS[key], key


def test_goals_are_counted_and_the_making_is_told() -> None:
    text = markdown(EVALUATION, NOTHING_BESIDE)
    wanted = list(VERDICTS.values())
    assert f"{wanted.count('met')} of {len(wanted) - wanted.count('')} goals are met" in text
    for fact in ("2026-05-01", "`eddyline-runtime evaluate`", "a machine", "torch 2.13", "seeds 3, 5"):
        assert fact in text


def test_the_goal_of_the_keys_holds_in_the_responsive_profile_alone() -> None:
    responsive = replace(EVALUATION, profile="responsive")
    assert tables(markdown(responsive, NOTHING_BESIDE))["Keys"]["direction right"][-2:] == ["≥ 95 %", "**missed**"]
    assert goal_for("actions.direction", "smooth") is None


def test_every_goal_belongs_to_a_figure_that_an_evaluation_has() -> None:
    known = {group_of(key) for key in VERDICTS} | set(VERDICTS)
    assert set(GOALS) <= known


def test_units_fit_their_figures() -> None:
    assert [
        spell(key, 0.0312) for key in ("adherence.hero", "drift.hero", "drift.dynamic_degree", "steering.delay_s")
    ] == [
        "3.1 %",
        "3.1 points",
        "3.1 %",
        "0.0312 s",
    ]
    assert [spell("frechet", value) for value in (0.0, 0.5, 5.25, 52.5, 5250.0)] == [
        "0.00",
        "0.500",
        "5.25",
        "52.5",
        "5250",
    ]


def test_the_best_is_the_one_that_the_figure_means() -> None:
    assert winners(EVALUATION.rivals) == {
        "adherence.hero": ("fifo",),
        "frechet": (OWN, "clip"),
        "dynamic_degree": ("clip",),
        "border_jump": (OWN,),
        "calls_per_second": (OWN, "clip"),
    }


def test_a_rival_that_wins_is_bold_and_named_and_one_that_does_not_is_not() -> None:
    text = markdown(EVALUATION, NOTHING_BESIDE)
    rivals = tables(text)["Rivals"]
    assert rivals[""] == [OWN, "fifo", "clip", "recordings", "best"]
    assert rivals["hero"] == ["90.0 % [88, 92]", "**97.0 % [95, 99]**", "90.0 % [88, 92]", "", "**fifo**"]
    assert rivals["border jump"][-1] == OWN
    assert rivals["Fréchet distance"][-1] == f"{OWN}, **clip**"
    assert rivals["network calls a second"][:3] == ["**2.0**", "64.0", "**2.0**"]
    assert "A rival is best in: hero (fifo), dynamic degree (clip)." in text
    near = EVALUATION.rivals | {"fifo": rival(hero=0.93, frechet=7.0, degree=1.3, border=0.8, calls=64.0)}
    assert "hero (fifo; the intervals overlap)" in markdown(replace(EVALUATION, rivals=near), NOTHING_BESIDE)
    alone = {OWN: EVALUATION.rivals[OWN], "worse": rival(hero=0.1, frechet=9.0, degree=0.1, border=5.0, calls=9.0)}
    assert "No rival is best anywhere." in markdown(replace(EVALUATION, rivals=alone), NOTHING_BESIDE)


def test_a_setting_of_a_sweep_that_wins_is_told_apart_from_the_published_ones() -> None:
    swept = {"fifo-n8": rival(hero=0.99, frechet=4.0, degree=0.1, border=5.0, calls=9.0)}
    evaluation = replace(EVALUATION, rivals=swept | EVALUATION.rivals)
    text = markdown(evaluation, NOTHING_BESIDE)
    told = tables(text)
    assert told["Rivals"] == tables(markdown(EVALUATION, NOTHING_BESIDE))["Rivals"]
    sweep = told["Sweep of the rivals' settings"]
    assert set(sweep) == {"", "---", OWN, "fifo", "fifo-n8", "clip"}
    assert sweep["fifo-n8"][sweep[""].index("Fréchet distance")] == "**4.00 [3.98, 4.02]**"
    assert "A rival is best in: hero (fifo), dynamic degree (clip)." in text
    assert "A rival is best in: hero (fifo-n8), Fréchet distance (fifo-n8), dynamic" in text
    assert panels_of(evaluation) == panels_of(EVALUATION)


def test_panels_show_every_figure_that_is_no_delay_and_each_rival() -> None:
    panels = {panel.title: panel for panel in panels_of(EVALUATION)}
    for key, figure in figures_of(EVALUATION).items():
        bars = {bar.label: bar for bar in panels[TITLES[group_of(key)][0]].bars}
        assert (label(key) in bars) == (not key.endswith("delay_s"))
        if label(key) in bars:
            bar, goal = bars[label(key)], goal_for(key, EVALUATION.profile)
            assert bar.note.startswith(spell(key, figure.value))
            assert bar.goals == (() if goal is None else goal.bounds)
    for title in ("Rivals: Fréchet distance", "Rivals: dynamic degree", "Rivals: network calls a second"):
        assert [(bar.label, bar.strong) for bar in panels[title].bars] == [
            ("fifo", False),
            (OWN, True),
            ("clip", False),
        ]
    for panel in panels.values():
        low, high = panel.span
        assert all(low <= end <= high for bar in panel.bars for end in (bar.value, bar.low, bar.high))


def test_bars_are_as_long_as_their_values() -> None:
    def length(value: float) -> int:
        bar = Bar(label="", value=value, low=1.0, high=1.0, note="")
        panel = Panel(title="", about="", bars=(bar,), span=(0.0, 1.0))
        pixels = np.asarray(draw_panels([panel], title="").convert("RGB")).astype(int)
        return int((pixels[..., 2] - pixels[..., 0] > 60).any(axis=0).sum())

    assert length(0.8) == pytest.approx(2 * length(0.4), abs=3)


def test_words_are_drawn_in_letters_that_the_font_has() -> None:
    assert plain("Fréchet “naïve” ≥ 狐") == "Frechet ?naive? >= ?"


@pytest.mark.parametrize("columns", [1, 3, 7])
def test_a_contact_sheet_has_prompts_down_and_time_across_in_cells_of_one_size(columns: int) -> None:
    samples = dreams((OWN,), prompts=3, frames=9)
    sheet = contact_sheet(samples, title="a world", fps=16, columns=columns)
    height, width = cell_size(8, 12)
    assert (height % 8, width % 12) == (0, 0)
    boxes = [
        [places(sheet, tuple(sample.frames[frame, 0, 0])) for frame in np.linspace(0, 8, columns).round().astype(int)]
        for sample in samples
    ]
    assert {box[2:] for row in boxes for box in row} == {(width, height)}
    for row in boxes:
        assert len({top for _, top, _, _ in row}) == 1
        assert all(one[0] + width < other[0] for one, other in pairwise(row))
    assert all(one[0][1] + height + 15 < other[0][1] for one, other in pairwise(boxes))
    assert sheet.width >= boxes[0][-1][0] + width
    assert sheet.height >= boxes[-1][0][1] + height


def test_small_frames_grow_by_a_whole_number_and_large_ones_shrink() -> None:
    assert cell_size(96, 160) == (96, 160)
    assert cell_size(32, 48) == (128, 192)
    assert cell_size(512, 1024) == (128, 256)


def test_sheets_of_rivals_show_the_same_prompts_in_the_same_order() -> None:
    samples = [dream for dream in dreams(("fifo", OWN)) if (dream.name, dream.prompt[-1]) != ("fifo", "0")]
    chosen = choose_rows(samples, rows=2)
    assert list(chosen) == [OWN, "fifo"]
    assert [[dream.prompt[-1] for dream in rows] for rows in chosen.values()] == [["1", "2"], ["1", "2"]]
    assert [dream.prompt[-1] for dream in choose_rows(samples)[OWN]] == ["1", "2", "0"]


def test_who_shares_no_prompt_has_a_sheet_of_their_own_and_rules_no_order() -> None:
    others = [Sample(PARAPHRASED, f"another's {dream.prompt}", dream.frames) for dream in dreams((OWN,))]
    chosen = choose_rows([*dreams(("fifo", OWN)), *others], rows=2)
    assert {name: [dream.prompt[-1] for dream in rows] for name, rows in chosen.items()} == {
        OWN: ["0", "1"],
        "fifo": ["0", "1"],
        PARAPHRASED: ["0", "1"],
    }
    assert all(dream.prompt.startswith("another's") for dream in chosen[PARAPHRASED])


def test_a_report_is_a_folder_with_everything_that_it_links_to(tmp_path: Path) -> None:
    write_report(EVALUATION, dreams((OWN, "fifo", "fifo-n8")), tmp_path / "report", fps=16)
    text = (tmp_path / "report" / "report.md").read_text()
    linked = [part.split(")")[0] for part in text.split("](")[1:]]
    assert linked == ["figures.png", "contact_sheet.png", "contact_sheet_fifo.png", "rating/index.html"]
    assert all((tmp_path / "report" / name).stat().st_size for name in linked)
    assert "shows 3 pairs" in text


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    bare = Evaluation(
        world="a world", profile="smooth", seeds=(), made=EVALUATION.made, adherence={"hero": figure(0.5)}
    )
    write_report(bare, [], tmp_path, fps=16)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.png", "report.md"]
    assert list(tables((tmp_path / "report.md").read_text())) == ["Adherence"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here already")
    with pytest.raises(OptionError, match="another folder"):
        write_report(EVALUATION, [], tmp_path / "file", fps=16)
