"""How much memory one rank needs to train a sharded model: counted, without making the model.

Networks are built on torch's meta device, which has shapes and no numbers. It has no kernels of ours either, so plain
torch runs there, whatever the environment asks for.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from eddyline_kernels.backend import chosen
from eddyline_runtime.config import ModelConfig
from eddyline_runtime.model.streamdit import Block, Conditioning, StreamDiT, rotary_table

_FULL = 4
"""Bytes of a float32: what parameters, gradients, moments and averages are kept in."""


@dataclass(frozen=True, kw_only=True)
class RankMemory:
    """Bytes that one rank holds while it trains, without what the allocator and the libraries take for themselves."""

    parameters: int
    gradients: int
    moments: int
    """The two of AdamW."""
    average: int
    gathered: int
    """What is whole for a moment: this block, the next, what lies around the blocks, and this block's gradient."""
    activations: int
    """Each block's input, and all that one block keeps while it is computed again on the way back."""

    @property
    def total(self) -> int:
        """All together."""
        return sum(getattr(self, field.name) for field in fields(self))

    def __str__(self) -> str:
        parts = (f"{field.name} {getattr(self, field.name) / 1e9:.2f}" for field in fields(self))
        return f"{self.total / 1e9:.2f} GB a rank: {', '.join(parts)}"


def rank_memory(
    config: ModelConfig, *, ranks: int, rows: int, frames: int, text_tokens: int, dtype: torch.dtype
) -> RankMemory:
    """Count for a model that is sharded over `ranks`, block by block.

    Args:
        rows: windows that one rank computes at once, each of `frames` latent frames.
        text_tokens: length of the texts, padded.
        dtype: what is computed in; everything that stays is float32.
    """
    in_block, around = parameter_counts(config)
    sharded = -(-(config.depth * in_block + around) // ranks) * _FULL
    tokens = rows * frames * (config.latent_height // 2) * (config.latent_width // 2)
    kept = config.depth * tokens * config.width * dtype.itemsize
    return RankMemory(
        parameters=sharded,
        gradients=sharded,
        moments=2 * sharded,
        average=sharded,
        gathered=(2 * in_block + around) * dtype.itemsize + in_block * (dtype.itemsize + _FULL),
        activations=kept + block_activations(config, rows=rows, frames=frames, text_tokens=text_tokens, dtype=dtype),
    )


def parameter_counts(config: ModelConfig) -> tuple[int, int]:
    """Parameters of one block, and of everything around the blocks."""
    with torch.device("meta"):
        model = StreamDiT(config)
    in_block = _count(model.blocks[0])
    return in_block, _count(model) - config.depth * in_block


def block_activations(config: ModelConfig, *, rows: int, frames: int, text_tokens: int, dtype: torch.dtype) -> int:
    """Bytes that one block keeps for its backward pass; every row is under one text."""
    height, width = config.latent_height // 2, config.latent_width // 2
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    with torch.device("meta"), chosen("reference"):
        block = Block(config, shifted=False).to(dtype)
        x = torch.empty(rows, frames, height * width, config.width, dtype=dtype, requires_grad=True)
        words = Conditioning(
            text=torch.empty(rows, text_tokens, config.text_dim),
            text_mask=torch.empty(rows, text_tokens, dtype=torch.bool),
            text_index=torch.empty(rows, frames, dtype=torch.long),
            actions=torch.empty(rows, frames, config.action_dim),
            stride=torch.empty(rows, frames, dtype=torch.long),
        )
        rope = rotary_table(frames, height, width, config.width // config.heads, x.device)
        text = torch.empty(rows, text_tokens, config.width, dtype=dtype, requires_grad=True)
        condition = torch.empty(rows, frames, config.condition_width, dtype=dtype, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            block(x, size=(frames, height, width), rope=rope, condition=condition, text=text, words=words)
    for parameter in block.parameters():
        kept.pop(parameter.untyped_storage()._cdata, None)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
