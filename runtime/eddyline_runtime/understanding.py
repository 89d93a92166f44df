"""How well a world understands a text: which phrases it knows say the same together, and how nearly.

The text encoder is open to any words; the model knows what it was trained on. Comparing pooled text vectors with the
phrases of the model's card tells the two apart, so that a game is not left guessing why nothing happened. A text may
say several things at once ("a red knight in a forest, it rains"), so it is compared with sums of a few phrases.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from eddyline_runtime.model.text_encoder import TextEncoder

FOREIGN, KNOWN = 0.4, 0.8
"""Cosines under MiniLM: texts of other worlds reach 0.45 at most, paraphrases of what a world knows 0.65 to 0.85."""
MAX_PHRASES = 4
"""Phrases that are added up at most."""


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
        """Compare one pooled unit vector with the known phrases; None for a world without phrases."""
        if self._pooled is None:
            return None
        said = torch.zeros_like(pooled)
        best, nearest = -1.0, 0
        for count in range(MAX_PHRASES):
            cosine = torch.mv(F.normalize(said + self._pooled, dim=-1), pooled).max(dim=0)
            if float(cosine.values) <= best:
                break
            best, index = float(cosine.values), int(cosine.indices)
            nearest = index if count == 0 else nearest
            said = said + self._pooled[index]
        score = (best - FOREIGN) / (KNOWN - FOREIGN)
        return Understanding(min(max(score, 0.0), 1.0), self._phrases[nearest])
