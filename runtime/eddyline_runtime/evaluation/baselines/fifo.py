"""FIFO-Diffusion: a queue of latent frames, each a step noisier than the one before; every tick one leaves clean.

Paper: Kim et al. 2024, "FIFO-Diffusion: Generating Infinite Videos from Text without Training", arXiv 2405.11473
(diagonal denoising, latent partitioning, lookahead denoising). Settings are those of the public code's VideoCrafter2
script: windows of the base model's clip length f, n = 4 partitions, hence n f steps, lookahead.

Adapted to flow matching: the noise levels are tau = k / (n f); a slot's frame of the first clip is noised along the
straight path; the DDIM step becomes the Euler step of the base model. The public script uses DDIM with eta = 1, which
adds fresh noise in each step: `fresh_noise` does so. Lookahead's frames in front of the queue are at tau 1, which is
what they are once they have left it; there they are labelled with the schedule's lowest noise, one part in a thousand.

Windows of a tick do not depend on each other, so it takes n network calls, with lookahead 2 n.

Shapes: B scenes, F latent frames of a window, Q of the queue with the frames in front of it, C channels, Y X latent
height and width.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline.errors import ConfigError
from eddyline_runtime.config import Partition
from eddyline_runtime.evaluation.baselines.method import NoiseFn, batch_tau, check_counts, whole_clip
from eddyline_runtime.flow.buffer import shift
from eddyline_runtime.flow.partition import tick_delta_tau
from eddyline_runtime.flow.sampler import VelocityFn, denoise_tick


@dataclass(frozen=True, kw_only=True)
class Fifo:
    """Settings of FIFO-Diffusion.

    Raises:
        ConfigError: a count is below 1, a window does not split in halves for lookahead, or `fresh_noise` is not
            between 0 and 1.
    """

    partitions: int = 4
    """n: windows that the queue is long; the steps of each frame are n f."""
    lookahead: bool = True
    """Windows overlap by half, and only their noisier half is kept: it was denoised behind cleaner frames."""
    fresh_noise: float = 0.0
    """Share of the noise that each step draws anew: DDIM's eta, 0 for the Euler step, 1 for ancestral sampling."""
    clip_frames: int = 8
    """f: latent frames of a window."""

    def __post_init__(self) -> None:
        check_counts(self, partitions=self.partitions, clip_frames=self.clip_frames)
        if self.lookahead and self.clip_frames % 2:
            raise ConfigError(
                f"lookahead keeps half of a window, and {self.clip_frames} frames have no half; "
                "use an even number, or lookahead=False"
            )
        if not 0.0 <= self.fresh_noise <= 1.0:
            raise ConfigError(f"fresh_noise is {self.fresh_noise}; it is a share, 0 to 1")

    @property
    def steps(self) -> int:
        """Denoise steps of each latent frame: n f, as many as the queue has slots."""
        return self.partitions * self.clip_frames

    @property
    def queue(self) -> Partition:
        """The queue as a buffer of single-frame chunks; the frames in front of it are its reference frames."""
        return Partition(
            reference_frames=self.clip_frames // 2 if self.lookahead else 0, num_chunks=self.steps, chunk_frames=1
        )

    @property
    def kept_frames(self) -> int:
        """Latent frames of each window that are kept, the noisiest: half of them with lookahead, else all."""
        return self.clip_frames // 2 if self.lookahead else self.clip_frames

    @property
    def chunk_frames(self) -> int:
        """Frames leave one by one."""
        return 1

    @property
    def calls_per_latent(self) -> float:
        """A call for each window: n, with lookahead 2 n."""
        return self.steps / self.kept_frames

    @property
    def opening_calls(self) -> int:
        """An ordinary clip in n f steps, and the n f - f ticks whose frames only repeat its first and are dropped."""
        return self.steps + (self.steps - self.clip_frames) * int(self.calls_per_latent)

    def stream(self, velocity_fn: VelocityFn, noise: NoiseFn) -> Iterator[Float[Tensor, "B 1 C Y X"]]:
        """One clean latent frame per tick, without end; see `Method.stream`."""
        start = noise(0, self.clip_frames)
        clip = denoise_tick(velocity_fn, start, whole_clip(self.clip_frames, self.steps))
        drawn = self.clip_frames + self.steps
        latents = fill_queue(clip, noise(self.clip_frames, self.steps), self)
        tick = 0
        while True:
            fresh = None
            if self.fresh_noise:
                fresh, drawn = noise(drawn, self.steps), drawn + self.steps
            latents = fifo_tick(velocity_fn, latents, self, fresh)
            clean, latents = shift(latents, self.queue, noise(drawn, 1))
            drawn, tick = drawn + 1, tick + 1
            if tick > self.steps - self.clip_frames:
                yield clean


def fill_queue(
    clip: Float[Tensor, "B F C Y X"], noise: Float[Tensor, "B steps C Y X"], fifo: Fifo
) -> Float[Tensor, "B Q C Y X"]:
    """The first queue, from a clean clip: its frames in the noisiest slots, its first frame in all before them."""
    repeated = clip[:, :1].expand(-1, fifo.steps - fifo.clip_frames, -1, -1, -1)
    frames = torch.cat([repeated, clip], dim=1)
    front = clip[:, :1].expand(-1, fifo.queue.reference_frames, -1, -1, -1)
    share = batch_tau(fifo.queue, 0, clip)[:, fifo.queue.reference_frames :, None, None, None]
    return torch.cat([front, share * frames + (1 - share) * noise], dim=1)


def fifo_tick(
    velocity_fn: VelocityFn,
    latents: Float[Tensor, "B Q C Y X"],
    fifo: Fifo,
    fresh: Float[Tensor, "B steps C Y X"] | None = None,
) -> Float[Tensor, "B Q C Y X"]:
    """Advance every slot of the queue by one step, window by window; the head is clean afterwards, ready for `shift`.

    Args:
        fresh: noise of every slot for `fresh_noise`.
    """
    references = fifo.queue.reference_frames
    tau, delta = batch_tau(fifo.queue, 0, latents), tick_delta_tau(fifo.queue)[-1].item()
    moved = []
    for first in range(0, fifo.steps, fifo.kept_frames):
        window = slice(first, first + fifo.clip_frames)
        velocity = velocity_fn(latents[:, window], tau[:, window])
        kept = slice(window.stop - fifo.kept_frames, window.stop)
        drawn = None if fresh is None else fresh[:, kept.start - references : kept.stop - references]
        moved.append(
            fifo_step(
                latents[:, kept],
                velocity[:, -fifo.kept_frames :],
                tau[:, kept],
                delta_tau=delta,
                fresh_noise=fifo.fresh_noise,
                fresh=drawn,
            )
        )
    return torch.cat([latents[:, :references], *moved], dim=1)


def fifo_step(
    latents: Float[Tensor, "B F C Y X"],
    velocity: Float[Tensor, "B F C Y X"],
    tau: Float[Tensor, "B F"],
    *,
    delta_tau: float,
    fresh_noise: float,
    fresh: Float[Tensor, "B F C Y X"] | None,
) -> Float[Tensor, "B F C Y X"]:
    """DDIM's step (Song et al. 2021, eqs. 12 and 16) on the straight path, whose signal is tau and noise 1 - tau.

    Without fresh noise it is the Euler step. With it, of the noise that is left at tau' = tau + delta_tau a part of
    deviation eta (1 - tau') sqrt(1 - (tau (1 - tau') / (tau' (1 - tau)))^2) is drawn anew, the rest stays.
    """
    if fresh is None:
        return latents + velocity * delta_tau
    before = tau[..., None, None, None]
    after = before + delta_tau
    clean, noise = latents + (1 - before) * velocity, latents - before * velocity
    left = (1 - after).clamp(min=0.0)
    sigma = fresh_noise * left * (1 - (before * left / (after * (1 - before))).square()).clamp(min=0.0).sqrt()
    return after * clean + (left.square() - sigma.square()).sqrt() * noise + sigma * fresh
