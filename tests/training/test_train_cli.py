"""`eddyline-runtime train`, whole runs of seconds: a recording or a folder of videos becomes a world."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from eddyline.recording import Recorder
from eddyline_runtime.cli import main
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.model.streamdit import StreamDiT
from eddyline_runtime.training import cli, codec_trainer, recipes, trainer
from eddyline_runtime.training.checkpoint import encoder_digest
from eddyline_runtime.training.codec_trainer import REACHES, TRAINED_CODEC
from eddyline_runtime.training.data import draw_batch
from eddyline_runtime.weights import load_world, read_card, save_world, tiny_card


def train(recording: Path, held_out: Path, out: Path, *more: str) -> int:
    given = ["train", "--recording", str(recording), "--held-out", str(held_out), "--out", str(out), "--recipe", "tiny"]
    return main([*given, "--device", "cpu", *more])


@pytest.fixture(scope="session")
def world(recording: Path, held_out: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world that a run of the tiny recipe wrote."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "phrases.txt").write_text("a red square\n\n  a blue square\n", encoding="utf-8")
    assert train(recording, held_out, folder / "squares", "--phrases", str(folder / "phrases.txt")) == 0
    return folder / "squares"


@pytest.fixture
def copy(world: Path, tmp_path: Path) -> Path:
    """The same, to be spoilt."""
    return Path(shutil.copytree(world, tmp_path / "copy"))


def test_a_run_writes_a_world_that_loads_and_answers(world: Path) -> None:
    loaded = load_world(str(world), dtype=torch.float32)
    assert loaded.card.name == "squares"
    assert (loaded.card.fps, loaded.card.height, loaded.card.width) == (16.0, 32, 48)
    assert loaded.card.action_names == ("ArrowLeft", "ArrowRight", "ArrowUp", "KeyA", "KeyD")
    assert loaded.card.phrases == ("a red square", "a blue square")
    assert set(loaded.card.profiles) == {"smooth", "responsive"}
    frames, _ = loaded.codec.decode(torch.zeros(1, 1, 4, 4, 6))
    assert bool(frames.isfinite().all())


def test_the_card_says_how_the_world_was_trained(world: Path) -> None:
    facts = read_card(world).training
    assert (facts["recipe"], facts["seed"], facts["train_steps"], facts["samples"]) == ("tiny", "0", "8", "24")
    assert float(facts["held_out_loss"]) > 0
    assert float(facts["codec_psnr_db"]) > 5
    assert set(read_card(world).sha256) == {"codec.safetensors", "streamdit.safetensors"}, "not the checkpoint"


def test_the_losses_are_on_record(world: Path) -> None:
    with (world / "losses.csv").open(newline="") as file:
        assert [row["train_step"] for row in csv.DictReader(file)] == ["4", "8"]


def test_a_resumed_run_keeps_the_codec_and_ends_in_the_same_world(
    copy: Path, world: Path, recording: Path, held_out: Path
) -> None:
    (copy / "streamdit.safetensors").unlink()
    assert train(recording, held_out, copy, "--resume") == 0
    for name in ("codec.safetensors", "streamdit.safetensors"):
        ours, theirs = (read_card(folder).sha256[name] for folder in (copy, world))
        assert ours == theirs, name


def test_a_run_can_start_from_a_trained_world(
    world: Path, recording: Path, held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(recording, held_out, tmp_path / "more", "--init-from", str(world), "--name", "more squares") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["codec"]["steps"] == 0, "the codec is taken over"
    assert read_card(tmp_path / "more").name == "more squares"
    first, second = load_world(str(world)), load_world(str(tmp_path / "more"))
    assert encoder_digest(first.codec) == encoder_digest(second.codec), "the model's latents mean the same"
    assert not torch.equal(first.codec.linear_out.weight, second.codec.linear_out.weight), "the decoder is polished"
    assert not torch.equal(first.model.patch_in.weight, second.model.patch_in.weight)


def test_a_run_can_start_from_a_world_whose_frames_are_filtered_otherwise(
    world: Path, recording: Path, held_out: Path, tmp_path: Path
) -> None:
    known = load_world(str(world), dtype=torch.float32)
    card = replace(known.card, codec=replace(known.card.codec, filter_reach=20.0))
    save_world(tmp_path / "other", card, model=known.model, codec=known.codec)
    assert train(recording, held_out, tmp_path / "more", "--init-from", str(tmp_path / "other")) == 0
    assert read_card(tmp_path / "more").codec.filter_reach in REACHES


def test_a_world_that_learned_words_keeps_them_in_a_further_course(
    world: Path, recording: Path, held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = load_world(str(world), dtype=torch.float32)
    card = replace(known.card, model=replace(known.card.model, refiner_depth=1), training={"words_steps": "7"})
    learned = torch.randn(5, card.model.text_dim)
    save_world(tmp_path / "taught", card, model=StreamDiT(card.model), codec=known.codec, learned=learned)
    further = replace(recipes.tiny(), model=card.model, polish=None)
    monkeypatch.setitem(cli._RECIPES, "tiny", lambda: further)
    assert train(recording, held_out, tmp_path / "more", "--init-from", str(tmp_path / "taught")) == 0
    first, second = (load_world(str(tmp_path / name), dtype=torch.float32) for name in ("taught", "more"))
    assert first.learned is not None
    assert second.learned is not None
    assert torch.equal(first.learned, second.learned)
    facts = second.card.training
    assert (facts["words_steps"], facts["recipe"]) == ("7", "tiny")
    assert not torch.equal(first.model.patch_in.weight, second.model.patch_in.weight)


def test_a_run_from_a_trained_world_can_be_stopped_and_resumed(
    world: Path, recording: Path, held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same command and --resume: the codec that was taken over is there, and the result is the same."""
    start = ("--init-from", str(world), "--name", "more")

    def press_ctrl_c_at_step_two(*given: object, step: int, **named: object) -> object:
        if step == 2 and named["seed"] != trainer.HELD_OUT_SEED:
            signal.raise_signal(signal.SIGINT)
        return draw_batch(*given, step=step, **named)  # type: ignore[arg-type]

    assert train(recording, held_out, tmp_path / "whole", *start) == 0
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "draw_batch", press_ctrl_c_at_step_two)
        assert train(recording, held_out, tmp_path / "broken", *start) == 2
    assert train(recording, held_out, tmp_path / "broken", *start, "--resume") == 0
    assert read_card(tmp_path / "broken").sha256 == read_card(tmp_path / "whole").sha256


def test_what_an_earlier_run_left_is_not_taken_for_a_later_one_that_was_stopped(
    copy: Path, recording: Path, held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`copy` holds a finished run; another one, with another seed, is stopped while its codec is trained."""
    other = ("--seed", "1", "--name", "other")
    assert train(recording, held_out, tmp_path / "whole", *other) == 0
    real_loss = codec_trainer._codec_loss

    def press_ctrl_c(*given: object) -> torch.Tensor:
        signal.raise_signal(signal.SIGINT)
        return real_loss(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(codec_trainer, "_codec_loss", press_ctrl_c)
        assert train(recording, held_out, copy, *other) == 2
    assert train(recording, held_out, copy, *other, "--resume") == 0
    assert read_card(copy).sha256 == read_card(tmp_path / "whole").sha256


def test_a_run_stopped_while_it_is_polished_ends_in_the_same_world(
    world: Path, recording: Path, held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("eddyline_runtime.training.polish.cut_window", press)
        assert train(recording, held_out, tmp_path / "squares") == 2
    assert train(recording, held_out, tmp_path / "squares", "--resume") == 0
    assert read_card(tmp_path / "squares").sha256 == read_card(world).sha256


def test_files_that_were_written_anew_are_encoded_anew(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a red square")
    before = cli._stamp(tmp_path)
    assert cli._stamp(tmp_path) == before
    (tmp_path / "a.txt").write_text("a blue square")
    assert cli._stamp(tmp_path) != before


def test_a_checkpoint_without_its_codec_is_not_resumed(
    copy: Path, recording: Path, held_out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / TRAINED_CODEC).unlink()
    assert train(recording, held_out, copy, "--resume") == 2
    assert f"{TRAINED_CODEC}, which is missing; put that file back" in capsys.readouterr().err
    assert not (copy / TRAINED_CODEC).exists(), "no new codec was trained under an old model"


def test_a_checkpoint_is_not_resumed_on_the_latents_of_another_codec(
    copy: Path, recording: Path, held_out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codec = load_file(copy / TRAINED_CODEC)
    codec["linear_in.bias"] += 0.1
    save_file(codec, copy / TRAINED_CODEC)
    assert train(recording, held_out, copy, "--resume") == 2
    assert "was trained on the latents of another codec; put its codec" in capsys.readouterr().err


def test_a_world_of_other_sizes_is_no_start(
    recording: Path, held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = replace(tiny_card(), name="flat", model=replace(tiny_card().model, depth=1))
    save_world(tmp_path / "flat", card, model=StreamDiT(card.model), codec=Codec(card.codec))
    for start, message in (
        (tmp_path / "flat", "'flat' has other sizes than the recipe 'tiny'"),
        (tmp_path, "no world"),
    ):
        assert train(recording, held_out, tmp_path / "out", "--init-from", str(start)) == 2
        assert message in capsys.readouterr().err


def test_a_teacher_that_sees_other_latents_than_the_student_is_refused(
    world: Path, recording: Path, held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = replace(tiny_card(), name="elsewhere")
    save_world(tmp_path / "elsewhere", card, model=StreamDiT(card.model), codec=Codec(card.codec))
    teacher = ("--teacher", str(tmp_path / "elsewhere"))
    for student in ((), ("--init-from", str(world))):
        assert train(recording, held_out, tmp_path / "out", *teacher, *student) == 2
        assert "the teacher 'elsewhere' sees the latents of another codec" in capsys.readouterr().err


def test_videos_with_captions_become_a_world(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        with av.open(str(tmp_path / f"{name}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=16)
            stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 48, 32, "yuv420p", 4_000_000
            for index in range(48):
                picture = rng.integers(0, 255, (32, 48, 3)).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 16)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        (tmp_path / f"{name}.txt").write_text("0\tgrain\n1.5\tmore grain\n")
    assert train(tmp_path, tmp_path, tmp_path / "world") == 0
    assert load_world(str(tmp_path / "world")).card.action_names == tuple(f"Action{i}" for i in range(5))


def test_a_world_has_the_pictures_keys_and_captions_of_its_recording(tmp_path: Path) -> None:
    keys = ("ArrowLeft", "ArrowRight", "Space")
    for name in ("recording", "held_out"):
        with Recorder(tmp_path / name, fps=20, height=48, width=32, action_names=keys) as recorder:
            for frame in np.random.default_rng(0).integers(0, 255, (48, 48, 32, 3)).astype(np.uint8):
                recorder.add(frame, caption="grain", actions=[0.0, 1.0, 0.0])
    assert train(tmp_path / "recording", tmp_path / "held_out", tmp_path / "world") == 0
    card = load_world(str(tmp_path / "world")).card
    assert (card.height, card.width, card.fps, card.action_names, card.phrases) == (48, 32, 20.0, keys, ("grain",))


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ((40, 48), "the recording is 48x40, and training takes sides that are multiples of 16; record at such a size"),
        ((32, 64), "is 48x32 with 5 actions at 16 frames a second, the recording 64x32 with 1 actions at 16 frames"),
    ],
    ids=["no patches", "unlike the other"],
)
def test_pictures_of_a_size_that_does_not_fit_are_refused(
    held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], sides: tuple[int, int], message: str
) -> None:
    height, width = sides
    with Recorder(tmp_path / "other", fps=16, height=height, width=width, action_names=["KeyA"]) as recorder:
        recorder.add(np.zeros((height, width, 3), np.uint8), caption="dark", actions=[0.0])
    assert train(tmp_path / "other", held_out, tmp_path / "out") == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "eddyline-runtime: "),
        (lambda folder: next(folder.glob("*.npz")).write_bytes(b"cut"), "eddyline-runtime: "),
    ],
    ids=["missing", "cut"],
)
def test_a_recording_that_cannot_be_read_is_refused_in_one_line(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], prepare: Callable[[Path], object], message: str
) -> None:
    folder = Path(shutil.copytree(recording, tmp_path / "recording"))
    prepare(folder)
    assert train(folder, recording, tmp_path / "out") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(message)


def test_phrases_that_no_client_could_be_told_are_refused_before_anything_is_trained(
    recording: Path, held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "phrases.txt").write_text("very " * 60)
    assert train(recording, held_out, tmp_path / "out", "--phrases", str(tmp_path / "phrases.txt")) == 2
    assert "cannot be told to clients" in capsys.readouterr().err
    assert not (tmp_path / "out" / TRAINED_CODEC).exists()


def test_phrases_that_are_no_text_are_refused(
    recording: Path, held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "phrases.txt").write_bytes(b"\xff\xfe\xff")
    assert train(recording, held_out, tmp_path / "out", "--phrases", str(tmp_path / "phrases.txt")) == 2
    assert "give a UTF-8 text file" in capsys.readouterr().err


def test_clips_shorter_than_a_later_stages_windows_are_refused_before_anything_is_trained(
    recording: Path, held_out: Path, record: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = record(tmp_path / "short", clips=2, frames=15)
    told = "frames, and the recipe 'tiny' takes windows of 16; record longer clips"
    for given in ((short, held_out), (recording, short)):
        assert train(*given, tmp_path / "out") == 2
        assert capsys.readouterr().err == f"eddyline-runtime: the longest clip of {short} has 15 {told}\n"
    assert not (tmp_path / "out" / TRAINED_CODEC).exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--device", "cuda:99"), "there is no GPU for --device cuda:99; use --device cpu"),
        (("--recipe", "game-student"), "the recipe 'game-student' distils a teacher; name its world with --init-from"),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_anything_of_an_earlier_one_goes(
    copy: Path,
    recording: Path,
    held_out: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    told: str,
) -> None:
    assert train(recording, held_out, copy, *more) == 2
    assert capsys.readouterr().err == f"eddyline-runtime: {told}\n"
    assert (copy / trainer.CHECKPOINT).exists()


def test_an_output_that_is_a_file_is_refused(
    recording: Path, held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("in the way")
    assert train(recording, held_out, tmp_path / "out") == 2
    assert f"the folder {tmp_path / 'out'} cannot be made" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more", [("--seed", "-1"), ("--seed", str(2**63)), ("--device", "tpu"), ("--recipe", "huge"), ("--steps", "7")]
)
def test_options_that_make_no_sense_are_refused(recording: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as stopped:
        train(recording, recording, tmp_path / "out", *more)
    assert stopped.value.code == 2
