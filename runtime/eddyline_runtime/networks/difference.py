"""How far networks are from those of plain torch, on inputs that are always the same.

Shapes: B views, F latent frames, C channels, Y X latent height and width.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_runtime.conditioning import RowWords, TextCache, conditioning
from eddyline_runtime.config import Partition
from eddyline_runtime.flow.noise import noise_latents
from eddyline_runtime.flow.partition import tick_tau
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.model.streamdit import STRIDES, Conditioning, StreamDiT
from eddyline_runtime.weights import World

ROWS = (1, 2)
"""Batches that are compared: a view, and one with a second row or two views."""
TEXTS = ("a quiet morning", "a quiet morning, it starts to rain", "")
DECODED = 2
"""Latent frames decoded in each row."""


@torch.inference_mode()
def streamdit_difference(world: World, model: StreamDiT, partitions: Iterable[Partition]) -> float:
    """The largest difference of a velocity of `model` from that of the world's own, relative to its size."""
    calls = [fixed_call(world, partition, rows) for partition in partitions for rows in ROWS]
    return max(relative(model(*call), world.model(*call)) for call in calls)


@torch.inference_mode()
def codec_difference(world: World, codec: Codec) -> float:
    """The same of decoded frames, as the start of a stream and as its continuation."""
    found = []
    for rows in ROWS:
        first, second = (noise(world, rows, DECODED, seed).to(_dtype(world.codec)) for seed in (0, 1))
        frames, state = codec.decode(first)
        expected, expected_state = world.codec.decode(first)
        found.append(relative(frames, expected))
        found.append(relative(codec.decode(second, state)[0], world.codec.decode(second, expected_state)[0]))
    return max(found)


def relative(given: Float[Tensor, "*shape"], expected: Float[Tensor, "*shape"]) -> float:
    """Root of the mean square of the difference, over that of what was expected; NaN where either has one."""
    distance = (given.double() - expected.double()).norm() / expected.double().norm().clamp(min=1e-12)
    return distance.item() if bool(distance.isfinite()) else float("nan")


def fixed_call(world: World, partition: Partition, rows: int) -> tuple[Tensor, Tensor, Conditioning]:
    """What a first micro step calls StreamDiT with, of `rows` views of noise that differ in words, keys and strides."""
    parameter = next(world.model.parameters())
    device = parameter.device
    texts = TextCache(
        world.text_encoder, capacity=len(TEXTS), device=device, dtype=parameter.dtype, refine=world.model.refine
    )
    latents, tau = fixed_inputs(world, partition, rows)
    return latents.to(device), tau.to(device), conditioning(fixed_rows(world, partition, rows), texts, device=device)


def fixed_inputs(
    world: World, partition: Partition, rows: int, *, seed: int = 0
) -> tuple[Float[Tensor, "B F C Y X"], Float[Tensor, "B F"]]:
    """The latents and taus of `fixed_call`, on the host; with another seed other latents."""
    return noise(world, rows, partition.buffer_frames, seed=seed), tick_tau(partition, 0)[None].expand(rows, -1)


def fixed_rows(world: World, partition: Partition, rows: int, *, seed: int = 0) -> list[RowWords]:
    """The words, keys and strides of `fixed_call`; with another seed other ones, as many texts."""
    frames = partition.buffer_frames
    return [
        RowWords(
            texts=tuple(TEXTS[(row + (2 * frame >= frames)) % len(TEXTS)] for frame in range(frames)),
            actions=tuple(float(row == action) for action in range(world.card.model.action_dim)),
            stride=STRIDES[row % len(STRIDES)],
        )
        for row in range(seed, seed + rows)
    ]


def noise(world: World, rows: int, frames: int, seed: int) -> Float[Tensor, "B F C Y X"]:
    """Noise as views have it, of another epoch in each row."""
    sizes = world.card.model
    shape = (sizes.latent_channels, sizes.latent_height, sizes.latent_width)
    drawn = (noise_latents(seed=seed, epoch=row, first_index=0, frames=frames, shape=shape) for row in range(rows))
    return torch.stack(list(drawn))


def _dtype(codec: Codec) -> torch.dtype:
    return next(codec.parameters()).dtype
