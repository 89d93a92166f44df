"""Euler sampling of the buffer: ticks, warm start and guidance, on any velocity function.

Shapes: B batch, F latent frames, C channels, Y X latent height and width.
"""

from collections.abc import Callable

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
    conditional: Float[Tensor, "B F C Y X"], unconditional: Float[Tensor, "B F C Y X"], scale: float
) -> Float[Tensor, "B F C Y X"]:
    """Classifier-free guidance: scale 1 is the conditional velocity, more pulls harder towards the words."""
    return unconditional + scale * (conditional - unconditional)


def denoise_tick(
    velocity_fn: VelocityFn, latents: Float[Tensor, "B F C Y X"], partition: Partition
) -> Float[Tensor, "B F C Y X"]:
    """Advance every chunk by one slot (s micro steps); the head chunk is clean afterwards, ready for `shift`."""
    delta = tick_delta_tau(partition)
    for micro_step in range(partition.micro_steps):
        tau = tick_tau(partition, micro_step).to(latents)[None].expand(latents.shape[0], -1)
        latents = euler_step(latents, velocity_fn(latents, tau), delta)
    return latents


def warm_start(
    velocity_fn: VelocityFn, noise: Float[Tensor, "B F C Y X"], partition: Partition
) -> Float[Tensor, "B F C Y X"]:
    """Fill the slots from the cached steps of an ordinary generation (StreamDiT, sec. 8).

    All B = K + N*c latent frames are denoised together from `noise`, at one tau; the slot of chunk k takes its frames
    from the step whose tau is the slot's. Reference frames, where there are any, take the finished generation's first
    frames.
    """
    steps = partition.denoise_steps
    if not partition.reference_frames:
        steps -= partition.micro_steps  # the head's own slot is the last that is read
    delta = torch.full((noise.shape[1],), 1.0 / partition.denoise_steps)
    cached = [noise]
    for step in range(steps):
        tau = torch.full(noise.shape[:2], step / partition.denoise_steps, device=noise.device, dtype=noise.dtype)
        cached.append(euler_step(cached[-1], velocity_fn(cached[-1], tau), delta))
    slots = [cached[-1][:, : partition.reference_frames]]
    for chunk in range(partition.num_chunks):
        first = partition.reference_frames + chunk * partition.chunk_frames
        step = (partition.num_chunks - 1 - chunk) * partition.micro_steps
        slots.append(cached[step][:, first : first + partition.chunk_frames])
    return torch.cat(slots, dim=1)
