"""How much memory dreaming takes on a device: counted, without making the networks.

They are run on torch's meta device, which has shapes and no numbers, while every tensor that is held is counted. It has
no kernels of ours either, so plain torch runs there, whatever the environment asks for.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from eddyline_kernels.backend import chosen, runs_triton
from eddyline_runtime.config import CodecConfig, ModelConfig
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.model.streamdit import Conditioning, StreamDiT

_FULL = 4
"""Bytes of a float32: what networks are made in, and what the codec stays in."""


@dataclass(frozen=True, kw_only=True)
class DreamMemory:
    """Bytes that dreaming takes, without what the allocator and the libraries take for themselves."""

    weights: int
    """Of StreamDiT and the codec, as they are kept."""
    loading: int
    """The most while they are made: in float32 first."""
    texts: int
    """What the network made of the texts in force, as kept, as one batch and as its graph has it; on a GPU alone."""
    denoising: int
    """The most that one call of StreamDiT holds, its inputs included."""
    decoding: int
    """The same for decoding one chunk of every view."""

    @property
    def total(self) -> int:
        """The most at any time."""
        return max(self.loading, self.weights + self.texts + max(self.denoising, self.decoding))

    def __str__(self) -> str:
        names = ("weights", "loading", "texts", "denoising", "decoding")
        parts = (f"{name} {getattr(self, name) / 1e9:.2f}" for name in names)
        return f"{self.total / 1e9:.2f} GB: {', '.join(parts)}"


def dream_memory(
    model: ModelConfig,
    codec: CodecConfig,
    *,
    device: torch.device,
    dtype: torch.dtype,
    views: int,
    frames: int,
    chunk_frames: int,
    text_tokens: int,
) -> DreamMemory:
    """Count for one world and a batch of views.

    Args:
        device: where it would run; whether Triton's kernels run there makes a difference.
        dtype: of StreamDiT.
        views: rows of the batch, each under a text of its own.
        frames, chunk_frames: latent frames of a buffer, and of what is decoded at once.
        text_tokens: length of the texts, padded.
    """
    with torch.device("meta"):
        whole, decoder = (sum(p.numel() for p in made.parameters()) for made in (StreamDiT(model), Codec(codec)))
    return DreamMemory(
        weights=whole * dtype.itemsize + decoder * _FULL,
        loading=(whole + decoder) * _FULL,
        texts=3 * views * 2 * model.depth * text_tokens * model.width * dtype.itemsize if device.type == "cuda" else 0,
        denoising=denoising_bytes(
            model, device=device, dtype=dtype, views=views, frames=frames, text_tokens=text_tokens
        ),
        decoding=_decoding_bytes(model, codec, views=views, chunk_frames=chunk_frames),
    )


def denoising_bytes(
    model: ModelConfig, *, device: torch.device, dtype: torch.dtype, views: int, frames: int, text_tokens: int
) -> int:
    """The most that one call of StreamDiT holds beside its weights."""
    # a block gives back all but its result, so one stands for all
    one = replace(model, depth=1)
    if runs_triton("window attention", device):
        # the kernels hold no scores, and windows of one token have next to none
        one = replace(one, window=(1, 1, 1))
    with torch.device("meta"), chosen("reference"):
        network = StreamDiT(one).to(dtype)
        latents = torch.empty(views, frames, model.latent_channels, model.latent_height, model.latent_width)
        words = Conditioning(
            text=torch.empty(views, text_tokens, model.text_dim, dtype=dtype),
            text_mask=torch.empty(views, text_tokens, dtype=torch.bool),
            text_index=torch.empty(views, frames, dtype=torch.long),
            actions=torch.empty(views, frames, model.action_dim),
            stride=torch.empty(views, frames, dtype=torch.long),
        )
        tau = torch.empty(views, frames)
        given = sum(t.untyped_storage().nbytes() for t in (latents, tau, words.text))
        return given + most_held(lambda: network(latents, tau, words))


def _decoding_bytes(model: ModelConfig, codec: CodecConfig, *, views: int, chunk_frames: int) -> int:
    with torch.device("meta"), chosen("reference"):
        network = Codec(codec)
        clean = torch.empty(views, chunk_frames, model.latent_channels, model.latent_height, model.latent_width)
        return clean.untyped_storage().nbytes() + most_held(lambda: network.decode(clean))


def most_held(call: Callable[[], object]) -> int:
    """The most bytes of tensors that a call holds at one time, of those that it makes; nothing is differentiated."""
    held = _Held()
    with torch.no_grad(), held:
        call()
    return held.most


class _Held(TorchDispatchMode):
    """Counts the storages that operators return, until they are given back."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in given:
                self._keep(tensor.untyped_storage())
        return result

    def _keep(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._give_back, key, size)

    def _give_back(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
