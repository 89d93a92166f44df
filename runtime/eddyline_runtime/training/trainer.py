"""Train StreamDiT on latents: stages of buffered flow matching, EMA, held-out loss, resumable at any checkpoint."""

import csv
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from eddyline.errors import TrainingError
from eddyline_runtime.flow.loss import flow_matching_loss, flow_sample, guided_sample
from eddyline_runtime.model.streamdit import StreamDiT
from eddyline_runtime.training.checkpoint import read_checkpoint, restore, save_checkpoint
from eddyline_runtime.training.data import Batch, LatentData, draw_batch
from eddyline_runtime.training.interrupt import ctrl_c_waits
from eddyline_runtime.training.muon import Muon
from eddyline_runtime.training.recipes import Recipe, Stage
from eddyline_runtime.weights import half_precision

CHECKPOINT = "checkpoint.safetensors"
HELD_OUT_SEED = 2**31
"""Held-out windows are drawn with this seed whatever the run's own is, so that runs compare."""
HELD_OUT_BATCHES = 4
"""For each stage."""


@dataclass(frozen=True)
class TrainReport:
    """What a run reached."""

    steps: int
    samples: int
    """Windows seen."""
    held_out_loss: float
    """Of the averaged weights, over the window lengths of all stages, each against its own target: a guided stage
    has guidance in the target, and raises what is measured on the others."""


def train_model(
    data: LatentData,
    held_out: LatentData,
    *,
    recipe: Recipe,
    seed: int,
    out: Path,
    device: str,
    resume: bool = False,
    codec: str = "",
    start_from: StreamDiT | None = None,
) -> tuple[StreamDiT, TrainReport]:
    """Run all stages; `checkpoint.safetensors` and `losses.csv` grow in `out`.

    Args:
        resume: go on from `out`'s checkpoint, if it has one; the result is the same as without the break.
        codec: which codec made the latents (`checkpoint.encoder_digest`); a checkpoint of another one is refused.
        start_from: take the first weights from this model instead of from the seed.

    Returns:
        the averaged (EMA) model.

    Raises:
        TrainingError: the loss or its gradient is not finite (the last checkpoint stays), or Ctrl-C was pressed (the
            step was finished and the run saved; a second Ctrl-C stops at once).
        CheckpointError: the checkpoint is cut, foreign, of another recipe or codec, or cannot be written.
    """
    torch.manual_seed(seed)
    model = StreamDiT(recipe.model)
    model.latent_deviation.copy_(latent_deviation(data))
    if start_from is not None:
        model.load_state_dict(start_from.state_dict())
    model = model.to(device)
    ema = {name: t.detach().clone() for name, t in model.state_dict().items()}
    optimisers = make_optimisers(model, recipe)
    path, encoded_recipe = out / CHECKPOINT, msgspec.json.encode(recipe).decode()
    first = 0
    if resume and path.exists():
        checkpoint = read_checkpoint(path, recipe=encoded_recipe, codec=codec)
        restore(checkpoint, model=model, ema=ema, optimisers=optimisers)
        first = checkpoint.step

    def save(step: int) -> None:
        save_checkpoint(
            path, step=step, recipe=encoded_recipe, codec=codec, model=model, ema=ema, optimisers=optimisers
        )

    plan = list(enumerate(_schedule(recipe)))[first:]
    loss_average, held_out_loss = math.nan, math.nan
    with (
        _loss_log(out / "losses.csv", done=first) as log,
        tqdm(plan, initial=first, total=recipe.total_steps, unit="step") as bar,
        ctrl_c_waits() as ctrl_c,
    ):
        for step, stage in bar:
            batch = draw_batch(data, recipe=recipe, stage=stage, seed=seed, step=step)
            loss = train_step(model, batch, optimisers, device, learning_rate(recipe, step))
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} at train step {step}; {path} keeps the last good state: "
                    "lower the learning rate, or resume with another --seed"
                )
            update_ema(ema, model, min(recipe.ema_decay, (step + 1) / (step + 10)))
            loss_average = loss if math.isnan(loss_average) else 0.98 * loss_average + 0.02 * loss
            bar.set_postfix(loss=f"{loss_average:.4f}", held_out=f"{held_out_loss:.4f}", frames=stage.frames)
            done = step + 1
            if done % recipe.held_out_every == 0 or done == recipe.total_steps:
                held_out_loss = evaluate_loss(model, ema, held_out, recipe=recipe, device=device)
                log.writerow([done, stage.frames, f"{loss_average:.5f}", f"{held_out_loss:.5f}"])
            stopping = ctrl_c()
            if done % recipe.save_every == 0 or done == recipe.total_steps or stopping:
                save(done)
            if stopping:
                raise TrainingError(f"stopped after {done} train steps; run the same command with --resume to go on")
    if not plan:  # resumed when all was done
        held_out_loss = evaluate_loss(model, ema, held_out, recipe=recipe, device=device)
    model.load_state_dict(ema)
    samples = sum(stage.steps * stage.batch for stage in recipe.stages)
    return model.eval(), TrainReport(recipe.total_steps, samples, held_out_loss)


def latent_deviation(data: LatentData, *, clips: int = 200) -> Float[Tensor, " C"]:
    """Standard deviation of each latent channel over the first `clips` clips."""
    latents = torch.cat([clip.latents.float() for clip in data.clips[:clips]])
    return latents.std(dim=(0, 2, 3)).clamp(min=1e-3)


def _schedule(recipe: Recipe) -> Iterator[Stage]:
    """The stage of every train step."""
    for stage in recipe.stages:
        yield from [stage] * stage.steps


def make_optimisers(model: StreamDiT, recipe: Recipe) -> list[Optimizer]:
    """Muon for the blocks' matrices, AdamW for everything else."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        matrix = name.startswith("blocks.") and parameter.ndim == 2 and "modulation" not in name
        (matrices if matrix else rest).append(parameter)
    muon = Muon(matrices, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    return [muon, torch.optim.AdamW(rest, lr=recipe.learning_rate, weight_decay=0.0, betas=(0.9, 0.98))]


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, flat, linear to zero at the end."""
    left = (recipe.total_steps - step) / max(1.0, recipe.decay_share * recipe.total_steps)
    return recipe.learning_rate * min(1.0, (step + 1) / recipe.warmup_steps, left)


def train_step(model: StreamDiT, batch: Batch, optimisers: list[Optimizer], device: str, rate: float) -> float:
    """One optimiser update at learning rate `rate`.

    Returns:
        the loss, or NaN if its gradient is not finite. What is not finite changes nothing.
    """
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
    loss = batch_loss(model, batch, device)
    value = float(loss.item())
    if math.isfinite(value):
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if not math.isfinite(norm.item()):
            return math.nan
        for optimiser in optimisers:
            optimiser.step()
    return value


def batch_loss(model: StreamDiT, batch: Batch, device: str) -> Float[Tensor, ""]:
    """The buffered flow matching loss of one batch on `device`, computed in bf16 where it multiplies that natively."""
    stage = batch.stage
    sample = flow_sample(batch.latents.to(device), batch.partitions, batch.generator, denoise_steps=stage.denoise_steps)
    with half_precision(device):
        velocity = model(sample.latents, sample.tau, batch.conditioning.to(device))
        if batch.away is not None:
            with torch.no_grad():
                away = model(sample.latents, sample.tau, batch.away.to(device))
            sample = guided_sample(sample, velocity, away, stage.guidance_scale)
    return flow_matching_loss(velocity, sample)


@torch.no_grad()
def update_ema(ema: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """Move the average towards the model's weights."""
    state = model.state_dict()
    torch._foreach_lerp_([ema[name] for name in state], list(state.values()), 1 - decay)


@torch.no_grad()
def evaluate_loss(model: StreamDiT, ema: dict[str, Tensor], data: LatentData, *, recipe: Recipe, device: str) -> float:
    """Loss of the averaged weights on the same held-out windows and noise every time, over all stages' lengths."""
    current = {name: t.clone() for name, t in model.state_dict().items()}
    model.load_state_dict(ema)
    losses = [
        batch_loss(model, draw_batch(data, recipe=recipe, stage=stage, seed=HELD_OUT_SEED, step=index), device).item()
        for stage in recipe.stages
        for index in range(HELD_OUT_BATCHES)
    ]
    model.load_state_dict(current)
    return sum(losses) / len(losses)


@contextmanager
def _loss_log(path: Path, *, done: int) -> Iterator[Any]:
    """A CSV writer; of an earlier run only what belongs to its first `done` train steps stays."""
    rows: list[list[str]] = []
    if done and path.exists():
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if row and row[0].isdigit() and int(row[0]) <= done]
    with path.open("w", newline="", buffering=1) as file:
        writer = csv.writer(file)
        writer.writerow(["train_step", "window_frames", "loss", "held_out_loss"])
        writer.writerows(rows)
        yield writer
