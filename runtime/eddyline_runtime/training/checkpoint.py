"""Checkpoints of a training run: one safetensors file, written whole or not at all.

Tensors are named `model/...`, `ema/...` and `optimiser/<number>/<parameter>/<state>`; the metadata names the recipe,
the codec, the step and the format. Nothing is pickled.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from eddyline.errors import CheckpointError
from eddyline_runtime.model.codec import Codec

FORMAT = "eddyline-checkpoint-1"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's content."""

    step: int
    """Train steps done."""
    recipe: str
    """As JSON."""
    tensors: Mapping[str, Tensor]
    loss_average: float = math.nan
    """The running mean of the losses so far, NaN where none is kept."""

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose name starts with `prefix/`, without it."""
        return {name[len(prefix) + 1 :]: t for name, t in self.tensors.items() if name.startswith(prefix + "/")}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write to a temporary file, flush it to the disk, rename: the previous file survives a full disk or a crash.

    Raises:
        CheckpointError: the file cannot be written.
    """
    temporary = path.with_suffix(".part")
    try:
        save_file({name: t.contiguous() for name, t in tensors.items()}, temporary, dict(metadata))
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path} cannot be written ({error}); make room on the disk or choose another output folder, "
            "what was there before is untouched"
        ) from error


def encoder_digest(codec: Codec) -> str:
    """sha256 over the codec's encoder: latents of two codecs are the same where their encoders are."""
    digest = hashlib.sha256()
    for name, tensor in sorted(codec.state_dict().items()):
        if name.startswith(("linear_in.", "encoder.")):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(
    path: Path,
    *,
    step: int,
    recipe: str,
    codec: str,
    model: nn.Module,
    ema: Mapping[str, Tensor],
    optimisers: list[Optimizer],
    loss_average: float = math.nan,
) -> None:
    """Save a run of which `step` train steps are done; `recipe` is its JSON, `codec` its codec's digest.

    `ema` may be empty where no average is kept.

    Raises:
        CheckpointError: the file cannot be written.
    """
    tensors = {f"model/{name}": t for name, t in model.state_dict().items()}
    tensors |= {f"ema/{name}": t for name, t in ema.items()}
    for number, optimiser in enumerate(optimisers):
        for parameter, state in optimiser.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimiser/{number}/{parameter}/{name}"] = torch.as_tensor(value)
    about = {"format": FORMAT, "step": str(step), "recipe": recipe, "codec": codec, "loss_average": repr(loss_average)}
    write_tensors(path, tensors, about)


def read_checkpoint(path: Path, *, recipe: str, codec: str) -> Checkpoint:
    """Read a checkpoint of this recipe (its JSON) and codec (its digest; "" is not compared).

    Raises:
        CheckpointError: the file is missing, cut, damaged, foreign, or of another recipe or codec.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); it is missing or cut, delete it to start anew"
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is no checkpoint of ours (format {metadata.get('format')!r}, expected {FORMAT!r})"
        )
    try:
        written = json.loads(metadata["recipe"])
        step, loss_average = int(metadata["step"]), float(metadata.get("loss_average", "nan"))
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); delete it to start anew") from error
    if written != json.loads(recipe):
        raise CheckpointError(f"{path} was written by another recipe; use the same recipe, or another output folder")
    if codec and metadata.get("codec") and metadata["codec"] != codec:
        raise CheckpointError(
            f"{path} was trained on the latents of another codec; put its codec_unpolished.safetensors back, "
            "or train from the start in another output folder"
        )
    return Checkpoint(step, recipe, tensors, loss_average)


def restore(checkpoint: Checkpoint, *, model: nn.Module, ema: dict[str, Tensor], optimisers: list[Optimizer]) -> None:
    """Put a checkpoint's content back, onto the devices where model and averages are.

    Raises:
        CheckpointError: the tensors do not fit the model; nothing was changed.
    """
    weights, averages = checkpoint.part("model"), checkpoint.part("ema")
    expected = {name: t.shape for name, t in model.state_dict().items()}
    for part in (weights, averages) if ema else (weights,):
        given = {name: t.shape for name, t in part.items()}
        if given != expected:
            wrong = sorted(n for n in given.keys() | expected.keys() if given.get(n) != expected.get(n))
            raise CheckpointError(
                f"the checkpoint does not fit this model: {wrong[0]} and {len(wrong) - 1} other tensors differ; "
                "it was written by another version, train from the start in another output folder"
            )
    model.load_state_dict(weights)
    for name, average in averages.items():
        ema[name].copy_(average)
    for number, optimiser in enumerate(optimisers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in checkpoint.part(f"optimiser/{number}").items():
            parameter, key = name.split("/")
            state.setdefault(int(parameter), {})[key] = value
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
