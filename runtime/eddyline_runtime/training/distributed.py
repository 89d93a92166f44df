"""Train a large StreamDiT under torchrun: the paper's 4 B recipe, or the same at tiny sizes to try a set-up.

    torchrun --nproc-per-node 8 -m eddyline_runtime.training.distributed \\
        --recipe streamdit-4b --latents latents --out runs/big

One process for each GPU; on several machines `latents` and `--out` are folders that all of them see. Data parallel over
sharded parameters (FSDP2): every rank computes its rows of one global batch, and one step of n processes is one step of
one process up to rounding. The optimiser is AdamW: Muon turns whole matrices, which shards are not, and the paper's own
is unpublished.

`latents` holds a folder for each set of videos that the recipe names, and one of held-out videos:

    latents/high_quality/*.safetensors    latents/pretraining/*.safetensors    latents/held_out/*.safetensors

Each file is one call of `latents.save_latents`, for as many clips as fit into memory then. Here files are mapped, not
read, and the windows of one train step come from one of them, so clips should lie in them well mixed. No codec and no
text encoder of the paper's sizes come with Eddyline: any codec of 8 channels and 8x8 pixels a cell, and any text
encoder of 4096 channels that `data.encode_recording` is given, will do.

Written into `--out`: `run.json`, `losses.csv`, `losses.png`, `checkpoints/`, and at the end `streamdit.safetensors`,
the averaged weights in float32. Ctrl-C finishes the step and saves; torchrun waits half a minute for that, a newer one
as long as its `--shutdown-timeout` says.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Optimizer
from tqdm import tqdm

from eddyline.errors import EddylineError, TrainingError
from eddyline_runtime.arguments import MISTAKE, seed_number
from eddyline_runtime.training.checkpoint import write_tensors
from eddyline_runtime.training.data import Batch, LatentData, draw_batch
from eddyline_runtime.training.interrupt import ctrl_c_waits
from eddyline_runtime.training.latents import map_latents
from eddyline_runtime.training.loss_curves import LossRow
from eddyline_runtime.training.rank_memory import rank_memory
from eddyline_runtime.training.recipes_4b import LARGE_RECIPES, LargeRecipe
from eddyline_runtime.training.run_log import LossLog, begin_run
from eddyline_runtime.training.sharded import (
    Ranks,
    averaged,
    compute_dtype,
    joined,
    loss_shares,
    sharded_streamdit,
    update_average,
    weights_of,
)
from eddyline_runtime.training.sharded_checkpoint import Run, checkpoints_in, load_run, save_run
from eddyline_runtime.training.trainer import HELD_OUT_BATCHES, HELD_OUT_SEED, latent_deviation

CHECKPOINTS = "checkpoints"
HELD_OUT = "held_out"
Shards = tuple[LatentData, ...]
"""The files of one set."""
WEIGHTS = "streamdit.safetensors"


@dataclass(frozen=True)
class LatentSets:
    """What a run learns from, and what it is measured on."""

    sets: Mapping[str, Shards]
    """By the names that the stages use."""
    held_out: Shards


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one rank; returns the exit status: MISTAKE after one, told in one line, and after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="torchrun -m eddyline_runtime.training.distributed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    given = parser.parse_args(arguments)
    try:
        with joined(given.device) as ranks:
            run(given, ranks, command=sys.argv if arguments is None else [parser.prog, *arguments])
    except EddylineError as error:
        print(f"eddyline-runtime: {error}", file=sys.stderr)
        return MISTAKE
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of one rank; every rank is given the same."""
    parser.add_argument("--recipe", choices=sorted(LARGE_RECIPES), default="streamdit-4b")
    parser.add_argument("--latents", required=True, type=Path, help="the folder of folders of latents")
    parser.add_argument("--out", required=True, type=Path, help="where checkpoints, losses and weights go")
    parser.add_argument(
        "--seed", type=seed_number, default=0, help="0 or more; the same seed gives the same run, whatever the ranks"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in --out")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu", help="cuda if any"
    )


def run(given: argparse.Namespace, ranks: Ranks, *, command: Sequence[str]) -> None:
    """Train as the options say; rank 0 tells how much memory it takes, and keeps the log of the run.

    Raises:
        EddylineError: latents, checkpoint or sizes are unusable, or training stopped; each says what to do.
    """
    recipe = LARGE_RECIPES[given.recipe]()
    out: Path = given.out
    own = ranks.parts(recipe.batch, at_once=recipe.rows_at_once)
    latents = read_sets(given.latents, recipe)
    if ranks.rank == 0:
        begin_run(out, recipe=recipe, seed=given.seed, command=command, started=datetime.now(UTC), resume=given.resume)
        text_tokens = max(data.encoded.states.shape[1] for shards in latents.sets.values() for data in shards)
        need = rank_memory(
            recipe.model,
            ranks=ranks.count,
            rows=own[0].stop - own[0].start,
            frames=recipe.frames,
            text_tokens=text_tokens,
            dtype=compute_dtype(ranks.device),
        )
        print(f"{recipe.name} on {ranks.count} ranks ({ranks.device.type}): {need}", file=sys.stderr)
    train_sharded(latents, recipe=recipe, seed=given.seed, out=out, ranks=ranks, resume=given.resume)


def read_sets(folder: Path, recipe: LargeRecipe) -> LatentSets:
    """Map all latents that a recipe needs.

    Raises:
        TrainingError: a folder is missing or empty, or its latents are of other sizes than the recipe's model.
        CheckpointError: a file is cut or foreign.
    """
    names = sorted({stage.latents for stage in recipe.stages})
    sets = {name: map_latents(folder / name) for name in (*names, HELD_OUT)}
    model = recipe.model
    wanted = (model.latent_channels, model.latent_height, model.latent_width, model.text_dim, model.action_dim)
    for name, data in [(name, data) for name, shards in sets.items() for data in shards]:
        clip = data.clips[0]
        given = (*clip.latents.shape[1:], data.encoded.states.shape[-1], clip.actions.shape[-1])
        if given != wanted:
            raise TrainingError(
                f"{folder / name} holds (channels, height, width, text channels, actions) = {given}, the recipe "
                f"{recipe.name!r} takes {wanted}; encode the videos again"
            )
    held_out = sets.pop(HELD_OUT)
    return LatentSets(sets, held_out)


def train_sharded(
    latents: LatentSets, *, recipe: LargeRecipe, seed: int, out: Path, ranks: Ranks, resume: bool = False
) -> float:
    """Run all stages; every rank must call it with the same.

    Args:
        resume: go on from the newest checkpoint in `out`, if there is one. With as many ranks the result is the same as
            without the break, with another number it is the same up to rounding.

    Returns:
        the held-out loss of the averaged weights, which rank 0 left in `out`.

    Raises:
        TrainingError: `out` holds an earlier run's checkpoints and nothing is to be resumed, the loss or its gradient
            is not finite (the last checkpoint stays), or Ctrl-C was pressed on any rank (the step was finished and the
            run saved).
        CheckpointError: a checkpoint is cut, foreign, of another recipe, or cannot be written.
        ConfigError: the batch does not split over the ranks.
    """
    folder, encoded_recipe = out / CHECKPOINTS, msgspec.json.encode(recipe).decode()
    if not resume and checkpoints_in(folder):
        raise TrainingError(f"{folder} holds those of an earlier run; add --resume, or choose another output folder")
    run = new_run(latents.sets[recipe.stages[0].latents][0], recipe=recipe, seed=seed, ranks=ranks)
    first, loss_average = load_run(folder, run, recipe=encoded_recipe) if resume else (0, math.nan)
    held_out_loss = math.nan
    leader = ranks.rank == 0
    log = LossLog(out, done=first) if leader else None
    with (
        tqdm(range(first, recipe.total_steps), initial=first, total=recipe.total_steps, disable=not leader) as bar,
        ctrl_c_waits() as ctrl_c,
    ):
        for step in bar:
            stage = recipe.stage_of(step)
            data = shard_of(latents.sets[stage.latents], seed=seed, step=step)
            batch = draw_batch(data, recipe=recipe, stage=recipe.windows(stage), seed=seed, step=step)
            loss = train_step(run, batch, recipe=recipe, rate=recipe.learning_rate(step), ranks=ranks)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} at train step {step}; {folder} keeps the last good state: "
                    "lower the learning rate, or resume with another --seed"
                )
            decay = min(recipe.ema_decay, (step + 1) / (step + 10))
            update_average(run.average, weights_of(run.model), decay)
            loss_average = loss if math.isnan(loss_average) else 0.98 * loss_average + 0.02 * loss
            bar.set_postfix(loss=f"{loss_average:.4f}", held_out=f"{held_out_loss:.4f}", stage=stage.name)
            done = step + 1
            if done % recipe.held_out_every == 0 or done == recipe.total_steps:
                held_out_loss = measured_loss(run, latents.held_out, recipe=recipe, ranks=ranks)
                if log is not None:
                    log.add(LossRow(done, recipe.frames, loss_average, held_out_loss))
            stopping = any(ranks.total(float(ctrl_c())))
            if done % recipe.save_every == 0 or done == recipe.total_steps or stopping:
                save_run(folder, run, step=done, loss_average=loss_average, recipe=encoded_recipe, ranks=ranks)
            if stopping:
                raise TrainingError(f"stopped after {done} train steps; run the same command with --resume to go on")
    if first == recipe.total_steps:
        held_out_loss = measured_loss(run, latents.held_out, recipe=recipe, ranks=ranks)
    _write_weights(out / WEIGHTS, run, ranks)
    return held_out_loss


def shard_of(shards: Shards, *, seed: int, step: int) -> LatentData:
    """The file that a train step draws its windows from: drawn too, in proportion to its clips."""
    clips = np.array([len(data.clips) for data in shards])
    return shards[np.random.default_rng((seed, step, 1)).choice(len(shards), p=clips / clips.sum())]


def new_run(data: LatentData, *, recipe: LargeRecipe, seed: int, ranks: Ranks) -> Run:
    """A model drawn from the seed, its average, and an optimiser that has not stepped."""
    model = sharded_streamdit(recipe.model, seed=seed, ranks=ranks)
    model.latent_deviation.copy_(latent_deviation(data))
    average = {name: tensor.clone() for name, tensor in weights_of(model).items()}
    return Run(model, average, make_optimiser(model, weight_decay=recipe.weight_decay))


def make_optimiser(model: nn.Module, *, weight_decay: float) -> Optimizer:
    """AdamW; only matrices decay."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return AdamW(groups, betas=(0.9, 0.98))


def train_step(run: Run, batch: Batch, *, recipe: LargeRecipe, rate: float, ranks: Ranks) -> float:
    """One optimiser update at learning rate `rate`; every rank gives the same whole batch.

    Returns:
        the loss of the whole batch, or NaN if its gradient is not finite. What is not finite changes nothing.
    """
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    run.optimiser.zero_grad(set_to_none=True)
    own = torch.zeros((), device=ranks.device)
    parts = ranks.parts(recipe.batch, at_once=recipe.rows_at_once)
    for share in loss_shares(run.model, batch, parts, ranks.device):
        (share * ranks.count).backward()  # FSDP takes the mean of gradients over ranks, and a loss is a sum of shares
        own += share.detach()
    norm = nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    assert isinstance(norm, DTensor)
    (loss,) = ranks.total(own.item())
    if not (math.isfinite(loss) and math.isfinite(norm.full_tensor().item())):
        return math.nan
    run.optimiser.step()
    return loss


@torch.no_grad()
def measured_loss(run: Run, held_out: Shards, *, recipe: LargeRecipe, ranks: Ranks) -> float:
    """Loss of the averaged weights on windows of the last stage, the same windows and noise every time."""
    windows, parts = recipe.windows(recipe.stages[-1]), ranks.parts(recipe.batch, at_once=recipe.rows_at_once)
    own = torch.zeros((), device=ranks.device)
    with averaged(run.average, weights_of(run.model)):
        for step in range(HELD_OUT_BATCHES):
            data = shard_of(held_out, seed=HELD_OUT_SEED, step=step)
            batch = draw_batch(data, recipe=recipe, stage=windows, seed=HELD_OUT_SEED, step=step)
            for share in loss_shares(run.model, batch, parts, ranks.device):
                own += share
    (loss,) = ranks.total(own.item())
    return loss / HELD_OUT_BATCHES


def _write_weights(path: Path, run: Run, ranks: Ranks) -> None:
    """Gather the averaged weights on rank 0's host, tensor by tensor, and write them."""
    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    with averaged(run.average, weights_of(run.model)):
        tensors = get_model_state_dict(run.model, options=whole)
        if ranks.rank == 0:  # still inside: what one rank gathers is no copy
            write_tensors(path, {n: t for n, t in tensors.items() if isinstance(t, Tensor)}, {"averaged": "yes"})


if __name__ == "__main__":
    sys.exit(main())
