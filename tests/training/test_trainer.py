"""The training loop: resumable to the last bit, and never the worse for a NaN, a full disk or Ctrl-C."""

from __future__ import annotations

import csv
import errno
import json
import math
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from eddyline.errors import CheckpointError, ConfigError, TrainingError
from eddyline_runtime import config
from eddyline_runtime.config import Partition
from eddyline_runtime.flow.loss import flow_matching_loss, flow_sample
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.model.streamdit import StreamDiT
from eddyline_runtime.training import checkpoint as checkpoints
from eddyline_runtime.training import trainer
from eddyline_runtime.training.checkpoint import encoder_digest, write_tensors
from eddyline_runtime.training.data import Batch, LatentData, draw_batch
from eddyline_runtime.training.recipes import MixEntry, Recipe, Stage, tiny
from eddyline_runtime.training.trainer import (
    TrainReport,
    evaluate_loss,
    latent_deviation,
    learning_rate,
    make_optimisers,
    train_model,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "losses_tiny.json"

Train = Callable[..., tuple[StreamDiT, TrainReport]]


@pytest.fixture
def train(data: LatentData, recipe: Recipe) -> Train:
    """Train on the shared latents; the same are held out."""

    def run(out: Path, **options: object) -> tuple[StreamDiT, TrainReport]:
        out.mkdir(exist_ok=True)
        given = {"recipe": recipe, "seed": 0, "out": out, "device": "cpu"} | options
        return train_model(given.pop("data", data), data, **given)  # type: ignore[arg-type]

    return run


def step_of(path: Path) -> int:
    with safe_open(path, framework="pt") as file:
        return int(file.metadata()["step"])


def rows(out: Path) -> list[list[str]]:
    with (out / "losses.csv").open(newline="") as file:
        return list(csv.reader(file))


def equal_weights(a: StreamDiT, b: StreamDiT) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def at_step(number: int, act: Callable[[Batch], Batch | None]) -> Callable[..., Batch]:
    """`draw_batch` that lets something happen when the batch of train step `number` is drawn."""

    def draw(data: LatentData, *, recipe: Recipe, stage: object, seed: int, step: int) -> Batch:
        batch = draw_batch(data, recipe=recipe, stage=stage, seed=seed, step=step)  # type: ignore[arg-type]
        return (act(batch) or batch) if step == number and seed != trainer.HELD_OUT_SEED else batch

    return draw


def press_ctrl_c(batch: Batch) -> None:
    signal.raise_signal(signal.SIGINT)


def spoil(batch: Batch) -> Batch:
    return replace(batch, latents=batch.latents * math.nan)


def test_a_run_ends_with_a_model_a_checkpoint_and_a_table_of_losses(
    train: Train, tmp_path: Path, recipe: Recipe
) -> None:
    model, report = train(tmp_path)
    assert report.steps == recipe.total_steps == step_of(tmp_path / "checkpoint.safetensors") == 8
    assert report.samples == 4 * 4 + 4 * 2
    header, first, last = rows(tmp_path)
    assert header == ["train_step", "window_frames", "loss", "held_out_loss"]
    assert (first[:2], last[:2]) == (["4", "2"], ["8", "4"])
    assert float(last[3]) == pytest.approx(report.held_out_loss, abs=1e-4)
    assert not model.training
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_the_first_losses_are_the_committed_ones(data: LatentData, recipe: Recipe) -> None:
    """No change of computation, no change of losses. The tolerance is that of bf16 on other processors."""
    torch.manual_seed(0)
    model = StreamDiT(recipe.model)
    model.latent_deviation.copy_(latent_deviation(data))
    optimisers = make_optimisers(model, recipe)
    losses = []
    for step in range(8):
        batch = draw_batch(data, recipe=recipe, stage=recipe.stages[step // 4], seed=0, step=step)
        losses.append(trainer.train_step(model, batch, optimisers, "cpu", 5e-3))
    assert losses == pytest.approx(json.loads(GOLDEN.read_text())["losses"], rel=2e-3)


def test_batches_drawn_ahead_by_processes_train_the_same_model(train: Train, tmp_path: Path) -> None:
    (alone, here), (helped, there) = train(tmp_path / "alone"), train(tmp_path / "helped", workers=2)
    assert equal_weights(alone, helped)
    assert here == there


def test_training_on_one_clip_lowers_the_loss(data: LatentData, recipe: Recipe) -> None:
    torch.manual_seed(0)
    model = StreamDiT(recipe.model)
    optimisers = make_optimisers(model, recipe)
    single = replace(data, clips=data.clips[:1])

    def loss(step: int) -> float:
        batch = draw_batch(single, recipe=recipe, stage=recipe.stages[0], seed=0, step=step)
        return trainer.train_step(model, batch, optimisers, "cpu", 1e-2)

    losses = [loss(step % 4) for step in range(40)]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_last_bit(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, report = train(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "draw_batch", at_step(2, press_ctrl_c))
        with pytest.raises(TrainingError, match="stopped after 3 train steps; run the same command with --resume"):
            train(tmp_path / "broken")
    assert step_of(tmp_path / "broken" / "checkpoint.safetensors") == 3
    resumed, resumed_report = train(tmp_path / "broken", resume=True)
    assert equal_weights(whole, resumed)
    assert resumed_report == report
    assert rows(tmp_path / "broken") == rows(tmp_path / "whole"), "the running loss too"
    assert [row[0] for row in rows(tmp_path / "broken")] == ["train_step", "4", "8"]
    tensors = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "broken"))
    ours, theirs = tensors
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours), "optimisers and averages too"


def test_another_seed_gives_another_run(train: Train, tmp_path: Path) -> None:
    assert not equal_weights(train(tmp_path / "a")[0], train(tmp_path / "b", seed=1)[0])


def test_after_a_crash_the_table_of_losses_has_no_row_twice(
    train: Train, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = replace(recipe, held_out_every=2)

    def crash(batch: Batch) -> None:
        raise MemoryError("the machine went away")

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "draw_batch", at_step(7, crash))
        with pytest.raises(MemoryError):
            train(tmp_path, recipe=often)
    assert [row[0] for row in rows(tmp_path)[1:]] == ["2", "4", "6"]
    train(tmp_path, recipe=often, resume=True)
    assert [row[0] for row in rows(tmp_path)[1:]] == ["2", "4", "6", "8"]


def test_resuming_a_finished_run_returns_what_it_made(train: Train, tmp_path: Path) -> None:
    model, report = train(tmp_path)
    again, again_report = train(tmp_path, resume=True)
    assert equal_weights(model, again)
    assert again_report == report


def test_ctrl_c_works_as_before_once_training_is_over(train: Train, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    train(tmp_path)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_stops_at_once(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def press_twice(batch: Batch) -> None:
        press_ctrl_c(batch)
        press_ctrl_c(batch)

    monkeypatch.setattr(trainer, "draw_batch", at_step(5, press_twice))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path)
    assert step_of(tmp_path / "checkpoint.safetensors") == 4


def test_a_nan_loss_stops_with_its_step_and_keeps_the_last_good_state(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "draw_batch", at_step(5, spoil))
        with pytest.raises(TrainingError, match=r"the loss is nan at train step 5; .*lower the learning rate"):
            train(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    assert step_of(path) == 4
    assert all(bool(t.isfinite().all()) for t in load_file(path).values())
    model, _ = train(tmp_path, resume=True)
    assert equal_weights(model, train(tmp_path / "whole")[0])


def test_a_gradient_that_is_not_finite_does_not_reach_the_weights(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sqrt has no slope at 0: the loss is 0, its gradient is not a number. A save would follow right after step 3."""
    calls = 0

    def loss(model: StreamDiT, batch: Batch, device: str, teacher: StreamDiT | None) -> Tensor:
        nonlocal calls
        calls += 1
        total = sum((p.square().sum() for p in model.parameters()), torch.zeros(()))
        return (total - total).sqrt() if calls == 4 else total * 1e-3

    monkeypatch.setattr(trainer, "batch_loss", loss)
    with pytest.raises(TrainingError, match="at train step 3"):
        train(tmp_path)
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_a_run_can_start_from_a_trained_model(train: Train, tmp_path: Path, recipe: Recipe) -> None:
    trained, _ = train(tmp_path / "first")
    still = replace(recipe, learning_rate=0.0)
    kept, _ = train(tmp_path / "second", seed=5, recipe=still, start_from=trained)
    torch.testing.assert_close(kept.state_dict(), trained.state_dict())


def test_the_average_moves_by_its_decay(recipe: Recipe) -> None:
    model = StreamDiT(recipe.model)
    ema = {name: torch.zeros_like(t) for name, t in model.state_dict().items()}
    trainer.update_ema(ema, model, 0.75)
    trainer.update_ema(ema, model, 0.5)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(ema[name], tensor * (1 - 0.75 * 0.5))


def test_measuring_the_held_out_loss_leaves_the_model_alone(data: LatentData, recipe: Recipe) -> None:
    model = StreamDiT(recipe.model)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    losses = {trainer.evaluate_loss(model, data, recipe=recipe, device="cpu") for _ in range(2)}
    assert len(losses) == 1, "the same windows and noise every time"
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_whoever_watches_is_shown_the_averaged_model_and_changes_nothing(train: Train, tmp_path: Path) -> None:
    shown: dict[int, dict[str, Tensor]] = {}

    def watch(step: int, model: StreamDiT) -> None:
        shown[step] = {name: t.clone() for name, t in model.state_dict().items()}

    watched, _ = train(tmp_path / "watched", watch=watch)
    unwatched, _ = train(tmp_path / "unwatched")
    assert list(shown) == [4, 8]
    assert equal_weights(watched, unwatched)
    assert all(torch.equal(shown[8][name], t) for name, t in watched.state_dict().items())


def test_the_learning_rate_rises_stays_and_falls_to_nearly_nothing() -> None:
    recipe = tiny()  # eight steps, two of warm-up, half of them falling
    rates = [learning_rate(recipe, step) / recipe.learning_rate for step in range(8)]
    assert rates == pytest.approx([0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_rounds_go_through_all_stages_again_and_again(recipe: Recipe) -> None:
    first, second = recipe.stages
    several = replace(recipe, stages=(replace(first, steps=5), replace(second, steps=2)), rounds=2)
    names = [stage.name for stage in trainer._schedule(several)]
    assert names == [first.name] * 2 + [second.name] + [first.name] * 3 + [second.name]


def test_a_recipe_of_no_rounds_is_refused(recipe: Recipe) -> None:
    with pytest.raises(ConfigError, match="give 1 or more"):
        replace(recipe, rounds=0)


def test_what_reads_texts_stays_as_it_is_in_a_model_with_a_refiner(
    train: Train, tmp_path: Path, recipe: Recipe
) -> None:
    refined = replace(recipe, model=replace(recipe.model, refiner_depth=1))
    start = a_model_that_hears(refined)
    trained, _ = train(tmp_path, recipe=refined, start_from=start)
    same = {name for name, t in trained.named_parameters() if torch.equal(t, start.get_parameter(name))}
    read = {name for name in same if name.startswith("text_") or ".text_k" in name}
    assert same == read
    assert {"text_in.1.weight", "text_summary.weight", "blocks.0.text_kv.weight", "blocks.1.text_k_norm.weight"} < read
    assert any(name.startswith("text_refiner.") for name in read)


def test_every_parameter_is_trained_by_exactly_one_optimiser(recipe: Recipe) -> None:
    model = StreamDiT(recipe.model)
    trained = [p for o in make_optimisers(model, recipe) for group in o.param_groups for p in group["params"]]
    assert sorted(map(id, trained)) == sorted(map(id, model.parameters()))


def test_a_guided_stage_pulls_the_target_by_what_words_change(data: LatentData, recipe: Recipe) -> None:
    torch.manual_seed(0)
    model = StreamDiT(recipe.model)
    torch.nn.init.normal_(model.head[-1].weight)  # it starts at zero, where words change nothing
    for block in model.blocks:
        torch.nn.init.normal_(block.text_out.weight)
    plain = recipe.stages[-1]
    guided = replace(plain, guidance_scale=2.0)
    batch, same = (draw_batch(data, recipe=recipe, stage=s, seed=0, step=3) for s in (guided, plain))
    assert batch.guidance is not None
    sample = flow_sample(same.latents.float(), same.partitions, same.generator)
    with torch.no_grad():
        towards = model(sample.latents, sample.tau, batch.conditioning)
        away = model(sample.latents, sample.tau, batch.guidance.away)
        wanted = flow_matching_loss(towards, replace(sample, velocity=sample.velocity + 0.5 * (towards - away)))
        unguided = flow_matching_loss(towards, sample)
        loss = trainer.batch_loss(model, batch, "cpu")
    assert loss.item() == pytest.approx(wanted.item(), rel=5e-3)
    assert abs(wanted.item() - unguided.item()) > 0.02 * unguided.item(), "guidance shows in the loss"


def a_model_that_hears(recipe: Recipe, seed: int = 0) -> StreamDiT:
    """Random weights where others start at zero, so that words change the velocity."""
    torch.manual_seed(seed)
    model = StreamDiT(recipe.model)
    torch.nn.init.normal_(model.head[-1].weight, std=0.1)
    for block in model.blocks:
        torch.nn.init.normal_(block.text_out.weight)
    return model.eval()


@pytest.fixture
def distilling(recipe: Recipe) -> Recipe:
    """Four steps of one call of the student for two of the teacher."""
    entry = MixEntry(partition=Partition(num_chunks=2, chunk_frames=2), weight=1.0)
    stage = Stage(
        name="distillation",
        frames=4,
        batch=2,
        steps=4,
        mix=(entry,),
        guidance_scale=2.0,
        denoise_steps=2,
        teacher_steps=2,
    )
    return replace(recipe, stages=(stage,), save_every=2, held_out_every=2)


def test_a_distilling_stage_measures_the_way_to_where_the_guided_teacher_gets(
    data: LatentData, distilling: Recipe
) -> None:
    teacher, student = a_model_that_hears(distilling, 1), a_model_that_hears(distilling, 2)
    stage = distilling.stages[0]
    batch, same = (draw_batch(data, recipe=distilling, stage=stage, seed=0, step=3) for _ in range(2))
    assert batch.guidance is not None
    begun = flow_sample(same.latents.float(), same.partitions, same.generator, denoise_steps=2)
    latents = begun.latents
    with torch.no_grad():
        for walked in (0.0, 0.25):
            tau = begun.tau + walked
            towards, away = teacher(latents, tau, batch.conditioning), teacher(latents, tau, batch.guidance.away)
            latents = latents + 0.25 * (away + 2.0 * (towards - away))
        answer = student(begun.latents, begun.tau, batch.conditioning)
        wanted = (answer - (latents - begun.latents) / 0.5).square().mean()
        loss = trainer.batch_loss(student, batch, "cpu", teacher)
    assert loss.item() == pytest.approx(wanted.item(), rel=2e-2)  # bf16 where the processor has it


def test_a_student_comes_nearer_to_its_teacher(data: LatentData, distilling: Recipe) -> None:
    teacher = a_model_that_hears(distilling)
    student = a_model_that_hears(distilling)
    optimisers = make_optimisers(student, distilling)

    def loss(step: int) -> float:
        batch = draw_batch(data, recipe=distilling, stage=distilling.stages[0], seed=0, step=step)
        return trainer.train_step(student, batch, optimisers, "cpu", 1e-3, teacher)

    losses = [loss(step % 4) for step in range(40)]
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_stage_of_own_steps_measures_the_way_to_the_recording_from_where_the_student_gets(
    data: LatentData, recipe: Recipe, scale: float
) -> None:
    entry = MixEntry(partition=Partition(num_chunks=4, chunk_frames=1), weight=1.0)
    stage = Stage(
        name="own",
        frames=4,
        batch=2,
        steps=4,
        mix=(entry,),
        denoise_steps=4,
        guidance_scale=scale,
        own_steps=1,
    )
    student = a_model_that_hears(recipe)
    torch.nn.init.normal_(student.head[-1].weight)  # so that words weigh in the loss
    batch, same = (draw_batch(data, recipe=recipe, stage=stage, seed=0, step=3) for _ in range(2))
    begun = flow_sample(same.latents.float(), same.partitions, same.generator, denoise_steps=4)
    tau = (begun.tau - 0.25).clamp(min=0)
    spread = tau[..., None, None, None]
    latents = spread * same.latents + (1 - spread) * (same.latents - begun.velocity)
    with torch.no_grad():
        moved = (begun.tau - tau)[..., None, None, None] * student(latents, tau, batch.conditioning)
        latents = latents + moved
        answer = student(latents, begun.tau, batch.conditioning)
        unguided = guided = (same.latents - latents) / (1 - begun.tau)[..., None, None, None]
        if batch.guidance is not None:
            guided = guided + (1 - 1 / scale) * (answer - student(latents, begun.tau, batch.guidance.away))
        expected, other = ((answer - wanted)[:, :2].square().mean().item() for wanted in (guided, unguided))
        loss = trainer.batch_loss(student, batch, "cpu").item()
    assert loss == pytest.approx(expected, rel=1e-2)
    assert (abs(other - expected) > 0.03 * expected) == (scale > 1), "guidance shows in the loss"


def test_a_stage_of_own_steps_trains_every_matrix(data: LatentData, recipe: Recipe) -> None:
    entry = MixEntry(partition=Partition(num_chunks=4, chunk_frames=1), weight=1.0)
    stage = Stage(name="own", frames=4, batch=2, steps=4, mix=(entry,), denoise_steps=4, own_steps=1)
    student = a_model_that_hears(recipe)
    for block in student.blocks:  # as it would be after some steps: zero gates let no gradient through
        torch.nn.init.normal_(block.modulation.weight, std=0.1)
    trainer.batch_loss(student, draw_batch(data, recipe=recipe, stage=stage, seed=0, step=0), "cpu").backward()
    matrices = {name: p.grad for name, p in student.named_parameters() if name.startswith("blocks.") and p.ndim == 2}
    assert all(grad is not None and grad.any() for grad in matrices.values())


def test_recordings_that_hold_no_window_of_a_later_stage_are_refused_before_the_first_step(
    data: LatentData, recipe: Recipe, tmp_path: Path
) -> None:
    short = replace(
        data, clips=tuple(replace(clip, latents=clip.latents[:3], text=clip.text[:3]) for clip in data.clips)
    )
    with pytest.raises(TrainingError, match="the held-out recording cannot measure this run: no clip holds 4 latent"):
        train_model(data, short, recipe=recipe, seed=0, out=tmp_path, device="cpu")
    with pytest.raises(TrainingError, match=r"^no clip holds 4 latent frames"):
        train_model(short, data, recipe=recipe, seed=0, out=tmp_path, device="cpu")
    assert not list(tmp_path.iterdir())


def test_a_student_without_a_teacher_is_refused(train: Train, tmp_path: Path, distilling: Recipe) -> None:
    with pytest.raises(TrainingError, match=r"distils a teacher.*--init-from"):
        train(tmp_path, recipe=distilling)


def test_a_student_that_goes_on_from_itself_learns_from_the_teacher_that_is_named(
    train: Train, tmp_path: Path, data: LatentData, distilling: Recipe
) -> None:
    teacher, student = a_model_that_hears(distilling, 1), a_model_that_hears(distilling, 2)
    still = replace(distilling, learning_rate=0.0, weight_decay=0.0)
    same, report = train(tmp_path, recipe=still, start_from=student, teacher=teacher)
    assert equal_weights(same, student)
    losses = [evaluate_loss(student, data, recipe=still, device="cpu", teacher=of) for of in (teacher, student)]
    assert report.held_out_loss == pytest.approx(losses[0], rel=1e-3)
    assert losses[1] < 0.9 * losses[0]


def test_distillation_resumed_equals_distillation_that_was_never_stopped(
    train: Train, tmp_path: Path, distilling: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = a_model_that_hears(distilling)
    whole, _ = train(tmp_path / "whole", recipe=distilling, start_from=teacher)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "draw_batch", at_step(1, press_ctrl_c))
        with pytest.raises(TrainingError, match="--resume"):
            train(tmp_path / "broken", recipe=distilling, start_from=teacher)
    resumed, _ = train(tmp_path / "broken", recipe=distilling, start_from=teacher, resume=True)
    assert equal_weights(whole, resumed)
    assert not equal_weights(whole, teacher)


def test_the_deviation_of_each_channel_is_that_of_the_data(data: LatentData) -> None:
    scaled = replace(
        data, clips=tuple(replace(c, latents=c.latents * torch.tensor([1, 2, 0, 4])[:, None, None]) for c in data.clips)
    )
    deviation = latent_deviation(scaled)
    assert deviation.tolist() == pytest.approx([1, 2, 1e-3, 4], rel=0.05), "a dead channel must not divide by zero"


@pytest.fixture
def saved(train: Train, tmp_path: Path) -> Path:
    train(tmp_path)
    return tmp_path / "checkpoint.safetensors"


def test_a_cut_checkpoint_is_refused(saved: Path, train: Train) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"cannot be read .*missing or cut, delete it to start anew"):
        train(saved.parent, resume=True)


def test_a_checkpoint_whose_numbers_are_damaged_is_refused(saved: Path, train: Train) -> None:
    data = saved.read_bytes()
    assert data.count(b'"step":"8"') == 1
    saved.write_bytes(data.replace(b'"step":"8"', b'"step":"x"'))
    with pytest.raises(CheckpointError, match=r"is damaged .*; delete it to start anew"):
        train(saved.parent, resume=True)


def test_a_foreign_file_is_refused(saved: Path, train: Train) -> None:
    save_file({"w": torch.ones(2)}, saved)
    with pytest.raises(
        CheckpointError, match=r"is no checkpoint of ours \(format None, expected 'eddyline-checkpoint-1'\)"
    ):
        train(saved.parent, resume=True)


def test_a_checkpoint_of_another_recipe_is_refused(saved: Path, train: Train, recipe: Recipe) -> None:
    with pytest.raises(CheckpointError, match="was written by another recipe; use the same recipe, or another output"):
        train(saved.parent, resume=True, recipe=replace(recipe, learning_rate=0.5))


def test_a_checkpoint_of_another_codec_is_refused(train: Train, tmp_path: Path) -> None:
    train(tmp_path, codec="one")
    train(tmp_path, resume=True, codec="one")
    with pytest.raises(CheckpointError, match="trained on the latents of another codec; put its codec_unpolished"):
        train(tmp_path, resume=True, codec="two")


def test_a_digest_tells_encoders_apart_and_does_not_see_the_decoder() -> None:
    codec = Codec(config.tiny_codec())
    digest = encoder_digest(codec)
    torch.nn.init.ones_(codec.linear_out.weight)
    torch.nn.init.ones_(next(codec.decoder.parameters()))
    codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    assert encoder_digest(codec) == digest
    with torch.no_grad():
        codec.linear_in.bias += 1
    assert encoder_digest(codec) != digest


@pytest.mark.parametrize("part", ["model", "ema"])
def test_a_checkpoint_with_other_tensors_is_refused(saved: Path, train: Train, part: str) -> None:
    with safe_open(saved, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(saved)
    tensors[f"{part}/position"] = torch.zeros(3, 3)
    save_file(tensors, saved, metadata)
    with pytest.raises(CheckpointError, match="does not fit this model: position and 0 other tensors differ"):
        train(saved.parent, resume=True)


def test_without_resume_a_run_begins_anew(saved: Path, train: Train) -> None:
    before = load_file(saved)
    train(saved.parent, seed=1)
    assert not torch.equal(load_file(saved)["model/patch_in.weight"], before["model/patch_in.weight"])


def test_a_full_disk_keeps_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.safetensors"
    write_tensors(path, {"w": torch.ones(2)}, {"step": "1"})
    before = path.read_bytes()

    def full(tensors: object, file: Path, metadata: object) -> None:
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(CheckpointError, match=r"cannot be written .*No space left.*what was there before is untouched"):
        write_tensors(path, {"w": torch.zeros(2)}, {"step": "2"})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
