"""What a rival is made of: a velocity function and noise go in, clean latent frames come out, its calls are known.

Shapes: B scenes, F latent frames of a clip or window, c latent frames that leave together, C channels, Y X latent
height and width.
"""

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from torch import Tensor

from eddyline.errors import ConfigError
from eddyline_runtime.config import Partition
from eddyline_runtime.flow.partition import tick_tau
from eddyline_runtime.flow.sampler import VelocityFn

NoiseFn = Callable[[int, int], Tensor]
"""(first, frames) -> standard normal noise [B, frames, C, Y, X] of the latent frames from index `first` on; the same
numbers give the same noise."""


@runtime_checkable
class Method(Protocol):
    """A way to make endless video. A network call is one window of one scene seen once by the network, without
    guidance; with guidance it is seen twice."""

    @property
    def clip_frames(self) -> int:
        """F: latent frames that the network sees at once."""
        ...

    @property
    def chunk_frames(self) -> int:
        """c: latent frames that leave together; where one such chunk ends and the next begins, a seam may be."""
        ...

    @property
    def calls_per_latent(self) -> float:
        """Network calls for each latent frame that comes out."""
        ...

    @property
    def opening_calls(self) -> int:
        """Network calls before the first latent frame that no later frame makes up for."""
        ...

    def stream(self, velocity_fn: VelocityFn, noise: NoiseFn) -> Iterator[Tensor]:
        """Clean latent frames [B, c, C, Y, X] without end, oldest first; some c at a time."""
        ...


def whole_clip(clip_frames: int, steps: int, *, reference_frames: int = 0) -> Partition:
    """An ordinary generation as a partition: all frames but the reference frames go from noise to clean together."""
    return Partition(
        reference_frames=reference_frames,
        num_chunks=1,
        chunk_frames=clip_frames - reference_frames,
        micro_steps=steps,
    )


def batch_tau(partition: Partition, micro_step: int, latents: Tensor) -> Tensor:
    """tau of every latent frame before a micro step, the same in each row: [B, F], on the device of `latents`."""
    return tick_tau(partition, micro_step).to(latents)[None].expand(len(latents), -1)


def check_counts(owner: object, **counts: int) -> None:
    """Refuse settings whose counts are below 1.

    Raises:
        ConfigError: one of them is.
    """
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(f"{name} of {type(owner).__name__} is {count}; it must be 1 or more")
