"""tau of every latent frame of the buffer: pure arithmetic on a partition (StreamDiT, sec. 3.2, eqs. 7 and 8).

tau runs from 0 (noise) to 1 (clean). Chunk 0 is the head: the oldest, the cleanest, the first to leave.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_runtime.config import Partition


def slot_tau(partition: Partition, chunk: int) -> float:
    """tau with which chunk `chunk` (0 = head) enters its slot: (N - 1 - chunk) / N."""
    return (partition.num_chunks - 1 - chunk) / partition.num_chunks


def tick_tau(partition: Partition, micro_step: int) -> Float[Tensor, " F"]:
    """tau of every latent frame before micro step `micro_step` (0 .. s-1) of a tick; reference frames are at 1."""
    advance = micro_step / partition.denoise_steps
    chunks = [slot_tau(partition, chunk) + advance for chunk in range(partition.num_chunks)]
    per_frame = torch.tensor(chunks).repeat_interleave(partition.chunk_frames)
    return torch.cat([torch.ones(partition.reference_frames), per_frame])


def tick_delta_tau(partition: Partition) -> Float[Tensor, " F"]:
    """How far one micro step moves every latent frame: 1/T, and 0 for reference frames."""
    delta = torch.full((partition.buffer_frames,), 1.0 / partition.denoise_steps)
    delta[: partition.reference_frames] = 0.0
    return delta


def visited_draws(partition: Partition, draws: Float[Tensor, " N"], denoise_steps: int) -> Float[Tensor, " N"]:
    """Round draws down to where a sampler of `denoise_steps` steps from noise to clean evaluates the network.

    Within a chunk's 1/N segment such a sampler stops floor(denoise_steps / N) times, evenly, once at least: at its
    start.
    """
    stops = max(1, denoise_steps // partition.num_chunks)
    return torch.floor(draws * stops) / stops


def training_tau(partition: Partition, draws: Float[Tensor, " N"]) -> Float[Tensor, " F"]:
    """tau for training: each chunk is drawn from its own 1/N segment (eq. 8).

    `draws` are N uniform numbers in [0, 1), head chunk first; reference frames are at 1.
    """
    starts = torch.tensor([slot_tau(partition, chunk) for chunk in range(partition.num_chunks)])
    chunks = (starts + draws / partition.num_chunks).repeat_interleave(partition.chunk_frames)
    return torch.cat([torch.ones(partition.reference_frames), chunks])
