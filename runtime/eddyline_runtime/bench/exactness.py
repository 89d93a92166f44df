"""A world's networks as a device computes them, against plain torch in a wider precision, on inputs that never change.

What is compared is what the engine gets: on a GPU from the Triton kernels, under texts that went through the network
before, by a CUDA graph that was captured on other noise and words; on a processor from OpenVINO where it is in use. A
velocity is right when it is off by at most twice as much as in plain torch on that device, in the same precision;
frames are right within a grey level.
"""

import argparse
import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from eddyline.errors import ConfigError
from eddyline_kernels import backend
from eddyline_kernels.bench.place import device_name
from eddyline_kernels.exactness import ALLOWED
from eddyline_runtime.bench.model import SPARE, free_bytes
from eddyline_runtime.bench.served import here, load_plain
from eddyline_runtime.config import GraphConfig, Partition, Profile
from eddyline_runtime.dreamer import Dreamer
from eddyline_runtime.model.memory import dream_memory
from eddyline_runtime.model.streamdit import StreamDiT
from eddyline_runtime.networks.choice import computed_by, fitted
from eddyline_runtime.networks.difference import DECODED, ROWS, TEXTS, fixed_inputs, fixed_rows, noise, relative
from eddyline_runtime.networks.folder import cache_folder
from eddyline_runtime.networks.graphs import Call, Capture, CudaCapture
from eddyline_runtime.precision import check_device, default_dtype
from eddyline_runtime.weights import World, WorldCard, card_of

ON_HOST = 200_000_000
"""Parameters of the largest StreamDiT that the processor computes in wide precision; a larger one would take minutes
there, and stays on the device."""
GREY_LEVELS = 1.0
"""How far frames may be off, as the root of the mean square, of 255."""
KERNEL = "window_attention"
"""The one whose launches say that the Triton kernels ran."""
FIXED, OTHER = 0, 1
"""Seeds of the inputs that are compared, and of those that a graph is captured on."""


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """For each profile and each size of batch how far velocities are off, and how far frames are; `right` says whether
    that is little enough, and whether it was computed as it should be.

    Raises:
        ConfigError: there is no such device or profile, or not enough memory for the networks in both precisions.
        WeightsError: there is no such world, or it is damaged.
    """
    check_device(arguments.device)
    _check_memory(card_of(arguments.model), torch.device(arguments.device), default_dtype(arguments.device))
    plain = load_plain(arguments)
    profiles = plain.card.profiles
    chosen = profiles if arguments.profile is None else {arguments.profile: profiles[arguments.profile]}
    return {**compare(fitted(plain, cache=cache_folder()), plain, chosen), **here()}


@torch.inference_mode()
def compare(
    world: World, plain: World, profiles: dict[str, Profile], *, capture: Capture | None = None
) -> dict[str, Any]:
    """All numbers of one world and of the same in plain torch, relative to the size of what is exact.

    `capture` takes the network's calls, which are to be replays then; by default CUDA does on a GPU.
    """
    device = next(plain.model.parameters()).device
    on_gpu = device.type == "cuda"
    counted = _Counted(capture or CudaCapture(device)) if capture or on_gpu else None
    exact = in_wide_precision(plain)
    before = backend.launches.copy()
    rows = [
        {"profile": name, "views": views, **_off(world, plain, exact, profile.partition, views, counted)}
        for name, profile in profiles.items()
        for views in ROWS
    ]
    launches = dict(backend.launches - before)
    frames = _frames_off(world, exact)
    faults = []
    if on_gpu and not all(row["launches"] for row in rows):
        faults.append("the Triton kernels did not run; the log says why")
    if counted is not None and not all(row["replays"] for row in rows):
        faults.append("no CUDA graph answered; the log says why")
    return {
        "world": world.card.name,
        "device": device_name(device),
        "networks": computed_by(world),
        "exact": f"{computed_by(exact)} on {next(exact.model.parameters()).device.type}",
        "velocities": rows,
        "frames_grey_levels": frames,
        "launches": launches,
        "faults": faults,
        "right": not faults and all(row["right"] for row in rows) and frames <= GREY_LEVELS,
    }


def in_wide_precision(world: World) -> World:
    """The same networks with the same numbers, StreamDiT in float32 (in float64 if it is in float32), on the processor
    unless it is too large for that; the codec on the processor."""
    parameter = next(world.model.parameters())
    wide = torch.float64 if parameter.dtype == torch.float32 else torch.float32
    size = sum(p.numel() for p in world.model.parameters())
    device = torch.device("cpu") if size <= ON_HOST else parameter.device
    return replace(
        world,
        model=copy.deepcopy(world.model).to(device=device, dtype=wide),
        codec=copy.deepcopy(world.codec).to(device="cpu"),
    )


def table(results: dict[str, Any]) -> Iterator[str]:
    """The numbers as lines."""
    yield f"{results['world']} on {results['device']}, {results['networks']}, against {results['exact']}"
    yield f"velocities: length of the difference over their own; {ALLOWED:g} times that of plain torch here is right"
    yield f"{'profile':<14}{'views':>6}{'off by':>10}{'plain torch':>13}"
    for row in results["velocities"]:
        verdict = "right" if row["right"] else "WRONG"
        yield f"{row['profile']:<14}{row['views']:>6}{row['ours']:>10.2g}{row['plain']:>13.2g}  {verdict}"
    levels = results["frames_grey_levels"]
    verdict = "right" if levels <= GREY_LEVELS else "WRONG"
    yield f"frames: off by {levels:.2g} of 255 grey levels, {GREY_LEVELS:g} is right  {verdict}"
    launched = ", ".join(f"{name} {count}" for name, count in results["launches"].items())
    yield f"Triton launches: {launched or 'none'}"
    for fault in results["faults"]:
        yield f"WRONG: {fault}"
    if not launched and not results["faults"] and results["networks"].startswith("torch"):
        yield "plain torch was compared with itself: what can differ is a GPU, or OpenVINO"


@dataclass
class _Counted:
    """A capture, and how often what it captured was replayed."""

    capture: Capture
    replays: int = 0

    def __call__(self, call: Call) -> Call:
        replay = self.capture(call)

        def counted() -> Tensor:
            self.replays += 1
            return replay()

        return counted


def _check_memory(card: WorldCard, device: torch.device, dtype: torch.dtype) -> None:
    """Raise ConfigError where a large world does not fit a device beside itself in wide precision; small ones do.

    That is counted as if plain torch held the scores of whole windows, which it does.
    """
    with torch.device("meta"):
        size = sum(p.numel() for p in StreamDiT(card.model).parameters())
    available = free_bytes(device) if size > ON_HOST else None
    if available is None:
        return
    with backend.chosen("reference"):
        wide = dream_memory(
            card.model,
            card.codec,
            device=device,
            dtype=torch.float32,
            views=max(ROWS),
            frames=max(profile.partition.buffer_frames for profile in card.profiles.values()),
            chunk_frames=DECODED,
            text_tokens=card.text_tokens,
        )
    needed = SPARE * (wide.total + size * dtype.itemsize)
    if needed > available:
        raise ConfigError(
            f"{card.name} in both precisions needs {needed / 1e9:.2f} GB, {available / 1e9:.2f} GB are free; use a "
            "smaller model, or a device with more memory"
        )


def _off(
    world: World, plain: World, exact: World, partition: Partition, rows: int, capture: _Counted | None
) -> dict[str, Any]:
    """How far a velocity is off, ours and that of plain torch on the same device, and how ours came about."""
    # a GPU's convolutions cut float32 to tf32 otherwise
    with backend.chosen("reference"), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        right = _velocity(_dreamer(exact), exact, partition, rows, seed=FIXED)
        theirs = relative(_velocity(_dreamer(plain), plain, partition, rows, seed=FIXED), right)
    launched = backend.launches[KERNEL]
    dreamer = _dreamer(world, capture)
    if capture is not None:
        for _ in range(GraphConfig().plain_calls + 1):
            _velocity(dreamer, world, partition, rows, seed=OTHER)
    replayed = capture.replays if capture else 0
    ours = relative(_velocity(dreamer, world, partition, rows, seed=FIXED), right)
    return {
        "ours": ours,
        "plain": theirs,
        "launches": backend.launches[KERNEL] - launched,
        "replays": capture.replays - replayed if capture else 0,
        "right": ours <= ALLOWED * theirs,
    }


def _dreamer(world: World, capture: Capture | None = None) -> Dreamer:
    return Dreamer(world, text_cache=len(TEXTS), capture=capture)


def _velocity(
    dreamer: Dreamer, world: World, partition: Partition, rows: int, *, seed: int
) -> Float[Tensor, "B F C Y X"]:
    """What the engine gets for the fixed inputs of a seed, on the host."""
    velocity = dreamer.velocity(fixed_rows(world, partition, rows, seed=seed))
    latents, tau = (t.to(dreamer.device) for t in fixed_inputs(world, partition, rows, seed=seed))
    return velocity(latents, tau).cpu()


def _frames_off(world: World, exact: World) -> float:
    """How far the frames of two views are off, as the root of the mean square, in grey levels."""
    clean = noise(world, max(ROWS), DECODED, seed=1)
    ours, right = (_frames(of, clean) for of in (world, exact))
    return float(np.sqrt(np.mean((ours - right) ** 2)))


def _frames(world: World, clean: Float[Tensor, "B c C Y X"]) -> NDArray[np.float64]:
    dreamer = _dreamer(world)
    latents = clean.to(next(world.codec.parameters()).device)
    states = [dreamer.start_decoder(row[:0], row) for row in latents]
    return dreamer.decode(latents, states)[0].astype(np.float64)
