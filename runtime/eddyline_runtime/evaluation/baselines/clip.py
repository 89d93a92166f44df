"""Clip after clip: ordinary generations, joined; the plainest way to make a long video.

A clip shares nothing but the prompt with the one before. With reference frames it is ordinary video extension: the last
K clean latent frames stand in front of a shorter clip and are not denoised (Kodaira et al. 2025, "StreamDiT", arXiv
2507.03745, sec. 3.2, draws it as N = 1 with K >= 1). Nobody published defaults; steps and clip length are those of
Reuse and Diffuse (arXiv 2309.03549), so that the two differ in what is reused and in nothing else. Nothing had to be
adapted for flow matching: all frames take Euler steps from noise to clean together.

Shapes: B scenes, F latent frames of a clip, C channels, Y X latent height and width.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline.errors import ConfigError
from eddyline_runtime.evaluation.baselines.method import NoiseFn, check_counts, whole_clip
from eddyline_runtime.flow.sampler import VelocityFn, denoise_tick


@dataclass(frozen=True, kw_only=True)
class ClipAfterClip:
    """Settings of clip after clip.

    Raises:
        ConfigError: a count is below 1, or the reference frames leave no room in a clip.
    """

    steps: int = 50
    """T: denoise steps of a clip."""
    reference_frames: int = 0
    """K: last latent frames of the clip before that a clip sees; the first clip sees none."""
    clip_frames: int = 8
    """F: latent frames that the network sees at once."""

    def __post_init__(self) -> None:
        check_counts(self, steps=self.steps, clip_frames=self.clip_frames)
        if not 0 <= self.reference_frames < self.clip_frames:
            raise ConfigError(
                f"{self.reference_frames} reference frames leave no room in a clip of {self.clip_frames}; "
                f"use 0 to {self.clip_frames - 1}"
            )

    @property
    def chunk_frames(self) -> int:
        """F - K: what a clip adds. Of the first clip K frames are not shown, like the reference frames of a view."""
        return self.clip_frames - self.reference_frames

    @property
    def calls_per_latent(self) -> float:
        """T calls make F - K latent frames."""
        return self.steps / self.chunk_frames

    @property
    def opening_calls(self) -> int:
        """None: the first clip costs as much as any."""
        return 0

    def stream(self, velocity_fn: VelocityFn, noise: NoiseFn) -> Iterator[Float[Tensor, "B c C Y X"]]:
        """One clip at a time, without end; see `Method.stream`."""
        clip, first = None, 0
        while True:
            references = 0 if clip is None else self.reference_frames
            partition = whole_clip(self.clip_frames, self.steps, reference_frames=references)
            start = noise(first, partition.chunk_frames)
            if clip is not None:
                start = torch.cat([clip[:, self.clip_frames - references :], start], dim=1)
            clip = denoise_tick(velocity_fn, start, partition)
            yield clip[:, self.reference_frames :]
            first += partition.chunk_frames
