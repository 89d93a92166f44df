"""Train the codec: principal components in closed form, then gradient descent on both convolutional corrections.

Everything about train step i is drawn from a generator keyed by (seed, i), so a run can be resumed.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from eddyline.errors import TrainingError
from eddyline.recording import RecordedClip
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.precision import half_precision
from eddyline_runtime.training.checkpoint import read_checkpoint, restore, save_checkpoint, write_tensors
from eddyline_runtime.training.data import ClipSource, draw_indices, frames_to_tensor
from eddyline_runtime.training.interrupt import ctrl_c_waits
from eddyline_runtime.training.recipes import Recipe

TRAINED_CODEC = "codec_unpolished.safetensors"
"""The codec that the model is trained on; the world's own, `codec.safetensors`, is polished at the end."""
CODEC_CHECKPOINT = "codec_checkpoint.safetensors"
POOL_CLIPS = 256
POOL_FRAMES = 256
"""What is kept to draw windows from: at most so many stretches of clips of at most so many frames."""
REACHES = (0.0, 16.0, 32.0, 48.0)
"""In levels of 255, see `CodecConfig.filter_reach`."""
POOL_START = 64
"""The pool grows at each train step until it has so many."""


@dataclass(frozen=True)
class CodecReport:
    """What codec training reached."""

    steps: int
    """Train steps; 0 where a trained codec was taken over."""
    psnr_db: float
    """On held-out clips, mean over frames."""


def fit_linear(codec: Codec, source: ClipSource, *, frames: int, seed: int) -> None:
    """Fit the linear maps to about `frames` frames drawn from all over the recording; clips too short are left out.

    Raises:
        TrainingError: every clip drawn is too short.
        ConfigError: the frames hold fewer cells than a cell has values.
    """
    rng = np.random.default_rng((seed, 0))
    length = codec.config.frames_per_latent * 2
    count = max(1, frames // length)
    picked, windows = np.unique(rng.choice(len(source), size=count, replace=count > len(source)), return_counts=True)
    cells = []
    for index, repeats in zip(tqdm(picked, desc="fitting principal components", unit="clip"), windows, strict=True):
        clip = source[int(index)].frames
        if len(clip) >= length:
            cells += [codec.cells(_random_window(clip, length, rng)[None]).flatten(0, 3) for _ in range(repeats)]
    if not cells:
        raise TrainingError(f"no clip has {length} frames, which training the codec needs; record longer clips")
    codec.fit_linear(torch.cat(cells))


def train_codec(
    source: ClipSource,
    held_out: ClipSource,
    *,
    recipe: Recipe,
    seed: int,
    out: Path,
    device: str,
    resume: bool = False,
) -> tuple[Codec, CodecReport]:
    """Train encoder and decoder and save them as `codec_unpolished.safetensors` in `out`.

    Frames are drawn from a pool of clips that is refreshed as training goes, so that reading never dominates.

    Args:
        resume: go on from the checkpoint of a run that was stopped, if `out` has one; the result is the same.

    Raises:
        TrainingError: the loss or its gradient is not finite (the last checkpoint stays), no clip is long enough, or
            Ctrl-C was pressed (the run was saved; a second Ctrl-C stops at once).
        CheckpointError: the codec cannot be written, or the checkpoint is cut, foreign or of another recipe.
    """
    plan = recipe.codec_training
    torch.manual_seed(seed)
    codec = Codec(recipe.codec)
    path, encoded_recipe = out / CODEC_CHECKPOINT, msgspec.json.encode(recipe).decode()
    stopped = read_checkpoint(path, recipe=encoded_recipe, codec="") if resume and path.exists() else None
    if stopped is None:
        fit_linear(codec, source, frames=plan.fit_frames, seed=seed)
    codec = codec.to(device)
    codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    corrections = [*codec.encoder.parameters(), *codec.decoder.parameters()]  # the linear maps are final once fitted
    optimiser = torch.optim.AdamW(corrections, lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    first = 0
    if stopped is not None:
        restore(stopped, model=codec, ema={}, optimisers=[optimiser])
        first = stopped.step

    def save(step: int) -> None:
        save_checkpoint(path, step=step, recipe=encoded_recipe, codec="", model=codec, ema={}, optimisers=[optimiser])

    frames = plan.latent_frames * codec.config.frames_per_latent
    added = [step for step in range(first) if _adds_a_clip(step)][-POOL_CLIPS:]
    pool = [draw_clip(source, frames, _draws(seed, step)).frames for step in added]
    steps = range(first, plan.steps)
    with (
        tqdm(steps, initial=first, total=plan.steps, desc="training the codec", unit="step") as progress,
        ctrl_c_waits() as ctrl_c,
    ):
        for step in progress:
            rng = _draws(seed, step)
            if _adds_a_clip(step):
                pool.append(draw_clip(source, frames, rng).frames)
                pool = pool[-POOL_CLIPS:]
            picked = [pool[int(rng.integers(len(pool)))] for _ in range(plan.batch)]
            clean = torch.stack([_random_window(clip, frames, rng) for clip in picked]).to(device)
            generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
            loss = _codec_loss(codec, clean, plan.latent_noise if rng.random() < 0.5 else 0.0, generator)
            for group in optimiser.param_groups:
                group["lr"] = plan.learning_rate * warm_cosine(step, plan.steps)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(corrections, 1.0)
            if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
                raise TrainingError(
                    f"the codec's loss is {loss.item()}, its gradient {norm.item()} at train step {step}; "
                    f"{path} keeps the last good state, if there was one: lower the learning rate, or resume with "
                    "another --seed"
                )
            optimiser.step()
            if step % 20 == 0:
                progress.set_postfix(loss=f"{loss.item():.5f}")
            stopping = ctrl_c()
            if (step + 1) % recipe.save_every == 0 or stopping:
                save(step + 1)
            if stopping:
                raise TrainingError(
                    f"stopped after {step + 1} train steps of the codec; run the same command with --resume to go on"
                )
    # in the layout that a run resumed from the file has, so that its latents are the same to the last bit
    codec.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    report = CodecReport(plan.steps, held_out_psnr(codec, held_out))
    write_tensors(out / TRAINED_CODEC, codec.state_dict(), {"psnr_db": f"{report.psnr_db:.2f}"})
    path.unlink(missing_ok=True)
    return codec, report


def _adds_a_clip(step: int) -> bool:
    """Whether the pool gets another clip before this train step: until it has some, then now and then."""
    return step < POOL_START or step % 4 == 0


def _draws(seed: int, step: int) -> np.random.Generator:
    """What is drawn for a train step; the same number draws the same, so a resumed run needs no stored state."""
    return np.random.default_rng((seed, 1, step))


@torch.inference_mode()
def held_out_psnr(codec: Codec, source: ClipSource, *, clips: int = 16, frames: int = 32) -> float:
    """Mean PSNR over frames of reconstructions of held-out clips, in dB (signal range 2).

    Raises:
        TrainingError: there is no clip of even one latent frame.
    """
    device = codec.linear_in.weight.device
    values = []
    for index in range(min(clips, len(source))):
        clip = source[index].frames
        count = min(frames, len(clip)) // codec.config.frames_per_latent * codec.config.frames_per_latent
        if count == 0:
            continue
        original = frames_to_tensor(clip[:count])[None].to(device)
        decoded, _ = codec.decode(codec.encode(original))
        error = (decoded.clamp(-1, 1) - original).square().mean(dim=(0, 2, 3, 4)).clamp(min=1e-10)
        values.append((10 * torch.log10(4.0 / error)).mean().item())
    if not values:
        raise TrainingError(f"no held-out clip has {codec.config.frames_per_latent} frames; record longer clips")
    return float(np.mean(values))


def choose_filter(codec: Codec, source: ClipSource) -> float:
    """Set the codec's `filter_reach` to that of `REACHES` with which held-out clips come back best; returns their PSNR.

    Flat drawings gain from it, pictures with a fine texture lose that: theirs is 0.

    Raises:
        TrainingError: there is no clip of even one latent frame.
    """
    psnr = {}
    for reach in REACHES:
        codec.config = replace(codec.config, filter_reach=reach)
        psnr[reach] = held_out_psnr(codec, source)
    best = max(REACHES, key=lambda reach: psnr[reach])  # the smaller one, where two are as good
    codec.config = replace(codec.config, filter_reach=best)
    return psnr[best]


def reconstruction_loss(decoded: Float[Tensor, "B T 3 H W"], clean: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, ""]:
    """Squared error, and a little absolute error: it keeps edges sharp."""
    difference = decoded.float() - clean
    return difference.square().mean() + 0.05 * difference.abs().mean()


def _codec_loss(
    codec: Codec, clean: Float[Tensor, "B T 3 H W"], latent_noise: float, generator: torch.Generator
) -> Float[Tensor, ""]:
    """The error of noised latents decoded, and a light pull that keeps latents small."""
    with half_precision(str(clean.device)):
        latents = codec.encode(clean)
        noised = latents + latent_noise * torch.randn(latents.shape, generator=generator).to(latents)
        decoded, _ = codec.decode_unfiltered(noised)
    return reconstruction_loss(decoded, clean) + 1e-4 * latents.float().square().mean()


def draw_clip(source: ClipSource, frames: int, rng: np.random.Generator) -> RecordedClip:
    """A clip drawn at random among those of at least `frames` frames; of a long one only a stretch is kept.

    Raises:
        TrainingError: all of them are too short.
    """
    for index in draw_indices(len(source), rng):
        clip = source[index]
        length = max(frames, POOL_FRAMES)
        if len(clip.frames) > length:
            start = int(rng.integers(len(clip.frames) - length + 1))
            part = slice(start, start + length)
            pixels = clip.frames[part].copy()  # the rest must not stay in memory
            return replace(clip, frames=pixels, captions=clip.captions[part], actions=clip.actions[part], labels={})
        if len(clip.frames) >= frames:
            return clip
    raise TrainingError(f"no clip has {frames} frames, which training needs; record longer clips")


def _random_window(clip: NDArray[np.uint8], frames: int, rng: np.random.Generator) -> Float[Tensor, "T 3 H W"]:
    """`frames` consecutive frames of a clip, in [-1, 1]."""
    start = int(rng.integers(len(clip) - frames + 1))
    return frames_to_tensor(clip[start : start + frames])


def warm_cosine(step: int, steps: int) -> float:
    """Share of the learning rate: up over 50 steps, down to zero along a cosine."""
    return min(1.0, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, step / steps)))
