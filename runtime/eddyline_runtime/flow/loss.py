"""The buffered flow matching loss (StreamDiT, sec. 3.1, eqs. 5 to 8).

x_tau = tau * x_1 + (1 - tau) * x_0 with one tau per latent frame; the target velocity is x_1 - x_0. Each chunk draws
its tau from its own 1/N segment; reference frames are clean and carry no loss. One batch mixes partitions row by row.
Guidance can be part of the target (Tang et al. 2025, "Diffusion Models without Classifier-free Guidance", eq. 9): then
one network call gives what two give otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_runtime.config import Partition
from eddyline_runtime.flow.partition import training_tau, visited_draws


@dataclass(frozen=True)
class FlowSample:
    """What the network sees and what it should answer."""

    latents: Float[Tensor, "B F C Y X"]
    """Noised as `tau` says, or walked there; reference frames are clean."""
    tau: Float[Tensor, "B F"]
    velocity: Float[Tensor, "B F C Y X"]
    """Clean minus noise, unless guidance, a teacher or the network's own way has put another target in its place."""
    weight: Float[Tensor, "B F"]
    """1 where a latent frame counts in the loss, 0 for reference frames."""


def flow_sample(
    clean: Float[Tensor, "B F C Y X"],
    partitions: Sequence[Partition],
    generator: torch.Generator,
    *,
    denoise_steps: int | None = None,
    one_chunk_tau: tuple[float, float] = (0.0, 1.0),
) -> FlowSample:
    """Noise a batch of clean windows, row i under `partitions[i]` (each with F buffer frames).

    tau is drawn on the host from `generator`; noise where `clean` lies: on a processor from `generator` too, elsewhere
    from one of the device with the same seed. With `denoise_steps`, tau is only drawn where a sampler of so many steps
    evaluates the network. Rows of one chunk take tau from within `one_chunk_tau`.
    """
    first, last = one_chunk_tau
    noise = _noise(clean, generator)
    rows = []
    for partition in partitions:
        draws = torch.rand(partition.num_chunks, generator=generator)
        if partition.num_chunks == 1:
            draws = first + draws * (last - first)
        rows.append(training_tau(partition, visited_draws(partition, draws, denoise_steps) if denoise_steps else draws))
    weight = torch.ones(len(rows), clean.shape[1])
    for row, partition in enumerate(partitions):
        weight[row, : partition.reference_frames] = 0.0
    tau, weight = torch.stack(rows).to(clean), weight.to(clean)
    share = tau[..., None, None, None]
    return FlowSample(share * clean + (1 - share) * noise, tau, clean - noise, weight)


def _noise(clean: Float[Tensor, "B F C Y X"], generator: torch.Generator) -> Float[Tensor, "B F C Y X"]:
    """Standard normal noise; a large batch's takes the host longer to draw than a GPU computes on it."""
    own = generator
    if clean.device.type != "cpu":
        own = torch.Generator(clean.device).manual_seed(generator.initial_seed())
    return torch.randn(clean.shape, generator=own, device=clean.device).to(clean)


def guided_sample(
    sample: FlowSample,
    towards: Float[Tensor, "B F C Y X"],
    away: Float[Tensor, "B F C Y X"],
    scale: float | Float[Tensor, "B F 1 1 1"],
) -> FlowSample:
    """The sample with guidance in its target: velocity + (1 - 1/scale) * (towards - away), scale >= 1.

    `towards` and `away` are the network's own velocities under the words and under what guidance pulls away from. A
    network that meets this target answers at once what guidance at `scale` makes of one that is trained without;
    where `away` is a prompt, that answer is guided as well, so an event adds its guidance to the prompt's.
    """
    pull = (1 - 1 / scale) * (towards.detach().float() - away.float())
    return replace(sample, velocity=sample.velocity + pull)


def flow_matching_loss(velocity: Float[Tensor, "B F C Y X"], sample: FlowSample) -> Float[Tensor, ""]:
    """Mean squared error of the velocity over the frames that count, in float32."""
    error = (velocity.float() - sample.velocity).square().mean(dim=(2, 3, 4))
    return (error * sample.weight).sum() / sample.weight.sum()
