"""What a training run writes about itself, beside its checkpoints, into its folder.

    run.json             the recipe, and for each time the run was started: date, seed, command, versions, machine
    losses.csv           a row for each time the held-out loss was measured
    losses.png           the same as curves
    contact_sheet.png    what the averaged weights dreamed under held-out captions when that was last measured
    contact_sheets/      the same for every time, by train step

Clocks and command lines are arguments. Pictures need Pillow, which comes with `eddyline[train]`.
"""

import csv
import json
import os
import platform
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from eddyline.errors import TrainingError
from eddyline_runtime.dreamer import to_uint8
from eddyline_runtime.evaluation.samples import OWN, Sample
from eddyline_runtime.evaluation.sheets import contact_sheet
from eddyline_runtime.flow.noise import noise_latents
from eddyline_runtime.machine import versions
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.model.streamdit import Conditioning, StreamDiT
from eddyline_runtime.precision import half_precision
from eddyline_runtime.training.data import LatentData
from eddyline_runtime.training.loss_curves import LossRow, loss_curves
from eddyline_runtime.training.polish import euler

RUN, LOSSES, CURVES = "run.json", "losses.csv", "losses.png"
SHEET, SHEETS = "contact_sheet.png", "contact_sheets"
HEADER = ("train_step", "window_frames", "loss", "held_out_loss")
SHEET_ROWS = 6
"""Held-out captions that are dreamed for a contact sheet, at most."""
_PACKAGES = ("eddyline", "torch", "numpy", "safetensors")


class NamedRecipe(Protocol):
    """A frozen dataclass of numbers, whichever trainer it is for."""

    @property
    def name(self) -> str:
        """As `--recipe` takes it."""
        ...


def begin_run(
    folder: Path, *, recipe: NamedRecipe, seed: int, command: Sequence[str], started: datetime, resume: bool
) -> None:
    """Write `run.json`; a run that is resumed adds a start to those that are there.

    Args:
        folder: made if it is not there.
        command: the program and its arguments.
        started: now, with its time zone.

    Raises:
        TrainingError: it cannot be written.
    """
    start = {
        "date": started.isoformat(timespec="seconds"),
        "seed": seed,
        "command": list(command),
        "versions": versions(_PACKAGES),
        "machine": {"system": platform.platform(), "processors": os.cpu_count(), "gpus": _gpus()},
    }
    earlier = _earlier_starts(folder / RUN) if resume else []
    content = {"recipe": msgspec.to_builtins(recipe), "starts": [*earlier, start]}
    _write(folder / RUN, lambda path: path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8"))


def _earlier_starts(path: Path) -> list[Any]:
    """Those of a readable `run.json`; the log of a run is no reason to stop it."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return list(json.loads(path.read_bytes())["starts"])
    return []


def _gpus() -> list[str]:
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


class LossLog:
    """`losses.csv`: rows are added as training goes, so that a crash loses none.

    done: train steps that a resumed run takes over; later rows, of a part that is trained again, go. 0 begins anew.

    Raises:
        TrainingError: the file cannot be written.
    """

    def __init__(self, folder: Path, *, done: int) -> None:
        self._folder = folder
        self._rows = [row for row in read_losses(folder) if row.train_step <= done]
        self._save()

    def add(self, row: LossRow) -> None:
        """Add a row, and draw the curves anew. Raises TrainingError when a file cannot be written."""
        self._rows.append(row)
        self._save()
        _write(self._folder / CURVES, lambda path: loss_curves(self._rows).save(path, format="PNG"))

    def _save(self) -> None:
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows([r.train_step, r.window_frames, f"{r.loss:.5f}", f"{r.held_out_loss:.5f}"] for r in self._rows)
        _write(self._folder / LOSSES, lambda path: path.write_text(text.getvalue(), encoding="utf-8"))


def read_losses(folder: Path) -> list[LossRow]:
    """The rows of a run's `losses.csv`; none where there is no such file. What is no row of numbers is left out."""
    path = folder / LOSSES
    if not path.exists():
        return []
    rows = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(file):
            with suppress(KeyError, TypeError, ValueError):
                step, frames, loss, held_out = (row[name] for name in HEADER)
                rows.append(LossRow(int(step), int(frames), float(loss), float(held_out)))
    return rows


def add_contact_sheet(folder: Path, samples: Sequence[Sample], *, step: int, fps: float) -> None:
    """Draw dreams after train step `step` as the newest contact sheet; earlier ones stay in `contact_sheets`.

    Args:
        samples: at least one, of one size, as `dream_held_out` makes them.

    Raises:
        TrainingError: it cannot be written.
    """
    sheet = contact_sheet(samples, title=f"after {step} train steps", fps=fps)
    kept = folder / SHEETS / f"step-{step:08d}.png"
    _write(kept, lambda path: sheet.save(path, format="PNG", optimize=True))
    _write(folder / SHEET, lambda path: shutil.copyfile(kept, path))


@torch.no_grad()
def dream_held_out(
    model: StreamDiT, codec: Codec, data: LatentData, *, frames: int, denoise_steps: int, device: str
) -> list[Sample]:
    """Dream `frames` latent frames under each of a few captions of `data`, spread over all of them.

    One chunk of one tau, `denoise_steps` Euler steps, no guidance, no keys held; the same captions and the same noise
    every time, so that sheets of one run compare.
    """
    count = min(SHEET_ROWS, len(data.texts) - 1)
    chosen = np.linspace(1, len(data.texts) - 1, count).round().astype(int)  # text 0 is the unconditional one
    config = model.config
    words = Conditioning(
        text=data.encoded.states[chosen].float(),
        text_mask=data.encoded.mask[chosen],
        text_index=torch.arange(count)[:, None].expand(-1, frames),
        actions=torch.zeros(count, frames, config.action_dim),
        stride=torch.ones(count, frames, dtype=torch.long),
    ).to(device)
    shape = (config.latent_channels, config.latent_height, config.latent_width)
    noise = [noise_latents(seed=row, epoch=0, first_index=0, frames=frames, shape=shape) for row in range(count)]

    def velocity(latents: Tensor, tau: Tensor) -> Tensor:
        with half_precision(device):
            answer: Tensor = model(latents, tau, words)
            return answer.float()

    latents = euler(velocity, torch.stack(noise).to(device), start=0.0, steps=denoise_steps)
    pixels, _ = codec.decode(latents)
    pictures = rearrange(to_uint8(pixels), "b t c h w -> b t h w c").cpu().numpy()
    return [Sample(OWN, data.texts[text], row) for text, row in zip(chosen, pictures, strict=True)]


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then give it that name."""
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise TrainingError(
            f"{path} cannot be written ({error}); make room on the disk or choose another output folder, checkpoints "
            "are untouched"
        ) from error
