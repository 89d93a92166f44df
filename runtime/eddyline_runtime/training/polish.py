"""Polish the decoder: teach it to decode what the model dreams, not only what the encoder makes.

Generated latents are off the encoder's latents in ways that are the model's own, and a decoder that has only seen the
latter turns them into grain. So recorded windows are noised, denoised again by the model as a view would be, and
decoded; the decoder learns to give the recorded pictures back. Encoder and model stay as they are.

Shapes: B windows, F latent frames, T frames, C channels, Y X latent height and width, H W picture height and width.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from eddyline.errors import TrainingError
from eddyline.recording import RecordedClip
from eddyline_runtime.flow.sampler import VelocityFn, euler_step
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.model.streamdit import Conditioning, StreamDiT
from eddyline_runtime.model.text_encoder import TextEncoder
from eddyline_runtime.precision import half_precision
from eddyline_runtime.training.codec_trainer import draw_clip, reconstruction_loss, warm_cosine
from eddyline_runtime.training.data import ClipSource, frames_to_tensor
from eddyline_runtime.training.interrupt import ctrl_c_tells
from eddyline_runtime.training.recipes import PolishRecipe

POOL_START = 16
POOL_CLIPS = 64
"""Clips kept to cut windows from; one more is read before each step."""


@dataclass(frozen=True)
class Window:
    """A stretch of a recording, as the model and the decoder see it."""

    pixels: Float[Tensor, "T 3 H W"]
    latents: Float[Tensor, "F C Y X"]
    captions: tuple[str, ...]
    """Per latent frame."""
    actions: Float[Tensor, "F A"]


def polish_decoder(
    codec: Codec,
    model: StreamDiT,
    source: ClipSource,
    *,
    text_encoder: TextEncoder,
    plan: PolishRecipe,
    seed: int,
    device: str,
) -> None:
    """Train the decoder, in place, on recorded latents and on what `model` makes of them in turn.

    Raises:
        TrainingError: the loss or its gradient is not finite, no clip is long enough, or Ctrl-C was pressed.
    """
    decoder = [*codec.decoder.parameters(), *codec.linear_out.parameters()]
    for parameter in decoder:
        parameter.requires_grad_(True)  # those of a world that was loaded are frozen
    optimiser = torch.optim.AdamW(decoder, lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    rng = np.random.default_rng((seed, 2))
    generator = torch.Generator().manual_seed(seed)
    model = model.to(device).eval()
    average = math.nan
    length = plan.latent_frames * codec.config.frames_per_latent
    pool: list[RecordedClip] = []
    again = (
        "stopped while the decoder was polished; run the same command with --resume to polish anew, the rest is kept"
    )
    with ctrl_c_tells(again), tqdm(range(plan.steps), desc="polishing the decoder", unit="step") as bar:
        for step in bar:
            for _ in range(POOL_START if step == 0 else 1):
                pool.append(draw_clip(source, length, rng))
            pool = pool[-POOL_CLIPS:]
            picked = [pool[int(rng.integers(len(pool)))] for _ in range(plan.batch)]
            windows = [cut_window(clip, codec, plan.latent_frames, rng) for clip in picked]
            latents = torch.stack([w.latents for w in windows])
            if step % 2:
                latents = redreamed(model, latents, words_of(windows, text_encoder, device), plan, generator)
            with half_precision(device):
                decoded, _ = codec.decode_unfiltered(latents)
            loss = reconstruction_loss(decoded, torch.stack([w.pixels for w in windows]).to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(decoder, 1.0)
            if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
                raise TrainingError(
                    f"the decoder's loss is {loss.item()}, its gradient {norm.item()} at polish step {step}; "
                    "lower its learning rate, or run the same command with --resume and another --seed"
                )
            for group in optimiser.param_groups:
                group["lr"] = plan.learning_rate * warm_cosine(step, plan.steps)
            optimiser.step()
            average = loss.item() if math.isnan(average) else 0.95 * average + 0.05 * loss.item()
            bar.set_postfix(loss=f"{average:.5f}")


@torch.no_grad()
def cut_window(clip: RecordedClip, codec: Codec, latent_frames: int, rng: np.random.Generator) -> Window:
    """A window from anywhere in a clip."""
    depth = codec.config.frames_per_latent
    length = latent_frames * depth
    start = int(rng.integers(len(clip.frames) - length + 1))
    pixels = frames_to_tensor(clip.frames[start : start + length])
    last = range(start + depth - 1, start + length, depth)
    return Window(
        pixels=pixels,
        latents=codec.encode(pixels[None].to(codec.linear_in.weight.device))[0],
        captions=tuple(clip.captions[frame] for frame in last),
        actions=torch.from_numpy(clip.actions[list(last)]).float(),
    )


def words_of(windows: list[Window], text_encoder: TextEncoder, device: str) -> Conditioning:
    """What the windows are dreamed under: their own words and keys."""
    texts = sorted({caption for window in windows for caption in window.captions})
    encoded = text_encoder.encode(texts)
    index = torch.tensor([[texts.index(caption) for caption in window.captions] for window in windows])
    return Conditioning(
        text=encoded.states.float(),
        text_mask=encoded.mask,
        text_index=index,
        actions=torch.stack([window.actions for window in windows]),
        stride=torch.ones_like(index),
    ).to(device)


@torch.no_grad()
def redreamed(
    model: StreamDiT,
    latents: Float[Tensor, "B F C Y X"],
    words: Conditioning,
    plan: PolishRecipe,
    generator: torch.Generator,
) -> Float[Tensor, "B F C Y X"]:
    """Latents noised to a step of a scene's way from noise to clean, and denoised again by the model."""
    taken = int(torch.randint(plan.last_steps, (), generator=generator)) + 1
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    start = 1 - taken / plan.denoise_steps

    def velocity(x: Tensor, tau: Tensor) -> Tensor:
        with half_precision(str(x.device)):
            answer: Tensor = model(x, tau, words)
            return answer.float()

    return euler(velocity, start * latents + (1 - start) * noise, start=start, steps=taken)


def euler(velocity_fn: VelocityFn, latents: Tensor, *, start: float, steps: int) -> Tensor:
    """Integrate all latent frames together from tau = `start` to 1 in equal steps."""
    delta = torch.full(latents.shape[1:2], (1 - start) / steps)
    for step in range(steps):
        tau = (start + step * delta).to(latents).expand(latents.shape[0], -1)
        latents = euler_step(latents, velocity_fn(latents, tau), delta)
    return latents
