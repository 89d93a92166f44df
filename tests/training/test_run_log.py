"""What a run writes about itself: how it was started, its losses as a table and as curves, its dreams."""

from __future__ import annotations

import json
import math
import resource
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eddyline.errors import TrainingError
from eddyline_runtime import config
from eddyline_runtime.evaluation.samples import Sample
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.model.streamdit import StreamDiT
from eddyline_runtime.training.data import LatentData
from eddyline_runtime.training.loss_curves import LossRow, loss_curves, ticks
from eddyline_runtime.training.recipes import Recipe
from eddyline_runtime.training.run_log import (
    CURVES,
    LOSSES,
    RUN,
    SHEET,
    SHEETS,
    LossLog,
    add_contact_sheet,
    begin_run,
    dream_held_out,
    read_losses,
)

ROWS = [LossRow(4, 2, 1.5, 1.25), LossRow(8, 4, 1.0, 1.125), LossRow(12, 4, 0.5, 1.0)]
MONDAY, TUESDAY = (datetime(2026, 11, day, 9, 30, tzinfo=UTC) for day in (23, 24))


def start(folder: Path, recipe: Recipe, *, at: datetime, seed: int = 0, resume: bool = False) -> dict[str, object]:
    begin_run(folder, recipe=recipe, seed=seed, command=["train", "--seed", str(seed)], started=at, resume=resume)
    told: dict[str, object] = json.loads((folder / RUN).read_text())
    return told


def test_a_run_says_from_what_and_how_it_was_started(tmp_path: Path, recipe: Recipe) -> None:
    told = start(tmp_path / "new", recipe, at=MONDAY, seed=7)
    assert isinstance(told["recipe"], dict)
    assert (told["recipe"]["name"], told["recipe"]["learning_rate"]) == ("tiny", recipe.learning_rate)
    assert len(told["recipe"]["stages"]) == len(recipe.stages)
    (only,) = told["starts"]  # type: ignore[misc]  # a list, or the test fails
    assert (only["date"], only["seed"]) == ("2026-11-23T09:30:00+00:00", 7)
    assert only["command"] == ["train", "--seed", "7"]
    assert only["versions"]["torch"] == torch.__version__


def test_a_resumed_run_adds_its_start_and_a_new_one_forgets_the_old(tmp_path: Path, recipe: Recipe) -> None:
    start(tmp_path, recipe, at=MONDAY)
    resumed = start(tmp_path, recipe, at=TUESDAY, resume=True)
    assert [one["date"][:10] for one in resumed["starts"]] == ["2026-11-23", "2026-11-24"]  # type: ignore[attr-defined]
    assert len(start(tmp_path, recipe, at=TUESDAY)["starts"]) == 1  # type: ignore[arg-type]


def test_a_log_that_was_cut_does_not_stop_a_run(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / RUN).write_text('{"recipe": {')
    assert len(start(tmp_path, recipe, at=MONDAY, resume=True)["starts"]) == 1  # type: ignore[arg-type]


def test_losses_are_on_the_disk_as_soon_as_they_are_added(tmp_path: Path) -> None:
    log = LossLog(tmp_path, done=0)
    for number, row in enumerate(ROWS, start=1):
        log.add(row)
        assert read_losses(tmp_path) == ROWS[:number]
    assert (tmp_path / LOSSES).read_text().splitlines()[:2] == [
        "train_step,window_frames,loss,held_out_loss",
        "4,2,1.50000,1.25000",
    ]
    with Image.open(tmp_path / CURVES) as picture:
        assert picture.size == (1000, 520)


def test_a_resumed_run_keeps_the_rows_of_what_it_takes_over(tmp_path: Path) -> None:
    log = LossLog(tmp_path, done=0)
    for row in ROWS:
        log.add(row)
    LossLog(tmp_path, done=8).add(LossRow(12, 4, 0.25, 0.5))
    assert read_losses(tmp_path) == [*ROWS[:2], LossRow(12, 4, 0.25, 0.5)]
    LossLog(tmp_path, done=0)
    assert read_losses(tmp_path) == []


def test_what_is_no_row_of_numbers_is_left_out(tmp_path: Path) -> None:
    LossLog(tmp_path, done=0).add(ROWS[0])
    with (tmp_path / LOSSES).open("a") as file:
        file.write("8,4,1.0\nlater,4,1.0,1.0\n")
    assert read_losses(tmp_path) == ROWS[:1]


def test_losses_that_are_not_numbers_leave_gaps_in_the_curves() -> None:
    spoilt = [ROWS[0], LossRow(8, 4, math.nan, math.inf), ROWS[2]]
    whole, gap, without = (np.asarray(loss_curves(rows)) for rows in (ROWS, spoilt, [ROWS[0], ROWS[2]]))
    assert not np.array_equal(gap, whole)
    assert not np.array_equal(without, whole)
    assert loss_curves([]).size == loss_curves(ROWS).size, "before the first row too"


@given(low=st.floats(-100.0, 100.0), span=st.floats(1e-3, 1e6))
def test_ticks_are_few_even_and_hold_the_whole_span(low: float, span: float) -> None:
    marks = ticks(low, low + span)
    slack = 1e-9 * max(1.0, abs(low), span)
    assert marks[0] <= low + slack
    assert marks[-1] >= low + span - slack
    assert 3 <= len(marks) <= 8
    assert np.allclose(np.diff(marks), marks[1] - marks[0])


def test_dreams_are_under_held_out_captions_and_of_the_same_noise_every_time(data: LatentData) -> None:
    torch.manual_seed(0)
    model, codec = StreamDiT(config.tiny()), Codec(config.tiny_codec())

    def dream() -> list[Sample]:
        return dream_held_out(model, codec, data, frames=4, denoise_steps=2, device="cpu")

    first, again = dream(), dream()
    assert [sample.prompt for sample in first] == list(data.texts[1:])
    assert {(sample.frames.shape, sample.frames.dtype.name) for sample in first} == {((16, 32, 48, 3), "uint8")}
    assert all(np.array_equal(one.frames, other.frames) for one, other in zip(first, again, strict=True))
    torch.nn.init.normal_(model.head[-1].weight)
    assert not np.array_equal(dream()[0].frames, first[0].frames), "another model dreams otherwise"


def test_the_newest_contact_sheet_lies_open_and_all_are_kept(tmp_path: Path) -> None:
    for step, grey in ((4, 50), (8, 200)):
        add_contact_sheet(tmp_path, [Sample("", "grey", np.full((8, 32, 48, 3), grey, np.uint8))], step=step, fps=16.0)
    kept = sorted((tmp_path / SHEETS).iterdir())
    assert [path.name for path in kept] == ["step-00000004.png", "step-00000008.png"]
    assert (tmp_path / SHEET).read_bytes() == kept[1].read_bytes() != kept[0].read_bytes()


def test_a_full_disk_is_told_and_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    log = LossLog(tmp_path, done=0)
    log.add(ROWS[0])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        with pytest.raises(TrainingError, match=r"losses\.csv cannot be written .*File too large.*checkpoints are unt"):
            log.add(ROWS[1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
