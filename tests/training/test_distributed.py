"""Training over many ranks equals training on one, survives what goes wrong, and its recipe is the paper's."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.device_mesh import init_device_mesh

from eddyline.errors import CheckpointError, ConfigError, TrainingError
from eddyline_runtime import config
from eddyline_runtime.config import Partition
from eddyline_runtime.flow.loss import flow_matching_loss, flow_sample
from eddyline_runtime.model.streamdit import StreamDiT
from eddyline_runtime.training import distributed
from eddyline_runtime.training.data import Batch, LatentClip, LatentData, draw_batch
from eddyline_runtime.training.distributed import LatentSets, read_sets, shard_of, train_sharded
from eddyline_runtime.training.latents import save_latents
from eddyline_runtime.training.rank_memory import parameter_counts, rank_memory
from eddyline_runtime.training.recipes import MixEntry, Stage
from eddyline_runtime.training.recipes_4b import (
    HIGH_QUALITY,
    PRETRAINING,
    LargeRecipe,
    paper_partitions,
    streamdit_4b,
    streamdit_4b_shrunk,
)
from eddyline_runtime.training.sharded import Ranks, averaged, loss_shares, parts_of, weights_of

MakeClip = Callable[..., LatentClip]
MakeData = Callable[..., LatentData]
STEPS = streamdit_4b_shrunk().total_steps
LAST = f"step-{STEPS:08d}"
CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")  # `ended` needs no process group


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory, latent_clip: MakeClip, latent_data: MakeData) -> Path:
    """A folder as `--latents` takes it; the pre-training set is two files."""
    folder = tmp_path_factory.mktemp("latents")
    for number, name in enumerate(
        (f"{HIGH_QUALITY}/a", f"{PRETRAINING}/a", f"{PRETRAINING}/b", f"{distributed.HELD_OUT}/a")
    ):
        path = folder / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_latents(path, latent_data(*(latent_clip(10 * number + i) for i in range(3))), made_from="the test")
    return folder


@pytest.fixture(scope="module")
def sets(latents: Path) -> LatentSets:
    return read_sets(latents, streamdit_4b_shrunk())


@pytest.fixture(scope="module")
def two_ranks(latents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `two_ranks.py` left."""
    out = tmp_path_factory.mktemp("two_ranks")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, str(Path(__file__).with_name("two_ranks.py")), str(latents), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    (out / "stderr.txt").write_text(done.stderr)
    return out


@contextmanager
def alone() -> Iterator[Ranks]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield Ranks(0, 1, CPU, init_device_mesh("cpu", (1,)))
    finally:
        dist.destroy_process_group()


@pytest.fixture
def one_rank() -> Iterator[Ranks]:
    with alone() as ranks:
        yield ranks


@dataclass(frozen=True)
class Ended:
    """What a checkpoint holds: the model, its average, and the moments of AdamW by parameter and kind."""

    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    moments: dict[str, dict[str, Tensor]]

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Ended)
        mine, theirs = self._flat(), other._flat()
        return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)

    def _flat(self) -> dict[str, Tensor]:
        moments = {f"{name}.{kind}": t for name, kinds in self.moments.items() for kind, t in kinds.items()}
        return {**self.weights, **{f"average.{name}": t for name, t in self.average.items()}, **moments}


def ended(out: Path) -> Ended:
    """Read the last checkpoint in one process, without torch's process groups."""
    model = StreamDiT(streamdit_4b_shrunk().model)
    state = Ended(
        weights=model.state_dict(),
        average={name: torch.zeros_like(t) for name, t in model.state_dict().items()},
        moments={
            name: {"step": torch.zeros(()), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            for name, p in model.named_parameters()
        },
    )
    content = {"model": state.weights, "average": state.average, "optimiser": {"state": state.moments}}
    load(content, checkpoint_id=out / distributed.CHECKPOINTS / LAST, no_dist=True)
    return state


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "losses.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def first_model(recipe: LargeRecipe, sets: LatentSets) -> StreamDiT:
    """A recipe's model before its first step, in one piece."""
    with alone() as ranks:
        run = distributed.new_run(sets.sets[recipe.stages[0].latents][0], recipe=recipe, seed=0, ranks=ranks)
        weights = {
            name: t.full_tensor() if hasattr(t, "full_tensor") else t for name, t in weights_of(run.model).items()
        }
    model = StreamDiT(recipe.model)
    model.load_state_dict(weights)
    return model


def whole_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Of a batch in one piece."""
    sample = flow_sample(batch.latents.float(), batch.partitions, batch.generator)
    return flow_matching_loss(model(sample.latents, sample.tau, batch.conditioning), sample)


def test_two_processes_take_the_steps_of_one_plain_process_up_to_rounding(two_ranks: Path, sets: LatentSets) -> None:
    """Plain: in one piece, without shards, without activation checkpointing."""
    recipe = streamdit_4b_shrunk()
    model = first_model(recipe, sets)
    first = {name: t.clone() for name, t in model.state_dict().items()}
    average = {name: t.clone() for name, t in first.items()}
    matrices, rest = ([p for p in model.parameters() if (p.ndim > 1) == wanted] for wanted in (True, False))
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    mean_loss = math.nan
    for step in range(STEPS):
        stage = recipe.stage_of(step)
        data = shard_of(sets.sets[stage.latents], seed=0, step=step)
        batch = draw_batch(data, recipe=recipe, stage=recipe.windows(stage), seed=0, step=step)
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate(step)
        optimiser.zero_grad()
        loss = whole_loss(model, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        mean_loss = loss.item() if math.isnan(mean_loss) else 0.98 * mean_loss + 0.02 * loss.item()
        for name, tensor in model.state_dict().items():
            average[name].lerp_(tensor, 1 - min(recipe.ema_decay, (step + 1) / (step + 10)))
    found = ended(two_ranks / "whole")
    moments = {name: optimiser.state[parameter] for name, parameter in model.named_parameters()}
    torch.testing.assert_close(found.moments, moments, rtol=1e-3, atol=1e-7)
    near = {"rtol": 1e-3, "atol": 1e-4}  # a hundredth of a step: where a gradient is nearly 0, AdamW enlarges rounding
    torch.testing.assert_close(found.weights, dict(model.state_dict()), **near)
    torch.testing.assert_close(found.average, average, **near)
    torch.testing.assert_close(load_file(two_ranks / "whole" / distributed.WEIGHTS), found.average, rtol=0, atol=0)
    assert float(rows(two_ranks / "whole")[-1]["loss"]) == pytest.approx(mean_loss, abs=2e-5)
    moved = max((found.weights[name] - first[name]).abs().max().item() for name in first)
    assert moved > 1e-3, "the steps did something"


def said(two_ranks: Path, about: str) -> list[str]:
    """What each rank said."""
    return [json.loads((two_ranks / f"said-{rank}.json").read_text())[about] for rank in range(2)]


def test_two_processes_that_were_stopped_end_as_if_they_never_were(two_ranks: Path) -> None:
    """By Ctrl-C on one of them, then by a full disk under one of them."""
    stopped = "TrainingError: stopped after 3 train steps; run the same command with --resume to go on"
    assert said(two_ranks, "press_ctrl_c") == [stopped] * 2
    for words in said(two_ranks, "fill_the_disk"):
        assert re.search("CheckpointError: .*train step 4 cannot be saved .rank 1: .*File too large.*make room", words)
    assert said(two_ranks, "left")[0] == "step-00000002 step-00000003", (
        "the checkpoints before, and nothing half written"
    )
    assert ended(two_ranks / "broken") == ended(two_ranks / "whole")
    assert rows(two_ranks / "broken") == rows(two_ranks / "whole")


def test_no_thread_of_the_process_group_outlives_training(two_ranks: Path) -> None:
    for threads in said(two_ranks, "threads"):
        assert "python" in threads
        assert "gloo" not in threads


def test_another_number_of_ranks_goes_on_from_the_checkpoint_before_up_to_rounding(
    two_ranks: Path, sets: LatentSets, one_rank: Ranks, tmp_path: Path
) -> None:
    shutil.copytree(two_ranks / "whole", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / distributed.CHECKPOINTS / LAST)
    (tmp_path / "run" / distributed.WEIGHTS).unlink()
    train_sharded(sets, recipe=streamdit_4b_shrunk(), seed=0, out=tmp_path / "run", ranks=one_rank, resume=True)
    ours, theirs = (load_file(out / distributed.WEIGHTS) for out in (tmp_path / "run", two_ranks / "whole"))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_only_the_newest_two_checkpoints_are_kept(two_ranks: Path) -> None:
    assert sorted(path.name for path in (two_ranks / "broken" / distributed.CHECKPOINTS).iterdir()) == [
        "step-00000003",
        LAST,
    ]


def test_a_run_keeps_a_journal(two_ranks: Path) -> None:
    journal = json.loads((two_ranks / "broken" / "run.json").read_text())
    assert journal["recipe"]["name"] == "streamdit-4b-shrunk"
    assert ["--resume" in start["command"] for start in journal["starts"]] == [False, True, True]
    assert [row["train_step"] for row in rows(two_ranks / "broken")] == ["4"]
    assert (two_ranks / "broken" / "losses.png").read_bytes().startswith(b"\x89PNG")
    assert "streamdit-4b-shrunk on 2 ranks (cpu): 0.00 GB a rank" in (two_ranks / "stderr.txt").read_text()


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("at_once", [1, 3])
def test_the_ranks_losses_add_up_whatever_their_reference_frames_weigh(
    sets: LatentSets, count: int, at_once: int
) -> None:
    """Three quarters of some rows carry no loss: a mean of the ranks' means would be another number."""
    torch.manual_seed(0)
    recipe = streamdit_4b_shrunk()
    model = StreamDiT(recipe.model)
    nn.init.normal_(model.head[-1].weight)  # it starts at zero, where all rows are alike
    cuts = (Partition(num_chunks=1, chunk_frames=4), Partition(reference_frames=3, num_chunks=1, chunk_frames=1))
    mix = tuple(MixEntry(partition=cut, weight=1.0) for cut in cuts)
    stage = Stage(name="mixed", frames=4, batch=8, steps=1, mix=mix)

    def batch() -> Batch:
        return draw_batch(sets.held_out[0], recipe=recipe, stage=stage, seed=0, step=0)

    with torch.no_grad():
        whole = whole_loss(model, batch()).item()
        ranks = [
            sum(s.item() for s in loss_shares(model, batch(), parts_of(8, rank=r, count=count, at_once=at_once), CPU))
            for r in range(count)
        ]
    assert sum(ranks) == pytest.approx(whole, rel=1e-5)


@given(own=st.integers(1, 12), count=st.integers(1, 9), at_once=st.integers(1, 14))
def test_every_row_is_computed_once_and_all_ranks_compute_equally_often(own: int, count: int, at_once: int) -> None:
    parts = [parts_of(own * count, rank=rank, count=count, at_once=at_once) for rank in range(count)]
    computed = [row for of_rank in parts for part in of_rank for row in range(own * count)[part]]
    assert computed == list(range(own * count))
    assert len({len(of_rank) for of_rank in parts}) == 1


def test_a_batch_that_does_not_split_over_the_ranks_is_refused() -> None:
    with pytest.raises(ConfigError, match="a batch of 8 windows does not split over 3 ranks; use a divisor of 8"):
        parts_of(8, rank=0, count=3, at_once=1)


def test_within_averaged_the_model_has_the_average_and_afterwards_its_own_weights(
    sets: LatentSets, one_rank: Ranks
) -> None:
    run = distributed.new_run(sets.held_out[0], recipe=streamdit_4b_shrunk(), seed=0, ranks=one_rank)
    for tensor in run.average.values():
        tensor += 1.0
    with averaged(run.average, weights_of(run.model)):
        inside = {name: full(t).clone() for name, t in weights_of(run.model).items()}
    for name, tensor in weights_of(run.model).items():
        torch.testing.assert_close(inside[name], full(tensor) + 1.0)
        torch.testing.assert_close(full(run.average[name]), full(tensor) + 1.0)


def test_a_loss_that_is_not_a_number_stops_and_the_run_goes_on_from_the_last_checkpoint(
    sets: LatentSets, one_rank: Ranks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = streamdit_4b_shrunk()
    short = replace(recipe, stages=recipe.stages[:2], save_every=1)

    def spoilt(data: LatentData, *, step: int, seed: int, **more: object) -> Batch:
        batch = draw_batch(data, step=step, seed=seed, **more)  # type: ignore[arg-type]
        return replace(batch, latents=batch.latents * math.nan) if (step, seed) == (1, 0) else batch

    with monkeypatch.context() as patch:
        patch.setattr(distributed, "draw_batch", spoilt)
        with pytest.raises(TrainingError, match=r"the loss is nan at train step 1; .*lower the learning rate"):
            train_sharded(sets, recipe=short, seed=0, out=tmp_path, ranks=one_rank)
    assert [path.name for path in (tmp_path / distributed.CHECKPOINTS).iterdir()] == ["step-00000001"]
    assert math.isfinite(train_sharded(sets, recipe=short, seed=0, out=tmp_path, ranks=one_rank, resume=True))


@pytest.fixture
def copy(two_ranks: Path, tmp_path: Path) -> Path:
    """A finished run, to be spoilt."""
    return Path(shutil.copytree(two_ranks / "whole", tmp_path / "copy"))


def cut(checkpoint: Path) -> str:
    shard = checkpoint / "__0_0.distcp"
    shard.write_bytes(shard.read_bytes()[:1000])
    return "cannot be read .* it is cut, delete it to go on from the one before"


def label_it_otherwise(checkpoint: Path) -> str:
    (checkpoint / "checkpoint.json").write_text('{"format": "a web app"}')
    return "is no label of a checkpoint of ours .*'a web app'"


@pytest.mark.parametrize("damage", [cut, label_it_otherwise])
def test_a_damaged_checkpoint_is_refused_with_the_cure(
    copy: Path, sets: LatentSets, one_rank: Ranks, damage: Callable[[Path], str]
) -> None:
    newest = copy / distributed.CHECKPOINTS / LAST
    with pytest.raises(CheckpointError, match=damage(newest)):
        train_sharded(sets, recipe=streamdit_4b_shrunk(), seed=0, out=copy, ranks=one_rank, resume=True)
    assert newest.exists()


def test_a_checkpoint_of_another_recipe_is_refused(copy: Path, sets: LatentSets, one_rank: Ranks) -> None:
    other = replace(streamdit_4b_shrunk(), weight_decay=0.5)
    with pytest.raises(CheckpointError, match="was written by another recipe; use the same recipe, or another output"):
        train_sharded(sets, recipe=other, seed=0, out=copy, ranks=one_rank, resume=True)


def test_a_new_run_does_not_write_over_the_checkpoints_of_another(
    copy: Path, sets: LatentSets, one_rank: Ranks
) -> None:
    with pytest.raises(TrainingError, match="checkpoints holds those of an earlier run; add --resume, or choose"):
        train_sharded(sets, recipe=streamdit_4b_shrunk(), seed=0, out=copy, ranks=one_rank)


def test_latents_that_are_missing_cut_or_of_other_sizes_are_refused(latents: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(latents, tmp_path / "latents"))
    with pytest.raises(
        TrainingError, match=r"holds \(channels, .*\) = \(4, 4, 6, 32, 5\), the recipe 'streamdit-4b' t"
    ):
        read_sets(folder, streamdit_4b())
    file = folder / PRETRAINING / "b.safetensors"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r"b\.safetensors cannot be read .* it is cut"):
        read_sets(folder, streamdit_4b_shrunk())
    shutil.rmtree(folder / HIGH_QUALITY)
    with pytest.raises(TrainingError, match="high_quality holds no latents"):
        read_sets(folder, streamdit_4b_shrunk())


def test_without_torchrun_nothing_starts(
    latents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert distributed.main(["--latents", str(latents), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    assert "this process is alone; start it by `torchrun --nproc-per-node N" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_file_of_a_set_is_drawn_from_in_proportion_to_its_clips(
    latent_clip: MakeClip, latent_data: MakeData
) -> None:
    small, large = latent_data(latent_clip(0)), latent_data(*(latent_clip(i) for i in range(3)))
    drawn = [shard_of((small, large), seed=0, step=step) is large for step in range(400)]
    assert sum(drawn) / len(drawn) == pytest.approx(0.75, abs=0.08)


def test_the_4b_recipe_is_the_papers() -> None:
    recipe = streamdit_4b()
    told = [(s.name, s.latents, s.steps, s.learning_rate) for s in recipe.stages[1:]]
    assert told == [
        ("task learning", HIGH_QUALITY, 10_000, 1e-4),
        ("task generalisation", PRETRAINING, 10_000, 1e-5),
        ("quality fine-tuning", HIGH_QUALITY, 10_000, 1e-5),
    ]
    cuts = [entry.partition for entry in recipe.stages[1].mix]
    assert sorted(cut.chunk_frames for cut in cuts) == [1, 2, 4, 8, 16]
    assert {(cut.reference_frames, cut.buffer_frames) for cut in cuts} == {(0, 16)}
    assert [entry.partition.num_chunks for entry in recipe.stages[0].mix] == [1], "plain text to video first"
    in_block, around = parameter_counts(recipe.model)
    assert 4.0e9 < recipe.model.depth * in_block + around < 4.5e9


@given(share=st.floats(0.0, 1.0))
def test_the_uniform_share_is_that_of_one_chunk_windows(share: float) -> None:
    mix = paper_partitions(16, uniform_share=share)
    assert sum(entry.weight for entry in mix) == pytest.approx(1.0)
    assert sum(entry.weight for entry in mix if entry.partition.num_chunks == 1) == pytest.approx(share)


def test_each_stage_has_its_rate_and_only_the_first_steps_warm_up() -> None:
    recipe = replace(streamdit_4b(), warmup_steps=4)
    first = recipe.stages[0].steps
    steps = [0, 1, 3, first, first + 10_000, first + 20_000, recipe.total_steps - 1]
    assert [recipe.learning_rate(s) for s in steps] == pytest.approx([25e-6, 50e-6, 1e-4, 1e-4, 1e-5, 1e-5, 1e-5])


def test_a_stage_whose_cuts_are_not_the_window_is_refused() -> None:
    with pytest.raises(ConfigError, match="which is no cut of 8 latent frames"):
        replace(streamdit_4b_shrunk(), frames=8)


def test_memory_is_counted_without_making_the_model() -> None:
    """4.2 B parameters, 20 bytes each in float32 with gradients, moments and average, of which ranks share."""
    count = {
        ranks: rank_memory(config.streamdit_4b(), ranks=ranks, rows=1, frames=16, text_tokens=256, dtype=torch.bfloat16)
        for ranks in (1, 8, 16)
    }
    kept = {n: m.parameters + m.gradients + m.moments + m.average for n, m in count.items()}
    assert kept[1] == pytest.approx(20 * 4.2e9, rel=0.01)
    assert kept[8] == pytest.approx(kept[1] / 8, rel=1e-6)
    assert count[8].activations == count[16].activations > 16 * 1024 * 3072 * 2 * 26, "each block's input, and more"
    assert count[8].total < 80e9 < count[1].total, "one GPU is too small, eight do"
    assert str(count[8]).startswith("20.27 GB a rank: parameters 2.10, gradients 2.10, moments 4.20, average 2.10")


def full(tensor: Tensor) -> Tensor:
    """A shard's whole tensor."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
