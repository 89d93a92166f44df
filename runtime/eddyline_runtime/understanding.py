"""How well a world understands a text: which phrases it knows say the same together, and how nearly.

The text encoder is open to any words; the model knows what it was trained on. Comparing pooled text vectors with the
phrases of the model's card tells the two apart, so that a game is not left guessing why nothing happened. A text may
say several things at once ("a red knight in a forest, it rains"), so it is compared with sums of a few phrases. A world
that has learned further words (`learn-words`) keeps the vectors of some texts it learned from; what is near to one of
them is understood as well.

Shapes: S texts learned from, K text channels.
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
FAR, NEAR = 0.36, 0.52
"""Cosines with the nearest of 512 texts that were learned from: other worlds' texts reach 0.39, those in other people's
words 0.44 to 0.63, their events 0.41 to 0.57."""
MAX_PHRASES = 4
"""Phrases that are added up at most."""


@dataclass(frozen=True)
class Understanding:
    """How well a text is understood, 0 to 1, and the known phrase it is nearest to; none where it is not at all."""

    score: float
    nearest: str


class KnownPhrases:
    """The phrases a world knows, encoded once, and texts that it learned from."""

    def __init__(
        self, encoder: TextEncoder, phrases: Sequence[str], learned: Float[Tensor, "S K"] | None = None
    ) -> None:
        self._phrases, self._learned = list(phrases), learned
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
        if self._learned is not None:
            closest = float(torch.mv(self._learned, pooled).max())
            score = max(score, (closest - FAR) / (NEAR - FAR))
        return Understanding(min(max(score, 0.0), 1.0), self._phrases[nearest] if score > 0 else "")
