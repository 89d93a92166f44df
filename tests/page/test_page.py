"""Tables of a page: they say what the files say, and nothing else on the page changes."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from eddyline.errors import OptionError
from eddyline_runtime.evaluation.figures import Evaluation, Figure, Made, RivalEvaluation, write_evaluation
from eddyline_runtime.evaluation.samples import OWN
from eddyline_runtime.page.__main__ import main
from eddyline_runtime.page.marks import TABLES, table, with_tables
from eddyline_runtime.page.measured import read_measured

ROOT = Path(__file__).parents[2]


def figure(value: float, *, spread: float = 0.02, n: int = 200, ceiling: float | None = None) -> Figure:
    return Figure(value=value, ci95=(value - spread, value + spread), n=n, ceiling=ceiling)


def way(frechet: float, calls: float, *, n: int = 48) -> RivalEvaluation:
    return RivalEvaluation(calls_per_second=calls, frechet=figure(frechet, spread=1.0, n=n, ceiling=3.0))


SMOOTH = Evaluation(
    world="a world",
    profile="smooth",
    seeds=(0,),
    made=Made(date="2026-05-01", command="eddyline-runtime evaluate", machine="a machine"),
    adherence={"prop": figure(0.9, ceiling=0.99), "all": figure(0.5, n=120)},
    paraphrase={"prop": figure(0.7), "all": figure(0.4, n=60)},
    actions={"direction": figure(0.25, n=96)},
    flicker=figure(5.0, spread=0.5, ceiling=4.0),
)
RESPONSIVE = replace(SMOOTH, profile="responsive", paraphrase={}, actions={"direction": figure(0.97, n=96)})
DRIFT = replace(
    SMOOTH,
    adherence={},
    paraphrase={},
    actions={},
    flicker=None,
    drift={
        "hero": figure(0.0, spread=0.0),
        "prop": figure(-0.01, spread=0.03),
        "dynamic_degree": figure(0.3),
    },
)
SWEPT = replace(
    DRIFT,
    drift={},
    rivals={
        OWN: way(50, 2),
        "fifo": way(60, 32),
        "fifo-n1-plain": way(80, 4),
        "fifo-n8": way(55, 64),
        "fifo-n2": way(58, 16),
    },
)
RIVALS = replace(SWEPT, rivals={OWN: way(20, 2, n=240), "fifo": way(30, 32, n=240)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_evaluation(SMOOTH, tmp_path / "evaluation_smooth.json")
    write_evaluation(DRIFT, tmp_path / "evaluation_smooth_drift.json")
    write_evaluation(RIVALS, tmp_path / "evaluation_smooth_rivals.json")
    write_evaluation(SWEPT, tmp_path / "evaluation_smooth_rivals_sweep.json")
    write_evaluation(RESPONSIVE, tmp_path / "evaluation_responsive.json")
    return tmp_path


def cells(told: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines()]
    return {row[0]: row[1:] for row in rows}


def test_the_tables_of_the_projects_pages_say_what_the_measurements_say() -> None:
    marked = []
    for name in ("README.md", "docs/figures.md"):
        page = (ROOT / name).read_text(encoding="utf-8")
        marked += re.findall(r"<!-- table: (\w+) -->", page)
        assert with_tables(page, ROOT / "docs" / "measurements") == page
    assert sorted(marked) == sorted(TABLES)


def test_a_stale_number_is_replaced_and_the_rest_of_the_page_is_not(folder: Path) -> None:
    page = "Before | it.\n\n<!-- table: words -->\n| prop | 12 |\n<!-- end of table -->\n\nAfter.\n"
    written = with_tables(page, folder)
    assert written.startswith("Before | it.\n\n<!-- table: words -->\n|  | wanted |")
    assert written.endswith("|\n<!-- end of table -->\n\nAfter.\n")
    assert "| 12 |" not in written
    assert with_tables(written, folder) == written


def test_words_are_told_for_each_profile_and_kind_of_words_that_was_measured(folder: Path) -> None:
    shown = cells(table("words", folder))
    assert shown[""] == [
        "wanted",
        "never recorded, smooth (n = 120)",
        "in words of no caption, smooth (n = 60)",
        "never recorded, responsive (n = 120)",
        "recordings",
    ]
    assert shown["prop"] == ["≥ 90 % / ≥ 80 %", "90.0 % [88, 92]", "70.0 % [68, 72]", "90.0 % [88, 92]", "99.0 %"]


def test_a_goal_of_one_profile_is_told_as_such_and_what_was_not_measured_is_left_empty(folder: Path) -> None:
    shown = cells(table("stream", folder))
    (keys,) = [row for name, row in shown.items() if name.startswith("a key")]
    assert keys == ["≥ 95 % (responsive)", "25.0 % [23, 27]", "97.0 % [95, 99]", ""]
    (drift,) = [row for name, row in shown.items() if name.startswith("drift")]
    assert drift == ["-10 to 10 %", "30.0 % [28.0, 32.0]", "", ""]
    assert not any(name.startswith("Fréchet") for name in shown)


def test_of_drifts_the_one_is_told_that_may_be_the_worst_not_the_one_that_looks_so(folder: Path) -> None:
    shown = cells(table("stream", folder))
    (worst,) = [row for name, row in shown.items() if "may have lost most" in name]
    assert worst == ["≤ 3 points", "prop -1.0 points [-4.0, 2.0]", "", ""]


def distances(told: str) -> dict[str, list[str]]:
    shown = cells(told)
    del shown["---"]
    return {name: row[:2] for name, row in shown.items() if not name.endswith("scenes")}


def test_rivals_on_more_scenes_are_told_and_never_beside_those_on_fewer(folder: Path) -> None:
    told = table("rivals", folder)
    assert told.startswith("| 240 scenes |")
    assert distances(told) == {
        "StreamDiT, smooth": ["2", "20.0 [19.0, 21.0]"],
        "FIFO-Diffusion": ["32", "30.0 [29.0, 31.0]"],
    }


def test_a_setting_of_a_sweep_that_was_measured_on_more_scenes_stands_beside_its_rival(folder: Path) -> None:
    again = replace(RIVALS, rivals={"fifo-n8": way(28, 64, n=240)})
    write_evaluation(again, folder / "evaluation_smooth_rivals_best.json")
    assert [*distances(table("rivals", folder))] == ["StreamDiT, smooth", "FIFO-Diffusion", "... `fifo-n8`"]
    assert [*distances(table("sweep", folder))][1:3] == ["FIFO-Diffusion", "... `fifo-n8`, best of 3 settings"]


def test_of_a_sweep_the_best_setting_and_the_cheapest_are_told_on_the_scenes_that_were_swept(folder: Path) -> None:
    told = table("sweep", folder)
    assert told.startswith("| 48 scenes |")
    assert distances(told) == {
        "StreamDiT, smooth": ["2", "50.0 [49.0, 51.0]"],
        "FIFO-Diffusion": ["32", "60.0 [59.0, 61.0]"],
        "... `fifo-n8`, best of 3 settings": ["64", "55.0 [54.0, 56.0]"],
        "... `fifo-n1-plain`, fewest calls of 3 settings": ["4", "80.0 [79.0, 81.0]"],
    }


def test_one_rival_on_more_scenes_does_not_displace_all_others(folder: Path) -> None:
    more = replace(RIVALS, profile="fine", rivals={OWN: way(15, 4, n=300), "clip": way(16, 25, n=300)})
    write_evaluation(more, folder / "evaluation_fine_rivals.json")
    write_evaluation(
        replace(RIVALS, rivals={**RIVALS.rivals, "clip": way(25, 25, n=240)}), folder / "evaluation_smooth_rivals.json"
    )
    assert [*distances(table("rivals", folder))] == ["StreamDiT, smooth", "FIFO-Diffusion", "clip after clip"]


def test_of_settings_that_cost_the_same_the_better_is_told_and_none_is_best_without_a_distance(folder: Path) -> None:
    rivals = {"fifo-a": way(90, 25), "fifo-b": way(60, 25), "fifo-c": way(50, 32)}
    write_evaluation(replace(SWEPT, rivals=rivals), folder / "evaluation_smooth_rivals_sweep.json")
    assert [*distances(table("sweep", folder))] == [
        "... `fifo-c`, best of 3 settings",
        "... `fifo-b`, fewest calls of 3 settings",
    ]
    bare = {name: replace(rival, frechet=None, flicker=figure(5.0, n=48)) for name, rival in rivals.items()}
    write_evaluation(replace(SWEPT, rivals=bare), folder / "evaluation_smooth_rivals_sweep.json")
    assert [*distances(table("sweep", folder))] == ["... `fifo-a`, fewest calls of 3 settings"]


def test_a_setting_that_is_the_best_and_the_cheapest_is_told_once_as_both(folder: Path) -> None:
    rivals = {OWN: way(50, 2), "fifo": way(60, 32), "fifo-n1-plain": way(55, 4), "fifo-n8": way(80, 64)}
    write_evaluation(replace(SWEPT, rivals=rivals), folder / "evaluation_smooth_rivals_sweep.json")
    shown = cells(table("sweep", folder))
    assert [name for name in shown if "`" in name] == ["... `fifo-n1-plain`, best and fewest calls of 2 settings"]


def test_what_two_processors_rounded_otherwise_is_one_figure_and_the_file_before_counts(folder: Path) -> None:
    before = table("rivals", folder), table("words", folder)
    rounded = replace(figure(0.9, ceiling=0.99), value=0.9 * (1 + 1e-10))
    again = replace(RIVALS, adherence={"prop": rounded}, rivals={OWN: way(20 * (1 + 1e-10), 2, n=240)})
    write_evaluation(again, folder / "evaluation_smooth_rivals_again.json")
    assert (table("rivals", folder), table("words", folder)) == before
    kept = read_measured(folder)
    assert kept.profiles["smooth"].adherence["prop"].value == 0.9


def test_a_rival_that_two_profiles_tell_differently_on_as_many_scenes_is_refused(folder: Path) -> None:
    other = replace(RIVALS, profile="responsive", rivals={OWN: way(70, 4), "fifo": way(61, 32)})
    write_evaluation(other, folder / "evaluation_responsive_rivals.json")
    with pytest.raises(OptionError, match=r"tells rivals\.fifo differently"):
        read_measured(folder)


def test_a_table_of_rivals_that_nobody_measured_says_what_to_run(folder: Path) -> None:
    (folder / "evaluation_smooth_rivals_sweep.json").unlink()
    with pytest.raises(OptionError, match="no such rival was measured; evaluate --only rivals --rivals sweep"):
        table("sweep", folder)


def test_a_profile_of_which_other_parts_were_measured_hides_no_attribute_of_another(tmp_path: Path) -> None:
    write_evaluation(DRIFT, tmp_path / "evaluation_smooth_drift.json")
    write_evaluation(RESPONSIVE, tmp_path / "evaluation_responsive.json")
    shown = cells(table("words", tmp_path))
    assert shown["prop"] == ["≥ 90 % / ≥ 80 %", "90.0 % [88, 92]", "99.0 %"]


@pytest.mark.parametrize("name", ["words", "stream"])
def test_a_table_of_what_nobody_measured_is_refused_not_left_empty(tmp_path: Path, name: str) -> None:
    bare = replace(DRIFT, drift={}, rivals={OWN: RivalEvaluation(calls_per_second=2)})
    write_evaluation(bare, tmp_path / "evaluation_smooth.json")
    with pytest.raises(OptionError, match=r"no file tells .*; evaluate --only"):
        table(name, tmp_path)


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("nothing here\n", "marks no table"),
        ("<!-- table: wrods -->\n<!-- end of table -->\n", "marks 'wrods'.*one of speed, views, words, .*sweep"),
        ("<!-- table: words -->\n| a |\n", "of 1 tables that the page marks 0 have an end"),
    ],
)
def test_a_page_that_cannot_be_filled_is_refused(folder: Path, page: str, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        with_tables(page, folder)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            replace(SMOOTH, adherence={"prop": figure(0.8)}),
            r"smooth_again.json tells adherence.prop differently from .*/evaluation_smooth.json; keep one",
        ),
        (replace(DRIFT, flicker=figure(9.0)), "tells flicker differently"),
        (RESPONSIVE, "is of the profile responsive"),
        (replace(DRIFT, world="another"), "is of the world another, others of a world; keep those of one"),
    ],
)
def test_files_that_contradict_each_other_are_refused(folder: Path, changed: Evaluation, told: str) -> None:
    write_evaluation(changed, folder / "evaluation_smooth_again.json")
    with pytest.raises(OptionError, match=told):
        read_measured(folder)


def test_the_command_writes_the_page_or_says_why_not_and_leaves_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- table: words -->\n<!-- end of table -->\n")
    assert main([str(page), str(folder)]) == 0
    assert "| prop |" in page.read_text()
    empty = tmp_path / "empty"
    empty.mkdir()
    before = page.read_text()
    assert main([str(page), str(empty)]) == 2
    assert "holds no evaluation_PROFILE.json" in capsys.readouterr().err
    assert page.read_text() == before
    assert main([str(tmp_path / "nowhere.md"), str(folder)]) == 2
    assert "nowhere.md cannot be read (No such file or directory); name a Markdown file" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_keeps_what_it_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- table: words -->\n<!-- end of table -->\n")
    (tmp_path / "page.md.part").symlink_to("/dev/full")  # where it is written first the disk is full
    before = page.read_text()
    assert main([str(page), str(folder)]) == 2
    assert "page.md cannot be written (No space left on device)" in capsys.readouterr().err
    assert page.read_text() == before
