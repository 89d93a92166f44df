"""Euler sampling of the buffer: ticks, warm start and guidance, on any velocity function.

Shapes: B batch, F latent frames, C channels, Y X latent height and width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_runtime.config import Partition
from eddyline_runtime.flow.partition import tick_delta_tau, tick_tau

VelocityFn = Callable[[Tensor, Tensor], Tensor]
"""(latents [B, F, C, Y, X], tau [B, F]) -> velocity [B, F, C, Y, X], d latents / d tau."""


def euler_step(
    latents: Float[Tensor, "B F C Y X"], velocity: Float[Tensor, "B F C Y X"], delta_tau: Float[Tensor, " F"]
) -> Float[Tensor, "B F C Y X"]:
    """Move every latent frame `delta_tau` along its velocity (frames with 0 stay put)."""
    return latents + velocity * delta_tau.to(latents)[None, :, None, None, None]


def guided(
    towards: Float[Tensor, "B F C Y X"], away: Float[Tensor, "B F C Y X"], scale: float | Float[Tensor, "B F 1 1 1"]
) -> Float[Tensor, "B F C Y X"]:
    """Classifier-free guidance: scale 1 is the velocity under the words, more pulls harder from `away` to `towards`."""
    return towards + pull(towards, away, scale)


def pull(
    towards: Float[Tensor, "B F C Y X"], away: Float[Tensor, "B F C Y X"], scale: float | Float[Tensor, "B F 1 1 1"]
) -> Float[Tensor, "B F C Y X"]:
    """What guidance adds; what several pulls add is summed (Liu et al. 2022, composable diffusion, eq. 12)."""
    return (scale - 1) * (towards - away)


def denoise_tick(
    velocity_fn: VelocityFn, latents: Float[Tensor, "B F C Y X"], partition: Partition
) -> Float[Tensor, "B F C Y X"]:
    """Advance every chunk by one slot (s micro steps); the head chunk is clean afterwards, ready for `shift`."""
    # all before the first call: what a device is given by the host later waits until it is done with that
    delta = tick_delta_tau(partition).to(latents)
    taus = [tick_tau(partition, micro_step).to(latents) for micro_step in range(partition.micro_steps)]
    for tau in taus:
        latents = euler_step(latents, velocity_fn(latents, tau[None].expand(latents.shape[0], -1)), delta)
    return latents


@dataclass
class Opening:
    """A scene on its way: an ordinary generation whose cached steps will fill the slots (StreamDiT, sec. 8).

    All K + N*c latent frames are denoised together from `noise`, at one tau. It is taken one network call at a time, so
    that other views keep their rate.
    """

    noise: Float[Tensor, "F C Y X"]
    partition: Partition
    steps: tuple[int, ...] = ()
    """Network calls on the way from each slot's tau to the next one's, N numbers; empty: s each, as ticks take."""
    cached: list[Float[Tensor, "F C Y X"]] = field(init=False)
    """The noise, and the latents after each step so far."""

    def __post_init__(self) -> None:
        self.steps = self.steps or (self.partition.micro_steps,) * self.partition.num_chunks
        self.cached = [self.noise]

    @property
    def latents(self) -> Float[Tensor, "F C Y X"]:
        """What the next network call starts from."""
        return self.cached[-1]

    @property
    def tau(self) -> float:
        """tau of all its latent frames."""
        return self._tau_after(len(self.cached) - 1)

    def _tau_after(self, calls: int) -> float:
        slot = 0
        while slot < len(self.steps) and calls >= self.steps[slot]:
            calls -= self.steps[slot]
            slot += 1
        return (slot + (calls / self.steps[slot] if calls else 0.0)) / len(self.steps)

    @property
    def complete(self) -> bool:
        """Whether every slot can be filled."""
        slots = self.partition.num_chunks if self.partition.reference_frames else self.partition.num_chunks - 1
        return len(self.cached) > sum(self.steps[:slots])

    def copy(self) -> "Opening":
        """Another scene on the same way; each goes on by itself."""
        other = Opening(self.noise, self.partition, self.steps)
        other.cached = [*self.cached]
        return other

    def advance(self, velocity: Float[Tensor, "F C Y X"]) -> None:
        """Take one Euler step."""
        delta = self._tau_after(len(self.cached)) - self.tau
        self.cached.append(self.latents + velocity * delta)

    def slots(self) -> Float[Tensor, "F C Y X"]:
        """The buffer: each chunk from the step whose tau is its slot's, reference frames from the last."""
        partition = self.partition
        parts = [self.cached[-1][: partition.reference_frames]]
        for chunk in range(partition.num_chunks):
            first = partition.reference_frames + chunk * partition.chunk_frames
            step = sum(self.steps[: partition.num_chunks - 1 - chunk])
            parts.append(self.cached[step][first : first + partition.chunk_frames])
        return torch.cat(parts)


def advance_openings(openings: Sequence[Opening], velocity_fn: VelocityFn) -> None:
    """One network call for scenes that begin; each may be at another step of its generation."""
    latents = torch.stack([opening.latents for opening in openings])
    tau = torch.tensor([opening.tau for opening in openings]).to(latents)[:, None].expand(-1, latents.shape[1])
    for opening, velocity in zip(openings, velocity_fn(latents, tau), strict=True):
        opening.advance(velocity)
