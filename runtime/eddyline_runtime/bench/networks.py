"""Plain torch against OpenVINO in one process: what a network call and a chunk's decoding take, in turns.

Turns, so that whatever else the machine does meets both alike; of each the median counts. Milliseconds.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import torch

from eddyline.errors import ConfigError
from eddyline_runtime.bench.served import here
from eddyline_runtime.model.codec import DecoderState
from eddyline_runtime.networks.choice import computed_by, fitted
from eddyline_runtime.networks.difference import fixed_call, noise
from eddyline_runtime.networks.folder import cache_folder
from eddyline_runtime.weights import World, card_of, load_world

VIEWS = (1, 2, 8)
"""Rows of a batch that are measured: one view, one under an event, eight views."""
WARM_UP = 2


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Who runs by default, and for each number of rows the medians in torch and OpenVINO and their ratio.

    Raises:
        ConfigError: OpenVINO is not installed or does not do for this world, the profile is unknown, or the device is
            not the CPU.
        WeightsError: the world is unknown or broken.
    """
    if arguments.device != "cpu":
        raise ConfigError(f"networks are compared on the CPU, not on {arguments.device}; use --device cpu")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    profile, rounds = card_of(arguments.model).profile_name(arguments.profile), arguments.rounds
    plain = load_world(arguments.model, random_weights=arguments.random_weights)
    fast = fitted(plain, cache=cache_folder(), choice="openvino")
    found: dict[str, Any] = {"plain": computed_by(plain), "fast": computed_by(fast), "rounds": rounds}
    for rows in VIEWS:
        for name, race in (("denoise", _denoise), ("decode", _decode)):
            runs = [race(world, profile, rows) for world in (plain, fast)]
            plain_ms, fast_ms = in_turns(runs, rounds=rounds, clock=time.perf_counter)
            found[f"{name}_{rows}"] = {"plain_ms": plain_ms, "fast_ms": fast_ms, "ratio": plain_ms / fast_ms}
    on = {"world": plain.card.name, "profile": profile, "threads": torch.get_num_threads(), **here()}
    return {**found, "measured_on": on}


def table(results: dict[str, Any]) -> Iterator[str]:
    """The numbers as lines."""
    on = results["measured_on"]
    yield f"{on['world']}, {on['profile']}, on {on['machine']}"
    for name, value in results.items():
        if name == "measured_on":
            continue
        cells = value if isinstance(value, dict) else {"": value}
        shown = {label: cell if isinstance(cell, str) else f"{cell:.4g}" for label, cell in cells.items()}
        yield f"{name:<12}" + "".join(f"{label:>9} {cell:>10}" for label, cell in shown.items())


@torch.inference_mode()
def in_turns(runs: list[Callable[[], object]], *, rounds: int, clock: Callable[[], float]) -> list[float]:
    """The median time of each of some functions, which run by turns, in ms."""
    taken: list[list[float]] = [[] for _ in runs]
    for turn in range(WARM_UP + rounds):
        for times, run in zip(taken, runs, strict=True):
            begin_s = clock()
            run()
            if turn >= WARM_UP:
                times.append(1e3 * (clock() - begin_s))
    return [median(times) for times in taken]


def _denoise(world: World, profile: str, rows: int) -> Callable[[], object]:
    latents, tau, words = fixed_call(world, world.card.profiles[profile].partition, rows)
    return lambda: world.model(latents, tau, words)


def _decode(world: World, profile: str, rows: int) -> Callable[[], object]:
    clean = noise(world, rows, world.card.profiles[profile].partition.chunk_frames, seed=0)
    return lambda: world.codec.decode(clean, DecoderState(clean[:, :1]))
