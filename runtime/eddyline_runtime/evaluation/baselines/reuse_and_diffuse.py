"""Reuse and Diffuse (VidRD): clip after clip, each begun from the one before, played backwards.

Paper: Gu et al. 2023, "Reuse and Diffuse: Iterative Denoising for Text-to-Video Generation", arXiv 2309.03549. Settings
are those of the public code's example: clips of 8 frames, 50 steps, M = 4 overlapping frames, alpha = 4, beta = 0.4.

Of the clip before, what the network saw at each step is kept and reversed along its frames, P[step]. A new clip takes
1. frame-level noise reversion: the noise of its first M frames is P[0]'s, so they mirror the last frames of the clip
   before;
2. past-dependent noise sampling: the noise of the others is alpha / sqrt(1 + alpha^2) of P[0]'s and 1 / sqrt(1 +
   alpha^2) fresh, of deviation 1 together;
3. denoising with staged guidance: frame m of the first M is replaced by P[step]'s in the first (M - m) T / M beta
   steps, the frame at the joint longest.
Clips are joined as they are: the public code does not cut the overlap, which is no copy but starts alike.

Adapted to flow matching: the DDIM step (eta 0 there) becomes the Euler step of the base model; P is kept at tau =
step / T. Frames are latent frames here and pictures there, so an overlap of 4 is longer: a second of video.

Shapes: B scenes, F latent frames of a clip, C channels, Y X latent height and width.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline.errors import ConfigError
from eddyline_runtime.config import Partition
from eddyline_runtime.evaluation.baselines.method import NoiseFn, batch_tau, check_counts, whole_clip
from eddyline_runtime.flow.partition import tick_delta_tau
from eddyline_runtime.flow.sampler import VelocityFn, euler_step


@dataclass(frozen=True, kw_only=True)
class ReuseAndDiffuse:
    """Settings of Reuse and Diffuse.

    Raises:
        ConfigError: a count is below 1, the overlap is longer than a clip, or a strength is out of range.
    """

    steps: int = 50
    """T: denoise steps of a clip."""
    overlap_frames: int = 4
    """M: latent frames at a clip's start that are held to the end of the clip before; 0 for none."""
    noise_reuse: float = 4.0
    """alpha, 0 or more: how much of the other frames' noise is the noise of the clip before; 0 is none."""
    guided_share: float = 0.4
    """beta, 0 to 1: in which share of the steps the frame at the joint is held."""
    clip_frames: int = 8
    """F: latent frames of a clip."""

    def __post_init__(self) -> None:
        check_counts(self, steps=self.steps, clip_frames=self.clip_frames)
        if not 0 <= self.overlap_frames <= self.clip_frames:
            raise ConfigError(
                f"an overlap of {self.overlap_frames} frames does not fit a clip of {self.clip_frames}; "
                f"use 0 to {self.clip_frames}"
            )
        if not (math.isfinite(self.noise_reuse) and self.noise_reuse >= 0.0):
            raise ConfigError(f"noise_reuse is {self.noise_reuse}; it must be 0 or more, and finite")
        if not 0.0 <= self.guided_share <= 1.0:
            raise ConfigError(f"guided_share is {self.guided_share}; it is a share, 0 to 1")

    @property
    def clip(self) -> Partition:
        """A clip as a partition of its own."""
        return whole_clip(self.clip_frames, self.steps)

    @property
    def chunk_frames(self) -> int:
        """A clip leaves as a whole."""
        return self.clip_frames

    @property
    def calls_per_latent(self) -> float:
        """T calls make F latent frames."""
        return self.steps / self.clip_frames

    @property
    def opening_calls(self) -> int:
        """None: the first clip costs as much as any."""
        return 0

    def stream(self, velocity_fn: VelocityFn, noise: NoiseFn) -> Iterator[Float[Tensor, "B F C Y X"]]:
        """One clip at a time, without end; see `Method.stream`."""
        past: list[Tensor] = []
        for clip in count():
            start = noise(clip * self.clip_frames, self.clip_frames)
            if past:
                start = reused_noise(past[0], start, self)
            past, clean = denoise_clip(velocity_fn, start, past, self)
            yield clean


def reused_noise(
    past: Float[Tensor, "B F C Y X"], fresh: Float[Tensor, "B F C Y X"], settings: ReuseAndDiffuse
) -> Float[Tensor, "B F C Y X"]:
    """The noise of a new clip, from the reversed noise of the one before and fresh noise (1. and 2. above)."""
    overlap = settings.overlap_frames
    scale = math.hypot(1.0, settings.noise_reuse)
    mixed = (settings.noise_reuse * past[:, overlap:] + fresh[:, overlap:]) / scale
    return torch.cat([past[:, :overlap], mixed], dim=1)


def held_frames(step: int, settings: ReuseAndDiffuse) -> int:
    """How many frames at the start of a clip are held to the clip before at `step` (3. above)."""
    overlap = settings.overlap_frames
    ends = [(overlap - frame) * (settings.steps / overlap) * settings.guided_share for frame in range(overlap)]
    return sum(step < end for end in ends)


def denoise_clip(
    velocity_fn: VelocityFn,
    latents: Float[Tensor, "B F C Y X"],
    past: Sequence[Float[Tensor, "B F C Y X"]],
    settings: ReuseAndDiffuse,
) -> tuple[list[Float[Tensor, "B F C Y X"]], Float[Tensor, "B F C Y X"]]:
    """Denoise a clip, held at its start to `past` (empty for the first clip).

    Returns:
        what the network saw at each step, reversed along the frames, and the clean clip.
    """
    seen = []
    for step in range(settings.steps):
        if past:
            held = held_frames(step, settings)
            latents = torch.cat([past[step][:, :held], latents[:, held:]], dim=1)
        seen.append(latents.flip(1))
        velocity = velocity_fn(latents, batch_tau(settings.clip, step, latents))
        latents = euler_step(latents, velocity, tick_delta_tau(settings.clip))
    return seen, latents
