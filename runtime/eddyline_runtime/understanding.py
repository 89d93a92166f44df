"""How well a world understands a text: its nearest known phrase, and how near that is.

The text encoder is open to any words; the model knows what it was trained on. Comparing pooled text vectors with the
phrases of the model's card tells the two apart, so that a game is not left guessing why nothing happened.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_runtime.model.text_encoder import TextEncoder

UNRELATED_COSINE = 0.2
"""Cosine of two unrelated texts under MiniLM, and below; counts as not understood at all."""


@dataclass(frozen=True)
class Understanding:
    """How well a text is understood, 0 to 1, and the known phrase it is nearest to."""

    score: float
    nearest: str


class KnownPhrases:
    """The phrases a world knows, encoded once."""

    def __init__(self, encoder: TextEncoder, phrases: Sequence[str]) -> None:
        self._phrases = list(phrases)
        self._pooled = encoder.encode(self._phrases).pooled if self._phrases else None

    def understand(self, pooled: Float[Tensor, " K"]) -> Understanding | None:
        """Compare one pooled unit vector with every phrase; None for a world without phrases."""
        if self._pooled is None:
            return None
        nearest = torch.mv(self._pooled, pooled).max(dim=0)
        score = (float(nearest.values) - UNRELATED_COSINE) / (1.0 - UNRELATED_COSINE)
        return Understanding(min(max(score, 0.0), 1.0), self._phrases[int(nearest.indices)])
