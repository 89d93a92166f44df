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
from eddyline_runtime.flow.sampler import VelocityFn
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.model.streamdit import Conditioning, StreamDiT
from eddyline_runtime.model.text_encoder import TextEncoder
from eddyline_runtime.training.codec_trainer import warm_cosine
from eddyline_runtime.training.data import ClipSource, frames_to_tensor
from eddyline_runtime.training.interrupt import ctrl_c_tells
from eddyline_runtime.training.recipes import PolishRecipe
from eddyline_runtime.weights import half_precision


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
        TrainingError: the loss or its gradient is not finite, or no clip is long enough.
    """
    decoder = [*codec.decoder.parameters(), *codec.linear_out.parameters()]
    optimiser = torch.optim.AdamW(decoder, lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: warm_cosine(step, plan.steps))
    rng = np.random.default_rng((seed, 2))
    generator = torch.Generator().manual_seed(seed)
    model = model.to(device).eval()
    average = math.nan
    again = (
        "stopped while the decoder was polished; run the same command with --resume to polish anew, the rest is kept"
    )
    with ctrl_c_tells(again), tqdm(range(plan.steps), desc="polishing the decoder", unit="step") as bar:
        for step in bar:
            windows = [draw_window(source, codec, plan.latent_frames, rng) for _ in range(plan.batch)]
            latents = torch.stack([w.latents for w in windows])
            if step % 2:
                latents = redreamed(model, latents, conditioning(windows, text_encoder, device), plan, generator)
            loss = _loss(codec, latents, torch.stack([w.pixels for w in windows]).to(device), rng)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(decoder, 1.0)
            if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
                raise TrainingError(
                    f"the decoder's loss is {loss.item()}, its gradient {norm.item()} at polish step {step}; "
                    "lower its learning rate, or train with another seed"
                )
            optimiser.step()
            schedule.step()
            average = loss.item() if math.isnan(average) else 0.95 * average + 0.05 * loss.item()
            bar.set_postfix(loss=f"{average:.5f}")


@torch.no_grad()
def draw_window(source: ClipSource, codec: Codec, latent_frames: int, rng: np.random.Generator) -> Window:
    """A window drawn at random from a clip drawn at random among those that are long enough."""
    depth = codec.config.frames_per_latent
    length = latent_frames * depth
    for _ in range(1000):
        clip = source[int(rng.integers(len(source)))]
        if len(clip.frames) >= length:
            start = int(rng.integers(len(clip.frames) - length + 1))
            pixels = frames_to_tensor(clip.frames[start : start + length])
            device = codec.linear_in.weight.device
            last = range(start + depth - 1, start + length, depth)
            return Window(
                pixels=pixels,
                latents=codec.encode(pixels[None].to(device))[0],
                captions=tuple(clip.captions[frame] for frame in last),
                actions=torch.from_numpy(clip.actions[list(last)]).float(),
            )
    raise TrainingError(f"no clip has {length} frames, which polishing needs; record longer clips")


def conditioning(windows: list[Window], text_encoder: TextEncoder, device: str) -> Conditioning:
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
            return model(x, tau, words).float()

    return euler(velocity, start * latents + (1 - start) * noise, start=start, steps=taken)


def euler(velocity_fn: VelocityFn, latents: Tensor, *, start: float, steps: int) -> Tensor:
    """Integrate all latent frames together from tau = `start` to 1 in equal steps."""
    delta = (1 - start) / steps
    for step in range(steps):
        tau = torch.full(latents.shape[:2], start + step * delta, device=latents.device)
        latents = latents + delta * velocity_fn(latents, tau)
    return latents


def _loss(
    codec: Codec,
    latents: Float[Tensor, "B F C Y X"],
    pixels: Float[Tensor, "B T 3 H W"],
    rng: np.random.Generator,
) -> Float[Tensor, ""]:
    """Of two neighbouring latent frames of each window, decoded after the one before; the others would cost time."""
    depth = codec.config.frames_per_latent
    first = int(rng.integers(1, latents.shape[1] - 1))
    with half_precision(str(latents.device)):
        decoded, _ = codec.decode(latents[:, first - 1 : first + 2])
    difference = decoded[:, depth:].float() - pixels[:, first * depth : (first + 2) * depth]
    return difference.square().mean() + 0.05 * difference.abs().mean()
