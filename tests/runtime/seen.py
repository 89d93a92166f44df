"""What tests see of a chunk beside its frames: the latents that it was decoded from, which no runtime keeps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from eddyline_runtime.engine import Engine
from eddyline_runtime.model.codec import DecoderState
from eddyline_runtime.view import Chunk, ViewState


@dataclass(frozen=True, kw_only=True)
class SeenChunk(Chunk):
    """A chunk with its latents."""

    latents: Float[Tensor, "c C Y X"]
    """The clean latent frames that were decoded, float32."""


def with_latents(engine: Engine) -> Engine:
    """The engine; chunks that it makes from now on are `SeenChunk`s."""
    decode, emit = engine._dreamer.decode, engine._emit
    rows: list[Tensor] = []

    def noting(
        clean: Float[Tensor, "B c C Y X"], states: Sequence[DecoderState]
    ) -> tuple[NDArray[np.uint8], list[DecoderState]]:
        rows[:] = clean.float().cpu()
        return decode(clean, states)

    def carrying(state: ViewState, decoded: NDArray[np.uint8], made_s: float) -> Chunk:
        return SeenChunk(**vars(emit(state, decoded, made_s)), latents=rows.pop(0))

    engine._dreamer.decode = noting  # type: ignore[method-assign]
    engine._emit = carrying  # type: ignore[method-assign]
    return engine
