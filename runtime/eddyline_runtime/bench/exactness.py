"""A world's networks as a device computes them, against plain torch in a wider precision, on inputs that never change.

What is compared is what the engine calls: on a GPU the Triton kernels, texts that went through the network before, and
the third call of a shape, which a CUDA graph answers; on a processor OpenVINO where it is in use. A velocity is right
when it is off by at most twice as much as in plain torch on that device, in the same precision; frames are right within
a grey level.
"""

import argparse
import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_kernels import backend
from eddyline_kernels.bench.place import device_name
from eddyline_kernels.exactness import ALLOWED
from eddyline_runtime.bench.served import here, load_plain
from eddyline_runtime.config import GraphConfig, Partition, Profile
from eddyline_runtime.dreamer import Dreamer
from eddyline_runtime.networks.choice import computed_by, fitted
from eddyline_runtime.networks.difference import DECODED, ROWS, fixed_inputs, fixed_rows, noise, relative
from eddyline_runtime.networks.folder import cache_folder
from eddyline_runtime.weights import World

ON_HOST = 200_000_000
"""Parameters of the largest StreamDiT that the processor computes in wide precision; a larger one would take minutes
there, and stays on the device."""
GREY_LEVELS = 1.0
"""How far frames may be off, as the root of the mean square, of 255."""


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """For each profile and each size of batch how far velocities are off, and how far frames are; `right` says whether
    that is little enough.

    Raises:
        ConfigError: there is no such device or profile.
        WeightsError: there is no such world, or it is damaged.
    """
    plain = load_plain(arguments)
    profiles = plain.card.profiles
    chosen = profiles if arguments.profile is None else {arguments.profile: profiles[arguments.profile]}
    return {**compare(fitted(plain, cache=cache_folder()), plain, chosen), **here()}


@torch.inference_mode()
def compare(world: World, plain: World, profiles: dict[str, Profile]) -> dict[str, Any]:
    """All numbers of one world and of the same in plain torch, relative to the size of what is exact."""
    device = next(plain.model.parameters()).device
    exact = in_wide_precision(plain)
    launched = backend.launches.copy()
    velocities = [
        {"profile": name, "views": rows, **_off(world, plain, exact, profile.partition, rows)}
        for name, profile in profiles.items()
        for rows in ROWS
    ]
    launches = dict(backend.launches - launched)
    frames = _frames_off(world, exact)
    kernels_ran = device.type != "cuda" or "window_attention" in launches
    return {
        "world": world.card.name,
        "device": device_name(device),
        "networks": computed_by(world),
        "exact": f"{computed_by(exact)} on {next(exact.model.parameters()).device.type}",
        "velocities": velocities,
        "frames_grey_levels": frames,
        "launches": launches,
        "right": kernels_ran and all(row["right"] for row in velocities) and frames <= GREY_LEVELS,
    }


def in_wide_precision(world: World) -> World:
    """The same networks with the same numbers in float32 (float64 if they are in float32), on the processor unless they
    are too large for that."""
    parameter = next(world.model.parameters())
    wide = torch.float64 if parameter.dtype == torch.float32 else torch.float32
    size = sum(p.numel() for p in world.model.parameters())
    device = torch.device("cpu") if size <= ON_HOST else parameter.device
    return replace(
        world,
        model=copy.deepcopy(world.model).to(device=device, dtype=wide),
        codec=copy.deepcopy(world.codec).to(device=device),
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
    if not launched and results["networks"].startswith("torch"):
        yield "plain torch was compared with itself: what can differ is a GPU, or OpenVINO"


def _off(world: World, plain: World, exact: World, partition: Partition, rows: int) -> dict[str, float | bool]:
    """How far a velocity is off, ours and that of plain torch on the same device."""
    with backend.chosen("reference"):
        right = _velocity(exact, partition, rows, calls=1)
        theirs = relative(_velocity(plain, partition, rows, calls=1), right)
    calls = GraphConfig().plain_calls + 1 if next(plain.model.parameters()).is_cuda else 1
    ours = relative(_velocity(world, partition, rows, calls=calls), right)
    return {"ours": ours, "plain": theirs, "right": ours <= ALLOWED * theirs}


def _velocity(world: World, partition: Partition, rows: int, *, calls: int) -> Float[Tensor, "B F C Y X"]:
    """The last of some equal calls, on the host."""
    dreamer = Dreamer(world, text_cache=rows)
    velocity = dreamer.velocity(fixed_rows(world, partition, rows))
    latents, tau = (t.to(dreamer.device) for t in fixed_inputs(world, partition, rows))
    answers = [velocity(latents, tau) for _ in range(calls)]
    return answers[-1].cpu()


def _frames_off(world: World, exact: World) -> float:
    """How far the frames of two views are off, as the root of the mean square, in grey levels."""
    clean = noise(world, max(ROWS), DECODED, seed=1)
    ours, right = (_frames(of, clean) for of in (world, exact))
    return float(np.sqrt(np.mean((ours - right) ** 2)))


def _frames(world: World, clean: Float[Tensor, "B c C Y X"]) -> np.ndarray[Any, np.dtype[np.float64]]:
    dreamer = Dreamer(world, text_cache=1)
    latents = clean.to(dreamer.device)
    states = [dreamer.start_decoder(row[:0], row) for row in latents]
    return dreamer.decode(latents, states)[0].astype(np.float64)
