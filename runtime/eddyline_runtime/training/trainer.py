"""Train StreamDiT on latents: stages of buffered flow matching, EMA, held-out loss, resumable at any checkpoint."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from eddyline.errors import TrainingError
from eddyline_runtime.flow.distillation import distillation_sample
from eddyline_runtime.flow.loss import flow_matching_loss, guided_sample
from eddyline_runtime.flow.own_way import own_way_sample
from eddyline_runtime.flow.sampler import VelocityFn, guided
from eddyline_runtime.model.streamdit import Conditioning, StreamDiT
from eddyline_runtime.precision import half_precision
from eddyline_runtime.training.checkpoint import read_checkpoint, restore, save_checkpoint
from eddyline_runtime.training.data import Batch, Guidance, LatentData, draw_batch, noised
from eddyline_runtime.training.interrupt import ctrl_c_waits
from eddyline_runtime.training.loss_curves import LossRow
from eddyline_runtime.training.muon import Muon
from eddyline_runtime.training.recipes import Recipe, Stage
from eddyline_runtime.training.run_log import LossLog

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
    teacher: StreamDiT | None = None,
    watch: Callable[[int, StreamDiT], None] | None = None,
    workers: int = 0,
) -> tuple[StreamDiT, TrainReport]:
    """Run all stages; `checkpoint.safetensors`, `losses.csv` and `losses.png` grow in `out`.

    Args:
        resume: go on from `out`'s checkpoint, if it has one; the result is the same as without the break.
        codec: which codec made the latents (`checkpoint.encoder_digest`); a checkpoint of another one is refused.
        start_from: take the first weights from this model instead of from the seed.
        teacher: of stages that distil; None: `start_from`.
        watch: is shown the averaged model after so many train steps, each time the held-out loss is measured.
        workers: processes that draw batches ahead, for a GPU that would wait for them; the batches are the same.

    Returns:
        the averaged (EMA) model.

    Raises:
        TrainingError: a stage distils and there is no model to start from, no clip of `data` or `held_out` holds the
            windows of a stage, the loss or its gradient is not finite (the last checkpoint stays), or Ctrl-C was
            pressed (the step was finished and the run saved; a second Ctrl-C stops at once).
        CheckpointError: the checkpoint is cut, foreign, of another recipe or codec, or cannot be written.
    """
    teacher = teacher or start_from
    check_has_teacher(recipe, teacher)
    for stage in recipe.stages:  # now, not when a later stage begins
        draw_batch(data, recipe=recipe, stage=stage, seed=seed, step=0)
    try:  # now, not at the first measurement
        _held_out_batches(held_out, recipe)
    except TrainingError as error:
        raise TrainingError(f"the held-out recording cannot measure this run: {error}") from error
    torch.manual_seed(seed)
    model = StreamDiT(recipe.model)
    model.latent_deviation.copy_(latent_deviation(data))
    if start_from is not None:
        model.load_state_dict(start_from.state_dict())
    if teacher is not None:
        teacher = teacher.to(device).eval()
    model = model.to(device)
    ema = {name: t.detach().clone() for name, t in model.state_dict().items()}
    if recipe.model.refiner_depth:
        model.freeze_reading()
    optimisers = make_optimisers(model, recipe)
    path, encoded_recipe = out / CHECKPOINT, msgspec.json.encode(recipe).decode()
    first, loss_average, held_out_loss = 0, math.nan, math.nan
    if resume and path.exists():
        checkpoint = read_checkpoint(path, recipe=encoded_recipe, codec=codec)
        restore(checkpoint, model=model, ema=ema, optimisers=optimisers)
        first, loss_average = checkpoint.step, checkpoint.loss_average

    def save(step: int) -> None:
        save_checkpoint(
            path,
            step=step,
            recipe=encoded_recipe,
            codec=codec,
            model=model,
            ema=ema,
            optimisers=optimisers,
            loss_average=loss_average,
        )

    plan = list(enumerate(_schedule(recipe)))[first:]
    log = LossLog(out, done=first)

    def measured(done: int) -> float:
        """The held-out loss of the averaged model, which is shown to whoever watches."""
        with _averaged(model, ema):
            if watch is not None:
                watch(done, model)
            return evaluate_loss(model, held_out, recipe=recipe, device=device, teacher=teacher)

    batches = _batches(data, recipe=recipe, seed=seed, plan=plan, workers=workers)
    with (
        tqdm(plan, initial=first, total=recipe.total_steps, unit="step") as bar,
        ctrl_c_waits() as ctrl_c,
    ):
        for step, stage in bar:
            batch = next(batches)
            loss = train_step(model, batch, optimisers, device, learning_rate(recipe, step), teacher)
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
                held_out_loss = measured(done)
                log.add(LossRow(done, stage.frames, loss_average, held_out_loss))
            stopping = ctrl_c()
            if done % recipe.save_every == 0 or done == recipe.total_steps or stopping:
                save(done)
            if stopping:
                raise TrainingError(f"stopped after {done} train steps; run the same command with --resume to go on")
    if not plan:  # resumed when all was done
        held_out_loss = measured(first)
    model.load_state_dict(ema)
    samples = sum(stage.steps * stage.batch for stage in recipe.stages)
    return model.eval(), TrainReport(recipe.total_steps, samples, held_out_loss)


def check_has_teacher(recipe: Recipe, teacher: object) -> None:
    """Raise TrainingError where a recipe distils and there is nobody to learn from."""
    if teacher is None and any(stage.teacher_steps for stage in recipe.stages):
        raise TrainingError(f"the recipe {recipe.name!r} distils a teacher; name its world with --init-from")


def latent_deviation(data: LatentData, *, clips: int = 200) -> Float[Tensor, " C"]:
    """Standard deviation of each latent channel over the first `clips` clips."""
    latents = torch.cat([clip.latents.float() for clip in data.clips[:clips]])
    return latents.std(dim=(0, 2, 3)).clamp(min=1e-3)


class _Batches(Dataset[Batch]):
    """The batches of a plan, for processes that draw them."""

    def __init__(self, data: LatentData, recipe: Recipe, seed: int, plan: Sequence[tuple[int, Stage]]) -> None:
        self._data, self._recipe, self._seed, self._plan = data, recipe, seed, plan

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> Batch:
        step, stage = self._plan[index]
        return draw_batch(self._data, recipe=self._recipe, stage=stage, seed=self._seed, step=step)


def _batches(
    data: LatentData, *, recipe: Recipe, seed: int, plan: Sequence[tuple[int, Stage]], workers: int
) -> Iterator[Batch]:
    """The batch of every train step of a plan, each drawn when it is asked for, or by processes ahead of that."""
    drawn = _Batches(data, recipe, seed, plan)
    if not workers:
        yield from (drawn[index] for index in range(len(plan)))
        return
    # forked, so that all share one copy of the latents; they never touch a GPU
    yield from DataLoader(
        drawn, batch_size=None, num_workers=workers, prefetch_factor=2, multiprocessing_context="fork"
    )


def _schedule(recipe: Recipe) -> Iterator[Stage]:
    """The stage of every train step."""
    for done in range(recipe.rounds):
        for stage in recipe.stages:
            steps = stage.steps * (done + 1) // recipe.rounds - stage.steps * done // recipe.rounds
            yield from [stage] * steps


def make_optimisers(model: StreamDiT, recipe: Recipe) -> list[Optimizer]:
    """Muon for the blocks' matrices, AdamW for everything else that is not frozen."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        matrix = name.startswith("blocks.") and parameter.ndim == 2 and "modulation" not in name
        (matrices if matrix else rest).append(parameter)
    muon = Muon(matrices, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    return [muon, torch.optim.AdamW(rest, lr=recipe.learning_rate, weight_decay=0.0, betas=(0.9, 0.98))]


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, flat, linear to zero at the end."""
    left = (recipe.total_steps - step) / max(1.0, recipe.decay_share * recipe.total_steps)
    return recipe.learning_rate * min(1.0, (step + 1) / recipe.warmup_steps, left)


def train_step(
    model: StreamDiT,
    batch: Batch,
    optimisers: list[Optimizer],
    device: str,
    rate: float,
    teacher: StreamDiT | None = None,
) -> float:
    """One optimiser update at learning rate `rate`.

    Returns:
        the loss, or NaN if its gradient is not finite. What is not finite changes nothing.
    """
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
    loss = batch_loss(model, batch, device, teacher)
    value = float(loss.item())
    if math.isfinite(value):
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if not math.isfinite(norm.item()):
            return math.nan
        for optimiser in optimisers:
            optimiser.step()
    return value


def batch_loss(model: StreamDiT, batch: Batch, device: str, teacher: StreamDiT | None = None) -> Float[Tensor, ""]:
    """The loss of one batch on `device`, computed in bf16 where it multiplies that natively.

    Buffered flow matching, or the distance to where `teacher` gets where the batch's stage distils one, or to the
    recording from where the model gets itself.
    """
    stage = batch.stage
    words, guidance = batch.conditioning.to(device), None if batch.guidance is None else batch.guidance.to(device)
    latents = batch.latents.to(device).float()
    sample = noised(batch, latents)
    with half_precision(device):
        if stage.teacher_steps is not None and stage.denoise_steps is not None:
            assert teacher is not None
            walk = _guided_velocity(teacher, words, guidance)
            sample = distillation_sample(walk, sample, step=1 / stage.denoise_steps, teacher_steps=stage.teacher_steps)
        if stage.own_steps and stage.denoise_steps is not None:
            own = _guided_velocity(model, words, None)
            sample = own_way_sample(own, sample, step=1 / stage.denoise_steps, steps=stage.own_steps)
    with half_precision(device):  # anew: older torch remembers weights cast without a gradient
        velocity = model(sample.latents, sample.tau, words)
        if stage.teacher_steps is None and guidance is not None:
            with torch.no_grad():
                away = model(sample.latents, sample.tau, guidance.away)
            sample = guided_sample(sample, velocity, away, guidance.scales[..., None, None, None])
    return flow_matching_loss(velocity, sample)


def _guided_velocity(model: StreamDiT, words: Conditioning, guidance: Guidance | None) -> VelocityFn:
    """The model under the words of a batch, guided; only rows that are guided anywhere are computed twice."""
    if guidance is None:
        return lambda latents, tau: model(latents, tau, words).float()
    second = (guidance.scales != 1.0).any(dim=1).nonzero()[:, 0]
    away_from, scales = guidance.away.rows(second), guidance.scales[second][..., None, None, None]

    def velocity(latents: Tensor, tau: Tensor) -> Tensor:
        towards: Tensor = model(latents, tau, words).float()
        away = model(latents[second], tau[second], away_from).float()
        towards[second] = guided(towards[second], away, scales)
        return towards

    return velocity


@torch.no_grad()
def update_ema(ema: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """Move the average towards the model's weights."""
    state = model.state_dict()
    torch._foreach_lerp_([ema[name] for name in state], list(state.values()), 1 - decay)


@contextmanager
def _averaged(model: StreamDiT, ema: dict[str, Tensor]) -> Iterator[None]:
    """Lend the model its averaged weights."""
    current = {name: t.clone() for name, t in model.state_dict().items()}
    model.load_state_dict(ema)
    try:
        yield
    finally:
        model.load_state_dict(current)


@torch.no_grad()
def evaluate_loss(
    model: StreamDiT, data: LatentData, *, recipe: Recipe, device: str, teacher: StreamDiT | None = None
) -> float:
    """Loss on the same held-out windows and noise every time, over all stages' lengths."""
    losses = [batch_loss(model, batch, device, teacher).item() for batch in _held_out_batches(data, recipe)]
    return sum(losses) / len(losses)


def _held_out_batches(data: LatentData, recipe: Recipe) -> list[Batch]:
    return [
        draw_batch(data, recipe=recipe, stage=stage, seed=HELD_OUT_SEED, step=index)
        for stage in recipe.stages
        for index in range(HELD_OUT_BATCHES)
    ]
