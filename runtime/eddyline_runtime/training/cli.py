"""`eddyline-runtime train`: a recording (or a folder of videos) becomes a world that can be served."""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import torch

from eddyline.errors import CheckpointError, TrainingError
from eddyline.recording import Recording
from eddyline_runtime.arguments import device_name, seed_number
from eddyline_runtime.files import make_folder
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.model.streamdit import StreamDiT
from eddyline_runtime.model.text_encoder import TextEncoder
from eddyline_runtime.precision import check_device
from eddyline_runtime.training.checkpoint import encoder_digest, write_tensors
from eddyline_runtime.training.codec_trainer import (
    CODEC_CHECKPOINT,
    TRAINED_CODEC,
    CodecReport,
    choose_filter,
    held_out_psnr,
    train_codec,
)
from eddyline_runtime.training.data import ClipSource, LatentData, encode_recording
from eddyline_runtime.training.interrupt import ctrl_c_tells
from eddyline_runtime.training.latents import load_latents, save_latents
from eddyline_runtime.training.polish import polish_decoder
from eddyline_runtime.training.recipes import RECIPES, Recipe
from eddyline_runtime.training.recipes_game import GAME_RECIPES, fitted
from eddyline_runtime.training.run_log import add_contact_sheet, begin_run, dream_held_out
from eddyline_runtime.training.trainer import CHECKPOINT, TrainReport, check_has_teacher, train_model
from eddyline_runtime.training.video_folder import VideoFolder
from eddyline_runtime.weights import World, WorldCard, load_into, load_world, save_world, text_encoder_for

_RECIPES = {**RECIPES, **GAME_RECIPES}
MOST_CAPTIONS = 32
"""A world with at most so many different captions knows them as its phrases, where none are given, ..."""
MOST_PHRASE_CHARS = 256
"""... if none is longer than what the wire takes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `eddyline-runtime train`."""
    parser.add_argument(
        "--recording", required=True, help="a recording, or a folder of videos with captions beside them"
    )
    parser.add_argument("--held-out", required=True, help="another one, for the held-out loss and PSNR")
    parser.add_argument(
        "--out", required=True, type=Path, help="the world's folder; checkpoints, losses and latents go there too"
    )
    parser.add_argument(
        "--recipe",
        choices=sorted(_RECIPES),
        default="diorama",
        help="game is for a recording of one's own; a student or further course goes with --init-from",
    )
    parser.add_argument("--name", help="the world's name (default: the name of --out)")
    parser.add_argument("--description", help="what the world shows, for its card (default: the recipe's name)")
    parser.add_argument("--seed", type=seed_number, default=0, help="0 or more; the same seed gives the same run")
    parser.add_argument(
        "--device",
        type=device_name,
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu, cuda, cuda:1, ... (default: cuda if there is a GPU)",
    )
    parser.add_argument(
        "--phrases",
        type=Path,
        help=f"a UTF-8 file of phrases this world knows, one a line (default: its captions, up to {MOST_CAPTIONS})",
    )
    parser.add_argument(
        "--workers", type=_not_negative, default=0, help="processes that draw batches ahead, for a GPU (default: none)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from what an earlier run left in --out")
    parser.add_argument(
        "--init-from", help="start from a trained world's weights, its codec is kept (where nothing is to be resumed)"
    )
    parser.add_argument("--teacher", help="the world that a student recipe distils (default: that of --init-from)")


def run(arguments: argparse.Namespace) -> int:
    """Train codec and model, write the world; returns the exit code.

    Raises:
        EddylineError: data, checkpoint or weights are unusable; each says what to do.
    """
    check_device(arguments.device)
    recipe: Recipe = _RECIPES[arguments.recipe]()
    out: Path = arguments.out
    make_folder(out)
    phrases = _phrases(arguments.phrases)
    source = open_source(arguments.recording, recipe)
    recipe = fitted(recipe, source.info)
    held_out = open_source(arguments.held_out, recipe)
    _check_held_out(held_out, source)
    for told, clips in ((arguments.recording, source), (arguments.held_out, held_out)):
        _check_long_enough(told, clips, recipe)
    card = make_card(source, recipe, name=arguments.name or out.resolve().name, phrases=phrases)
    if arguments.description:
        card = replace(card, description=arguments.description)
    start, teacher = (_given(world, recipe, arguments.device) for world in (arguments.init_from, arguments.teacher))
    if start is not None and recipe.model.refiner_depth:  # what the refiner learned stays
        card = replace(card, training=start.card.training)
    _check_same_codec(start, teacher)
    check_has_teacher(recipe, start)
    if not arguments.resume:
        _forget_earlier_run(out)
    begin_run(
        out,
        recipe=recipe,
        seed=arguments.seed,
        command=sys.argv,
        started=datetime.now().astimezone(),
        resume=arguments.resume,
    )
    codec, codec_report = _codec(source, held_out, recipe, arguments, None if start is None else start.codec)
    text_encoder = text_encoder_for(card)
    kept = out / "latents.safetensors", out / "held_out_latents.safetensors"
    with ctrl_c_tells("stopped while recordings were encoded; run the same command with --resume, the codec is kept"):
        data = _encoded(arguments.recording, source, codec, text_encoder, recipe, kept[0])
        held_out_data = _encoded(arguments.held_out, held_out, codec, text_encoder, recipe, kept[1])
    if not phrases:
        card = replace(card, phrases=_few_captions(data))
    model, report = train_model(
        data,
        held_out_data,
        recipe=recipe,
        seed=arguments.seed,
        out=out,
        device=arguments.device,
        resume=arguments.resume,
        codec=encoder_digest(codec),
        start_from=None if start is None else start.model,
        teacher=None if teacher is None else teacher.model,
        watch=_contact_sheets(out, codec, held_out_data, recipe, device=arguments.device, fps=source.info.fps),
        workers=arguments.workers,
    )
    if recipe.polish is not None:
        polish_decoder(
            codec,
            model,
            source,
            text_encoder=text_encoder,
            plan=recipe.polish,
            seed=arguments.seed,
            device=arguments.device,
        )
    codec_report = replace(codec_report, psnr_db=choose_filter(codec, held_out))
    card = replace(card, codec=codec.config)
    save_world(
        out,
        with_training_facts(card, recipe, codec_report, report, seed=arguments.seed),
        model=model,
        codec=codec,
        learned=start.learned if start is not None and recipe.model.refiner_depth else None,
    )
    for path in kept:  # they are large, and only a run that is not done needs them
        path.unlink(missing_ok=True)
    print(json.dumps({"world": str(out), "codec": asdict(codec_report), "model": asdict(report)}))
    return 0


def _forget_earlier_run(out: Path) -> None:
    """What an earlier run left would be taken for this one's when it is resumed."""
    for left in (TRAINED_CODEC, CODEC_CHECKPOINT, CHECKPOINT):
        (out / left).unlink(missing_ok=True)


def _contact_sheets(
    out: Path, codec: Codec, held_out: LatentData, recipe: Recipe, *, device: str, fps: float
) -> Callable[[int, StreamDiT], None]:
    """Draws, after some steps, what the model dreams of what was held out, in the profile that is served."""
    served = recipe.profiles[recipe.default_profile].partition

    def draw(step: int, model: StreamDiT) -> None:
        samples = dream_held_out(
            model,
            codec,
            held_out,
            frames=served.buffer_frames,
            denoise_steps=served.denoise_steps,
            device=device,
        )
        add_contact_sheet(out, samples, step=step, fps=fps)

    return draw


def _encoded(
    recording: str, source: ClipSource, codec: Codec, text_encoder: TextEncoder, recipe: Recipe, path: Path
) -> LatentData:
    """The clips as latents: read back from `path` where an earlier run left them, else encoded and left there."""
    parts = (_stamp(Path(recording)), recipe.max_clips, recipe.text_encoder, recipe.text_tokens, encoder_digest(codec))
    made_from = " ".join(map(str, parts))
    data = load_latents(path, made_from=made_from)
    if data is None:
        if len(source) > recipe.max_clips:
            print(f"{recording}: the first {recipe.max_clips} of {len(source)} clips are used", file=sys.stderr)
        data = encode_recording(source, codec=codec, text_encoder=text_encoder, limit=recipe.max_clips)
        save_latents(path, data, made_from=made_from)
    return data


def _stamp(folder: Path) -> str:
    """Differs where any file of a recording or of a video folder was written anew."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    told = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(told).encode()).hexdigest()


def open_source(path: str, recipe: Recipe) -> ClipSource:
    """A recording where there is an index, else a folder of videos, taken at 16 frames a second and scaled.

    Raises:
        RecordingError: it is no folder, or its recording is cut or foreign.
        TrainingError: the folder holds no videos, or captions are missing.
    """
    folder = Path(path)
    if folder.is_dir() and not any(folder.glob("index*.json")):
        cell = recipe.codec.cell_px
        height, width = recipe.model.latent_height * cell, recipe.model.latent_width * cell
        return VideoFolder(folder, fps=16.0, height=height, width=width, num_actions=recipe.model.action_dim)
    return Recording(folder)


def make_card(source: ClipSource, recipe: Recipe, *, name: str, phrases: tuple[str, ...]) -> WorldCard:
    """The card of a world trained with `recipe` on `source`."""
    return WorldCard(
        name=name,
        description=f"Trained by the recipe {recipe.name!r}.",
        fps=source.info.fps,
        height=source.info.height,
        width=source.info.width,
        model=recipe.model,
        codec=recipe.codec,
        text_encoder=recipe.text_encoder,
        text_tokens=recipe.text_tokens,
        action_names=source.info.action_names,
        phrases=phrases,
        profiles=recipe.profiles,
        default_profile=recipe.default_profile,
    )


def with_training_facts(
    card: WorldCard, recipe: Recipe, codec: CodecReport, model: TrainReport, *, seed: int
) -> WorldCard:
    """Note on the card how the world was trained and what was measured."""
    facts = {
        "recipe": recipe.name,
        "seed": str(seed),
        "torch": str(torch.__version__),
        "train_steps": str(model.steps),
        "samples": str(model.samples),
        "held_out_loss": f"{model.held_out_loss:.4f}",
        "codec_psnr_db": f"{codec.psnr_db:.2f}",
    }
    return replace(card, training={**card.training, **facts})


def _codec(
    source: ClipSource, held_out: ClipSource, recipe: Recipe, arguments: argparse.Namespace, given: Codec | None
) -> tuple[Codec, CodecReport]:
    """The one that an earlier run left in --out where that is resumed, the codec of --init-from, or a new one.

    It lies in --out afterwards, and stays as it is when the decoder is polished: the model's checkpoints are worth
    nothing without it.
    """
    finished, checkpoint = arguments.out / TRAINED_CODEC, arguments.out / CHECKPOINT
    if arguments.resume and finished.exists():
        codec = Codec(recipe.codec)
        load_into(codec, finished)
        steps = recipe.codec_training.steps if given is None else 0
        return codec.to(arguments.device), CodecReport(steps, held_out_psnr(codec, held_out))
    if arguments.resume and checkpoint.exists():
        raise CheckpointError(
            f"{checkpoint} was trained on the latents of {finished}, which is missing; put that file back, "
            "or train from the start in another output folder"
        )
    if given is not None:
        report = CodecReport(0, held_out_psnr(given, held_out))
        write_tensors(finished, given.state_dict(), {"psnr_db": f"{report.psnr_db:.2f}"})
        return given, report
    return train_codec(
        source,
        held_out,
        recipe=recipe,
        seed=arguments.seed,
        out=arguments.out,
        device=arguments.device,
        resume=arguments.resume,
    )


def _given(name_or_path: str | None, recipe: Recipe, device: str) -> World | None:
    """A world to start from or to learn from."""
    if name_or_path is None:
        return None
    world = load_world(name_or_path, device=device, dtype=torch.float32)
    codec = replace(world.card.codec, filter_reach=recipe.codec.filter_reach)  # found anew at the end
    given = (world.card.model, codec, world.card.text_encoder)
    if given != (recipe.model, recipe.codec, recipe.text_encoder):
        raise TrainingError(
            f"the world {world.card.name!r} has other sizes than the recipe {recipe.name!r}; "
            "name a world that was trained at these sizes, or leave it out"
        )
    return world


def _check_same_codec(start: World | None, teacher: World | None) -> None:
    if teacher is not None and (start is None or encoder_digest(start.codec) != encoder_digest(teacher.codec)):
        raise TrainingError(
            f"the teacher {teacher.card.name!r} sees the latents of another codec than what is trained; name its "
            "student with --init-from, or leave --teacher out"
        )


def _check_held_out(held_out: ClipSource, source: ClipSource) -> None:
    given, wanted = (
        (info.height, info.width, len(info.action_names), info.fps) for info in (held_out.info, source.info)
    )
    if given != wanted:
        described = "{1}x{0} with {2} actions at {3:g} frames a second"
        raise TrainingError(
            f"the held-out recording is {described.format(*given)}, the recording {described.format(*wanted)}; record "
            "both alike"
        )


def _check_long_enough(path: str, source: ClipSource, recipe: Recipe) -> None:
    """Refuse a recording of which no clip holds a stage's windows, before anything is trained on the shorter ones."""
    if not isinstance(source, Recording):  # how long videos are is known when they are decoded
        return
    needed = max(stage.frames for stage in recipe.stages) * recipe.codec.frames_per_latent
    lengths = [source.clip_length(index) for index in range(len(source))[: recipe.max_clips]]
    if lengths and max(lengths) < needed:
        raise TrainingError(
            f"the longest clip of {path} has {max(lengths)} frames, and the recipe {recipe.name!r} takes windows of "
            f"{needed}; record longer clips"
        )


def _few_captions(data: LatentData) -> tuple[str, ...]:
    """All captions of a recording, if they are few and short enough to be suggestions."""
    captions = data.texts[1:]  # text 0 is no text
    few = len(captions) <= MOST_CAPTIONS and all(len(text) <= MOST_PHRASE_CHARS for text in captions)
    return captions if few else ()


def _phrases(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"--phrases {path} cannot be read ({error}); give a UTF-8 text file") from error
    return tuple(line.strip() for line in lines if line.strip())


def _not_negative(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is below 0")
    return number
