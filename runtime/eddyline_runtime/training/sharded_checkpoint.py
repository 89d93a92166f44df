"""Checkpoints of a sharded run, by torch.distributed.checkpoint: each rank writes its shards, any number reads them.

    checkpoints/step-00000500/     .metadata and *.distcp are torch's; checkpoint.json says step, recipe and format
    checkpoints/step-00001000/     only the newest two are kept
    checkpoints/saving/            the one being written; renamed when it is whole

All ranks see one folder. torch reads `.metadata` by unpickling: resume from your own checkpoints alone.
"""

import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer

from eddyline.errors import CheckpointError
from eddyline_runtime.model.streamdit import StreamDiT
from eddyline_runtime.training.sharded import Ranks, weights_of

FORMAT = "eddyline-sharded-checkpoint-1"
KEPT = 2
"""Checkpoints that are kept; one more is on the disk while it is written."""
_SAVING, _LABEL = "saving", "checkpoint.json"


@dataclass(frozen=True)
class Run:
    """What a checkpoint holds: all tensors are this rank's shards."""

    model: StreamDiT
    average: dict[str, Tensor]
    """By the names of `sharded.weights_of`."""
    optimiser: Optimizer

    def state(self) -> dict[str, Any]:
        """As torch saves it, and loads into it: weights and average are the run's own tensors."""
        moments = get_optimizer_state_dict(self.model, self.optimiser)
        return {"model": weights_of(self.model), "average": self.average, "optimiser": moments}


def save_run(folder: Path, run: Run, *, step: int, loss_average: float, recipe: str, ranks: Ranks) -> None:
    """Save a run of which `step` train steps are done, then forget all but the newest two; every rank must call it.

    Args:
        loss_average: finite, the running mean of the losses so far.
        recipe: its JSON.

    Raises:
        CheckpointError: a rank could not write. All ranks raise it, and earlier checkpoints are untouched.
    """
    saving, final = folder / _SAVING, folder / f"step-{step:08d}"
    about = {"format": FORMAT, "step": step, "loss_average": loss_average, "ranks": ranks.count}
    label = {**about, "recipe": json.loads(recipe)}

    def make_room() -> None:
        if ranks.rank == 0:
            shutil.rmtree(saving, ignore_errors=True)  # left by a run that was killed
            saving.mkdir(parents=True)

    def name_it() -> None:
        if ranks.rank == 0:
            with (saving / _LABEL).open("w", encoding="utf-8") as file:
                file.write(json.dumps(label, indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            shutil.rmtree(final, ignore_errors=True)
            saving.rename(final)

    for act in (make_room, lambda: save(run.state(), checkpoint_id=saving), name_it):
        mistake = _mistake_of(act)
        if any(ranks.total(float(bool(mistake)))):
            if ranks.rank == 0:
                shutil.rmtree(saving, ignore_errors=True)
            raise CheckpointError(
                f"{folder}: train step {step} cannot be saved ({mistake or 'another rank failed'}); make room on the "
                "disk and resume, earlier checkpoints are untouched"
            )
    if ranks.rank == 0:
        for old in checkpoints_in(folder)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)


def checkpoints_in(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return sorted(label.parent for label in folder.glob(f"step-*/{_LABEL}"))


def load_run(folder: Path, run: Run, *, recipe: str) -> tuple[int, float]:
    """Put the newest checkpoint's content into `run`; every rank must call it.

    Returns:
        train steps done and the running mean of their losses; 0 and NaN where there is no checkpoint.

    Raises:
        CheckpointError: it is cut, foreign, or of another recipe (its JSON).
    """
    found = checkpoints_in(folder)
    if not found:
        return 0, math.nan
    newest = found[-1]
    step, loss_average = _check_label(newest / _LABEL, recipe)
    state = run.state()
    try:
        load(state, checkpoint_id=newest)
    except CheckpointException as error:
        raise CheckpointError(
            f"{newest} cannot be read ({_first_mistake(error)}); it is cut, delete it to go on from the one before"
        ) from error
    set_optimizer_state_dict(run.model, run.optimiser, state["optimiser"])
    return step, loss_average


def _check_label(path: Path, recipe: str) -> tuple[int, float]:
    try:
        label = json.loads(path.read_bytes())
        if label["format"] != FORMAT:
            raise ValueError(f"format {label['format']!r}, expected {FORMAT!r}")
        given, step, loss_average = label["recipe"], int(label["step"]), float(label["loss_average"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is no label of a checkpoint of ours ({error}); delete its folder to go on from the one before"
        ) from error
    if given != json.loads(recipe):
        raise CheckpointError(
            f"{path.parent} was written by another recipe; use the same recipe, or another output folder"
        )
    return step, loss_average


def _mistake_of(act: Callable[[], object]) -> str:
    """What went wrong, in one line; "" where nothing did."""
    try:
        act()
    except (CheckpointException, OSError) as error:
        return _first_mistake(error)
    return ""


def _first_mistake(error: BaseException) -> str:
    """One line: torch's exception holds those of all ranks, with their tracebacks."""
    if isinstance(error, CheckpointException):
        rank, (cause, _) = next(iter(sorted(error.failures.items())))
        return f"rank {rank}: {cause}"
    return str(error)
