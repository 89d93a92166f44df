"""The bilateral filter against plain torch, eager and compiled: what it reads and writes is counted."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from eddyline_kernels.bench.contest import Case, Method, Tensors
from eddyline_kernels.bench.place import Place
from eddyline_kernels.bilateral import bilateral_filter, reference

REACH = 0.25
"""Of frames in [-1, 1]: 32 grey levels, as the embedded world has it."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The frames of one call."""

    count: int
    height: int
    width: int


def filter_case(name: str, pictures: Pictures, place: Place) -> Case:
    """Frames in float32, as a decoder leaves them, wherever and in whichever precision the networks run."""
    numbers = pictures.count * 3 * pictures.height * pictures.width
    methods = [
        Method(name="ours", compute=_filtered, operator="bilateral_filter"),
        Method(name="plain torch", compute=_plain),
    ]
    if place.compile is not None:
        # inductor does not come to an end with the reference, which adds to parts of a tensor in place
        methods.append(Method(name="torch.compile", compute=place.compile(_shifted), compiled=True))
    return Case(
        name=name,
        unit="TB/s",
        work=2 * torch.float32.itemsize * numbers,
        draw=partial(_frames, pictures, place),
        plain=_plain,
        methods=tuple(methods),
    )


def _frames(pictures: Pictures, place: Place, generator: torch.Generator) -> Tensors:
    """Half of each frame dark, half bright, with noise on both."""
    size = (pictures.count, 3, pictures.height, pictures.width)
    noise = 0.1 * torch.randn(size, generator=generator, device=place.device)
    return (noise + torch.linspace(-1, 1, pictures.width, device=place.device).sign() / 2,)


def _filtered(frames: Tensor) -> Tensors:
    return (bilateral_filter(frames, reach=REACH),)


def _plain(frames: Tensor) -> Tensors:
    return (reference.bilateral_filter(frames, REACH),)


def _shifted(frames: Tensor) -> Tensors:
    """The filter as a sum over shifted copies, which a compiler makes one pass over memory of."""
    height, width = frames.shape[-2:]
    padded, exists = F.pad(frames, (2, 2, 2, 2)), F.pad(torch.ones_like(frames[:1, :1]), (2, 2, 2, 2))
    pull, weight = torch.zeros_like(frames), torch.zeros_like(frames[:, :1])
    for down in range(5):
        for right in range(5):
            there = (..., slice(down, down + height), slice(right, right + width))
            apart = padded[there] - frames
            near = exists[there] * F.relu(1 - apart.square().sum(1, keepdim=True) / REACH**2).square()
            pull, weight = pull + near * apart, weight + near
    return (frames + pull / weight,)
