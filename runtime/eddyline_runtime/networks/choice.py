"""Plain torch or OpenVINO: the one place that decides what computes StreamDiT and the codec.

On a CPU they run in OpenVINO where it is installed and answers as plain torch does, else in plain torch; on other
devices always in plain torch. Where OpenVINO is installed and does not do, a warning says why. The environment variable
EDDYLINE_NETWORKS overrides this:

    auto        as above (the default)
    torch       plain torch everywhere
    openvino    OpenVINO or an error
"""

import logging
import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch

from eddyline.errors import ConfigError
from eddyline.install import install_hint
from eddyline_runtime.networks import VARIABLE
from eddyline_runtime.networks.compiled import CompiledStreamDiT, ConversionError, compile_codec, compile_streamdit
from eddyline_runtime.networks.difference import codec_difference, streamdit_difference
from eddyline_runtime.networks.fp8 import in_fp8
from eddyline_runtime.weights import World

CHOICES = ("auto", "torch", "openvino")
MAX_PARAMETERS = 200_000_000
"""Of StreamDiT; a larger one is not converted, because that holds it in memory several times."""
STREAMDIT_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}
"""How far the velocity may be from plain torch's, relative to its size (root of mean squares). float32 differs by the
order of its sums; bf16 has three digits, and both sides round."""
CODEC_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 1e-2}
"""The same for frames, of which plain torch decodes in float32: 1e-2 is about one of 255 grey levels."""

log = logging.getLogger(__name__)


def fitted(world: World, *, cache: Path | None, choice: str | None = None) -> World:
    """The world with its networks computed by what suits this machine.

    Args:
        world: with networks of plain torch.
        cache: where converted networks are kept, so that a later start need not convert them; None: nowhere.
        choice: instead of what the environment says.

    Raises:
        ConfigError: OpenVINO is asked for where it does not do, or something unknown is.
    """
    choice = choice or os.environ.get(VARIABLE, "auto")
    if choice not in CHOICES:
        raise ConfigError(f"{VARIABLE}={choice} is not a choice; use one of {', '.join(CHOICES)}")
    if choice == "torch":
        return world
    obstacle = _unavailable(world)
    if obstacle is None:
        candidate, obstacle = _candidate(world, cache)
        if candidate is not None:
            return candidate
        if choice == "auto":
            log.warning("the networks run in plain torch, which is slower: %s", obstacle)
    if choice == "openvino":
        raise ConfigError(f"the networks cannot run in OpenVINO: {obstacle}; plain torch is {VARIABLE}=torch")
    return world


def computed_by(world: World) -> str:
    """What computes the networks of a world, in words: "torch float32", "openvino bfloat16", "torch bfloat16 fp8"."""
    dtype = str(next(world.model.parameters()).dtype).removeprefix("torch.")
    by = "openvino" if isinstance(world.model, CompiledStreamDiT) else "torch"
    return f"{by} {dtype}{' fp8' if in_fp8(world.model) else ''}"


def _unavailable(world: World) -> str | None:
    """Why there is no OpenVINO for these networks here, or None."""
    parameter = next(world.model.parameters())
    if parameter.device.type != "cpu":
        return f"it is for the CPU, and the networks are on {parameter.device}"
    if parameter.dtype not in STREAMDIT_TOLERANCE:
        return f"it is for float32 and bfloat16, and the networks are {parameter.dtype}"
    if find_spec("openvino") is None:
        return f"it is not installed ({install_hint('openvino')})"
    count = sum(p.numel() for p in world.model.parameters())
    return f"it takes up to {MAX_PARAMETERS} parameters, StreamDiT has {count}" if count > MAX_PARAMETERS else None


def _candidate(world: World, cache: Path | None) -> tuple[World | None, str]:
    """The world in OpenVINO; or None, and why it is not to be used."""
    dtype, threads = next(world.model.parameters()).dtype, torch.get_num_threads()
    partitions = sorted({profile.partition for profile in world.card.profiles.values()}, key=repr)
    sizes = sorted({partition.buffer_frames for partition in partitions})
    length = world.text_encoder.max_tokens
    try:
        model = compile_streamdit(world.model, sizes, text_tokens=length, precision=dtype, threads=threads, cache=cache)
        codec = compile_codec(world.codec, world.card.model, precision=dtype, threads=threads, cache=cache)
    except ConversionError as error:
        return None, str(error)
    found = {
        "the velocity": (streamdit_difference(world, model, partitions), STREAMDIT_TOLERANCE[dtype]),
        "a frame": (codec_difference(world, codec), CODEC_TOLERANCE[dtype]),
    }
    for what, (difference, tolerance) in found.items():
        if not difference <= tolerance:  # so that NaN does not pass
            return None, f"{what} differs by {difference:.2g} of its size from plain torch's, {tolerance:g} is allowed"
    return replace(world, model=model, codec=codec), ""
