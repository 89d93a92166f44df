"""What goes wrong around a training run: real damage to its files, a disk that is full, Ctrl-C on a real process."""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from eddyline.errors import CheckpointError, WeightsError
from eddyline.recording import Recorder
from eddyline_runtime.cli import main
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.model.streamdit import StreamDiT
from eddyline_runtime.training import trainer
from eddyline_runtime.training.data import Batch, LatentData, draw_batch
from eddyline_runtime.training.latents import save_latents
from eddyline_runtime.training.recipes import Recipe
from eddyline_runtime.training.trainer import train_model
from eddyline_runtime.weights import load_world, read_card, save_world, tiny_card

ROOM = 100_000
"""Bytes that still fit into a file of a full disk: losses and journals do, checkpoints do not."""


def command(recording: Path, held_out: Path, out: Path, *more: str) -> list[str]:
    given = ["train", "--recording", str(recording), "--held-out", str(held_out), "--out", str(out)]
    return [*given, "--recipe", "tiny", "--device", "cpu", *more]


@contextmanager
def full_disk() -> Iterator[None]:
    """No file grows beyond `ROOM`: the system refuses the write, as it does where a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def interrupted(recording: Path, held_out: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that Ctrl-C stopped in its third train step, and what it said."""
    out = tmp_path_factory.mktemp("interrupted")
    program = [sys.executable, str(Path(__file__).with_name("interrupted_run.py"))]
    with subprocess.Popen(
        [*program, *command(recording, held_out, out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        run.send_signal(signal.SIGINT)
        _, said = run.communicate("go on\n")
    (out / "status.json").write_text(json.dumps({"status": run.returncode, "said": said.splitlines()[-1]}))
    return out


@pytest.fixture
def copy(interrupted: Path, tmp_path: Path) -> Path:
    """The same, to be resumed or spoilt."""
    return Path(shutil.copytree(interrupted, tmp_path / interrupted.name))


def step_of(path: Path) -> int:
    with safe_open(path, framework="pt") as file:
        return int(file.metadata()["step"])


def test_ctrl_c_saves_says_how_to_go_on_and_ends_as_a_mistake_does(interrupted: Path) -> None:
    told = json.loads((interrupted / "status.json").read_text())
    assert told["status"] == 2
    assert told["said"] == "eddyline-runtime: stopped after 3 train steps; run the same command with --resume to go on"
    assert step_of(interrupted / "checkpoint.safetensors") == 3


def test_what_ctrl_c_stopped_is_resumed_as_if_it_had_never_been(
    copy: Path, recording: Path, held_out: Path, tmp_path: Path
) -> None:
    assert main(command(recording, held_out, copy, "--resume")) == 0
    assert main(command(recording, held_out, tmp_path / "whole")) == 0
    assert read_card(copy).sha256 == read_card(tmp_path / "whole").sha256


def test_a_checkpoint_of_another_configuration_is_refused_in_one_line(
    copy: Path, recording: Path, held_out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "checkpoint.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    recipe = json.loads(metadata["recipe"])
    recipe["model"]["depth"] += 1
    save_file(load_file(path), path, {**metadata, "recipe": json.dumps(recipe)})
    before = path.read_bytes()
    assert main(command(recording, held_out, copy, "--resume")) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"eddyline-runtime: {path} was written by another recipe; use the same recipe, or another")
    assert path.read_bytes() == before


def test_latents_that_are_not_numbers_stop_the_run_and_leave_the_checkpoint(
    copy: Path, recording: Path, held_out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "latents.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    tensors["latents"][:] = math.nan
    save_file(tensors, path, metadata)
    before = (copy / "checkpoint.safetensors").read_bytes()
    assert main(command(recording, held_out, copy, "--resume")) == 2
    assert "the loss is nan at train step 3; " in capsys.readouterr().err
    assert (copy / "checkpoint.safetensors").read_bytes() == before


def test_a_disk_that_fills_while_a_checkpoint_is_saved_costs_nothing_but_time(
    data: LatentData, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(out: Path, *, resume: bool = False) -> StreamDiT:
        out.mkdir(exist_ok=True)
        return train_model(data, data, recipe=recipe, seed=0, out=out, device="cpu", resume=resume)[0]

    with ExitStack() as disk, monkeypatch.context() as patch:

        def draw(data: LatentData, *, step: int, seed: int, **more: object) -> Batch:
            if step == 5 and seed != trainer.HELD_OUT_SEED:
                disk.enter_context(full_disk())
            return draw_batch(data, step=step, seed=seed, **more)  # type: ignore[arg-type]

        patch.setattr(trainer, "draw_batch", draw)
        with pytest.raises(CheckpointError, match=r"safetensors cannot be written .*File too large.*make room"):
            run(tmp_path / "broken")
    assert step_of(tmp_path / "broken" / "checkpoint.safetensors") == 4
    assert not list((tmp_path / "broken").glob("*.part"))
    resumed, whole = run(tmp_path / "broken", resume=True), run(tmp_path / "whole")
    assert all(torch.equal(t, whole.state_dict()[name]) for name, t in resumed.state_dict().items())


def test_a_full_disk_leaves_the_latents_that_were_there(data: LatentData, tmp_path: Path) -> None:
    path = tmp_path / "latents.safetensors"
    save_latents(path, replace(data, clips=data.clips[:1]), made_from="before")
    before = path.read_bytes()
    with full_disk(), pytest.raises(CheckpointError, match="File too large"):
        save_latents(path, replace(data, clips=data.clips * 20), made_from="after")
    assert path.read_bytes() == before


def test_a_full_disk_leaves_the_world_that_was_there(tmp_path: Path) -> None:
    card = tiny_card()
    model, codec = StreamDiT(card.model), Codec(card.codec)
    save_world(tmp_path, card, model=model, codec=codec)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with torch.no_grad():
        model.position += 1.0
    with full_disk(), pytest.raises(WeightsError, match=r"the world cannot be written .*File too large.*is untouched"):
        save_world(tmp_path, replace(card, name="another"), model=model, codec=codec)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert load_world(str(tmp_path)).card.name == card.name


def rewrite_shard(folder: Path, change: Callable[[str, bytes], bytes]) -> None:
    """Change members of the first shard by name, and its size in the index, as a careless tool would."""
    index = json.loads((folder / "index.json").read_text())
    shard = folder / index["shards"][0]["file"]
    with zipfile.ZipFile(shard) as old:
        members = {name: change(name, old.read(name)) for name in old.namelist()}
    with zipfile.ZipFile(shard, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    index["shards"][0]["bytes"] = shard.stat().st_size
    (folder / "index.json").write_text(json.dumps(index))


def npy(array: np.ndarray) -> bytes:
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


def lose_frames(folder: Path) -> str:
    frames = npy(np.zeros((40, 32, 48, 3), np.uint8))
    rewrite_shard(folder, lambda name, content: frames if name.endswith("frames.npy") else content)
    return "frames.npy unpacks to 184448 bytes, the index promises 221184 and a header); the file is damaged: restore"


def mix_sizes_in_a_shard(folder: Path) -> str:
    frames = npy(np.zeros((48, 48, 32, 3), np.uint8))
    rewrite_shard(folder, lambda name, content: frames if name.endswith("frames.npy") else content)
    return "frames.npy is uint8 [48, 48, 32, 3], the index promises uint8 [48, 32, 48, 3]); the file is damaged"


def mix_sizes(folder: Path) -> str:
    elsewhere = folder.with_name("elsewhere")
    with Recorder(elsewhere, fps=16, height=8, width=8, action_names=["KeyA"], shard_prefix="other") as recorder:
        recorder.add(np.zeros((8, 8, 3), np.uint8), caption="dark", actions=[0.0])
    shutil.copytree(elsewhere, folder, dirs_exist_ok=True)
    return "keep recordings of different shapes in different folders"


def empty_a_caption(folder: Path) -> str:
    def blank(name: str, content: bytes) -> bytes:
        if not name.endswith("words.json"):
            return content
        words = json.loads(content)
        words["captions"][0][1] = " "
        return json.dumps(words).encode()

    rewrite_shard(folder, blank)
    return "has an empty caption; every frame needs words, say what is to be seen"


def cut_a_shard(folder: Path) -> str:
    shard = next(folder.glob("*.npz"))
    os.truncate(shard, shard.stat().st_size // 2)
    return "the file was cut or replaced; copy it again"


@pytest.mark.parametrize("damage", [lose_frames, mix_sizes_in_a_shard, mix_sizes, empty_a_caption, cut_a_shard])
def test_a_damaged_recording_is_refused_in_one_line_that_names_the_cure(
    recording: Path, held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], str]
) -> None:
    folder = Path(shutil.copytree(recording, tmp_path / "recording"))
    cure = damage(folder)
    assert main(command(folder, held_out, tmp_path / "out")) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"eddyline-runtime: {folder}")
    assert cure in said
