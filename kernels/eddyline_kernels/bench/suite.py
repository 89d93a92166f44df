"""Which cases a run measures: on a GPU all kernels at the sizes of the 4 B model, on a processor what runs there."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from eddyline_kernels.bench.attention_cases import Volume, attention_case
from eddyline_kernels.bench.contest import Case, Method
from eddyline_kernels.bench.filter_cases import Pictures, filter_case
from eddyline_kernels.bench.modulation_cases import Tokens, modulation_cases
from eddyline_kernels.bench.place import Place
from eddyline_kernels.bench.sweep import attention_plan_cases, modulation_plan_cases

FORWARD = "window attention, shifted, wrapped"
BACKWARD = "window attention, shifted, wrapped, backward"
COPY, MATMUL = "copy", "matrix product"
GATED_CASES = (
    "norm, scale, shift",
    "gate, residual, norm, scale, shift",
    "gate, residual, norm, scale, shift, e4m3",
    "gate, residual, norm, scale, shift, backward",
    "norm, rotary positions",
    "norm, rotary positions, backward",
)
LARGE = Volume(
    size=(16, 32, 32), window=(8, 16, 16), shift=(4, 8, 8), wrap=(True, True, True), heads=24, dim=128
)  # fmt: skip
"""A buffer of the 4 B model: 16 latent frames of 64x64 in patches of 2x2."""
LARGE_TOKENS = Tokens(frames=16, per_frame=1024, heads=24, dim=128)
PICTURES = Pictures(count=512, height=96, width=160)
"""Half a second of 64 views of the embedded world."""
EMBEDDED = Volume(size=(8, 6, 10), window=(4, 6, 10), heads=4, dim=64)
"""A buffer of the embedded world in its smooth profile."""


def gpu_cases(
    place: Place,
    *,
    volume: Volume = LARGE,
    tokens: Tokens = LARGE_TOKENS,
    pictures: Pictures = PICTURES,
    side: int = 8192,
) -> Iterator[Case]:
    """All kernels, most important first; sizes are arguments so that all of it can be tried small.

    Args:
        volume: shifted on all axes and wrapped, windows of equal size.
        tokens: of the kernels of modulation.
        pictures: of the filter after a decoder.
        side: of the matrices whose product gives the device's peak.
    """
    yield from peak_cases(place, side)
    yield attention_case(FORWARD, volume, place)
    yield from modulation_cases(tokens, place)
    yield attention_case(BACKWARD, volume, place, backward=True)
    yield filter_case("bilateral filter", pictures, place)
    apart = replace(volume, wrap=(False, False, False))
    yield attention_case("window attention, shifted, ends apart", apart, place, flex=False)
    halves = replace(volume, heads=2 * volume.heads, dim=volume.dim // 2)
    yield attention_case("window attention, shifted, wrapped, heads of half the size", halves, place, flex=False)
    frames, rows, columns = volume.window
    short = replace(volume, window=(frames // 2, rows, columns), shift=(frames // 4, *volume.shift[1:]))
    yield attention_case("window attention, shifted, wrapped, half as many frames", short, place, flex=False)


def plan_cases(
    place: Place, *, volume: Volume = LARGE, tokens: Tokens = LARGE_TOKENS, side: int = 8192
) -> Iterator[Case]:
    """All kernels in the plans of `sweep`, window attention in heads of two sizes; arguments as of `gpu_cases`."""
    yield from peak_cases(place, side)
    yield from attention_plan_cases(volume, place)
    yield from modulation_plan_cases(tokens, place)
    yield from attention_plan_cases(replace(volume, heads=2 * volume.heads, dim=volume.dim // 2), place)


def cpu_cases(place: Place, *, volume: Volume = EMBEDDED) -> Iterator[Case]:
    """Plain torch, which is what runs on a processor, against torch's fused attention."""
    yield attention_case("window attention", volume, place, ours=False)
    yield attention_case("window attention, backward", volume, place, ours=False, backward=True)
    shifted = replace(volume, shift=(volume.window[0] // 2, 0, 0))
    yield attention_case("window attention, shifted, ends apart", shifted, place, ours=False)


def peak_cases(place: Place, side: int) -> Iterator[Case]:
    """The most that the device does: a copy, and a product of matrices."""
    kind = place.dtype.itemsize

    def draw(generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        numbers = torch.randn(2, side, side, generator=generator, device=place.device)
        return numbers.to(place.dtype).unbind(0)

    def copy(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return a.clone(), b.clone()

    def multiply(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (a @ b,)

    for name, unit, work, compute in (
        (COPY, "TB/s", 4.0 * side * side * kind, copy),
        (MATMUL, "TFLOP/s", 2.0 * side**3, multiply),
    ):
        methods = (Method(name="torch", compute=compute),)
        yield Case(name=name, unit=unit, work=work, draw=draw, plain=compute, methods=methods)  # type: ignore[arg-type]
