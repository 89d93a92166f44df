"""StreamDiT with the large matrix products of its blocks in FP8: weights quantised once, tokens as they come.

Row-wise on both sides: one float32 for each row of a weight, made when it is loaded, and one for each token, made where
the token is normed. Never one for a whole tensor: that would let a view change the others of its batch.
"""

import torch
from torch import nn

from eddyline.errors import ConfigError
from eddyline_kernels.formats import FP8_CAPABILITY
from eddyline_kernels.linear.operator import MULTIPLE
from eddyline_runtime.config import Partition
from eddyline_runtime.model.linear import Fp8Linear
from eddyline_runtime.model.streamdit import Block, StreamDiT
from eddyline_runtime.networks.difference import fixed_call, relative
from eddyline_runtime.weights import World

_LAYERS = ("qkv", "attention_out", "text_q", "text_out")


def check_fp8(device: torch.device, dtype: torch.dtype, *, capability: tuple[int, int] | None) -> None:
    """Check that FP8 is worth it: that the device multiplies it itself, for networks of this dtype.

    Elsewhere it would be taken back to float32 first, which is slower and farther off than no FP8.

    Args:
        device: where networks of `dtype` compute.
        capability: compute capability of a CUDA device, None for another one.

    Raises:
        ConfigError: it does not; the message says why.
    """
    obstacle = None
    if capability is None:
        obstacle = f"they need a GPU that multiplies it, and the networks are on {device.type}"
    elif capability < FP8_CAPABILITY:
        has, needed = (".".join(map(str, numbers)) for numbers in (capability, FP8_CAPABILITY))
        obstacle = f"the GPU has compute capability {has}, and {needed} is needed"
    elif dtype != torch.bfloat16:
        obstacle = f"they give bfloat16, and the networks are {str(dtype).removeprefix('torch.')}"
    if obstacle is not None:
        raise ConfigError(f"linears in FP8 cannot be served here: {obstacle}; use --linears plain")


def in_fp8(model: StreamDiT) -> bool:
    """Whether a network's large matrix products are in FP8."""
    return any(isinstance(part, Fp8Linear) for part in model.modules())


def quantise_linears(model: StreamDiT) -> None:
    """Turn the blocks' products over tokens into FP8, in place, so that a large network is not held twice.

    What runs once for each frame or text stays as it is, as do norms, attention and what lies around the blocks.

    Raises:
        ConfigError: a width is no multiple of 16, or another engine than torch computes the network.
    """
    blocks = [block for block in getattr(model, "blocks", ()) if isinstance(block, Block)]
    if not blocks:
        raise ConfigError("FP8 is for networks in plain torch; set EDDYLINE_NETWORKS=torch, or leave FP8 out")
    sizes = model.config
    if sizes.width % MULTIPLE or sizes.mlp_width % MULTIPLE:
        raise ConfigError(
            f"FP8 takes widths that are multiples of {MULTIPLE}, the model has {sizes.width} and {sizes.mlp_width}; "
            "leave FP8 out"
        )
    for block in blocks:
        for name in _LAYERS:
            setattr(block, name, Fp8Linear(_plain(getattr(block, name))))
        widen, _, narrow = block.mlp
        block.mlp = nn.Sequential(Fp8Linear(_plain(widen)), Fp8Linear(_plain(narrow), gelu=True))


@torch.inference_mode()
def quantise_world(world: World, partition: Partition) -> float:
    """`quantise_linears` of a world's StreamDiT; returns how far that took its velocity, relative to its size.

    It is compared on one view of noise at the taus of `partition`.
    """
    call = fixed_call(world, partition, rows=1)
    plain = world.model(*call)
    quantise_linears(world.model)
    return relative(world.model(*call), plain)


def _plain(layer: nn.Module) -> nn.Linear:
    if not isinstance(layer, nn.Linear):
        raise ConfigError("the network multiplies in FP8 already; load it anew to start from its own precision")
    return layer
