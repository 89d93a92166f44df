"""The world a benchmark measures in its own process, and what every such file of numbers says beside them."""

import argparse
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import torch

from eddyline_runtime.engine import Engine
from eddyline_runtime.machine import processor, versions
from eddyline_runtime.networks.choice import computed_by, fitted
from eddyline_runtime.networks.folder import cache_folder
from eddyline_runtime.precision import check_device
from eddyline_runtime.weights import World, card_of, load_world

_PACKAGES = ("eddyline", "torch", "triton", "openvino", "numpy", "safetensors")


def load(arguments: argparse.Namespace) -> World:
    """The world that `arguments` name, as `serve` would load it; raises as `load_plain`."""
    return fitted(load_plain(arguments), cache=cache_folder())


def load_plain(arguments: argparse.Namespace) -> World:
    """The same in plain torch, before it is fitted to the machine.

    Raises:
        ConfigError: there is no such device or profile.
        WeightsError: there is no such world, or it is damaged.
    """
    check_device(arguments.device)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    card_of(arguments.model).profile_name(arguments.profile)
    return load_world(arguments.model, device=arguments.device, random_weights=arguments.random_weights)


def surroundings(arguments: argparse.Namespace, world: World) -> dict[str, Any]:
    """World, device, machine, versions and date: numbers say little without them."""
    on_gpu = arguments.device.startswith("cuda")
    return {
        "world": world.card.name,
        "random_weights": arguments.random_weights,
        "networks": computed_by(world),
        "device": torch.cuda.get_device_name(arguments.device) if on_gpu else "cpu",
        "threads": torch.get_num_threads(),
        **here(),
    }


def here() -> dict[str, Any]:
    """This machine, the versions on it and the date."""
    return {
        "machine": processor(),
        "versions": versions(_PACKAGES),
        "date": datetime.now(UTC).date().isoformat(),
    }


def open_views(engine: Engine, numbers: Sequence[int], *, profile: str, clock: Callable[[], float]) -> None:
    """Open views of different words and seeds, and wait until all their scenes have begun."""
    phrases = engine.world.card.phrases or ("a quiet morning",)
    states = [
        engine.open_view(view, prompt=phrases[place % len(phrases)], seed=view, profile=profile)
        for place, view in enumerate(numbers)
    ]
    while any(state.opening for state in states):
        engine.tick(clock())
