"""Texts, actions and strides of several views -> the conditioning of one batch. Texts are encoded once and kept.

Shapes: B views, F latent frames, T texts, L tokens, K text channels, A actions.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median_low

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eddyline_runtime.model.streamdit import Conditioning, ProjectedTexts
from eddyline_runtime.model.text_encoder import TextEncoder

UNCONDITIONAL = ""
"""What guidance pulls away from while no event is live."""
PROJECTED_BYTES = 1 << 30
"""So much of what a network made of texts is kept, beside what the batch at hand needs; one text takes 164 MB in the
4 B model, 0.5 MB in the embedded one."""
ENCODINGS = 5
"""Of so many of the last texts it is remembered what encoding them took."""

Refine = Callable[[Tensor, Tensor], Tensor]
"""`StreamDiT.refine`: token states [T, L, K], the mask of real tokens [T, L] -> the states that it reads."""
Project = Callable[[Tensor, Tensor], ProjectedTexts]
"""`StreamDiT.project`: refined states [T, L, K], mask of real tokens [T, L] -> what the network makes of them."""


@dataclass(frozen=True)
class Encoded:
    """One encoded text."""

    states: Float[Tensor, "L K"]
    """Refined."""
    mask: Bool[Tensor, " L"]
    pooled: Float[Tensor, " K"]


class TextCache:
    """Encoded texts, the least recently used forgotten first: encoding is slow, so it happens when a text changes.

    What the network makes of each is kept too, with a bound of its own, because it may be large.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        *,
        capacity: int,
        device: torch.device,
        dtype: torch.dtype,
        refine: Refine,
        project: Project | None = None,
        projected_bytes: int = PROJECTED_BYTES,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`refine` and `project`: of the network that is to read these texts, the latter None if it takes none. `clock`
        counts seconds."""
        self._encoder = encoder
        self._capacity = capacity
        self._device = device
        self._dtype = dtype
        self._refine = refine
        self._project = project
        self._projected_bytes = projected_bytes
        self._clock = clock
        self._took_s: deque[float] = deque(maxlen=ENCODINGS)
        self._known: OrderedDict[str, Encoded] = OrderedDict()
        self._projected: OrderedDict[str, ProjectedTexts] = OrderedDict()
        self.encoded = 0
        """How many texts were encoded so far."""
        self.projected = 0
        """How many of them went through the network so far."""

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, text: str) -> bool:
        return text in self._known

    @property
    def encode_s(self) -> float:
        """What encoding a text took of late, the usual one: a slow one among quick ones does not count."""
        return median_low(self._took_s) if self._took_s else 0.0

    def get(self, text: str) -> Encoded:
        """One text, encoded now if need be; always alone, so that it has the same bits whoever else is there."""
        if text not in self._known:
            begin_s = self._clock()
            fresh = self._encoder.encode([text])
            self._took_s.append(self._clock() - begin_s)
            self.encoded += 1
            states = fresh.states.to(device=self._device, dtype=self._dtype)
            mask = fresh.mask.to(self._device)
            self._known[text] = Encoded(self._refine(states, mask)[0], mask[0], fresh.pooled[0])
            if len(self._known) > self._capacity:
                self._known.popitem(last=False)
        self._known.move_to_end(text)
        return self._known[text]

    def project(self, texts: Sequence[str]) -> ProjectedTexts | None:
        """What the network makes of texts, each alone, now if need be; None where it takes none."""
        if self._project is None:
            return None
        found = [self._projection(text, self._project) for text in texts]
        return ProjectedTexts(
            torch.cat([text.keys_values for text in found]), torch.cat([text.brief for text in found])
        )

    def _projection(self, text: str, project: Project) -> ProjectedTexts:
        known = self._projected.get(text)
        if known is None:
            encoded = self.get(text)
            known = project(encoded.states[None], encoded.mask[None])
            self.projected += 1
        self._projected[text] = known
        self._projected.move_to_end(text)
        room = max(1, min(self._capacity, self._projected_bytes // known.keys_values.nbytes))
        while len(self._projected) > room:
            self._projected.popitem(last=False)
        return known


@dataclass(frozen=True)
class Away:
    """What guidance pulls a row away from: other texts, or other actions."""

    texts: tuple[str, ...]
    """One per latent frame."""
    actions: tuple[float, ...]
    scales: tuple[float, ...]
    """Guidance of each latent frame; 1 is none."""


@dataclass(frozen=True)
class RowWords:
    """What one row of a batch is under."""

    texts: tuple[str, ...]
    """One per latent frame."""
    actions: tuple[float, ...]
    stride: int
    away: tuple[Away, ...] = ()
    """Each takes a further row of the batch."""


def all_rows(rows: Sequence[RowWords]) -> list[RowWords]:
    """The rows of one call: those of a batch, then what guidance pulls each of them away from."""
    return [*rows, *(replace(row, texts=away.texts, actions=away.actions) for row in rows for away in row.away)]


def texts_of(rows: Sequence[RowWords]) -> list[str]:
    """Every text that rows are under, once."""
    return list(dict.fromkeys(text for row in rows for text in row.texts))


def conditioning(rows: Sequence[RowWords], cache: TextCache, *, device: torch.device) -> Conditioning:
    """The conditioning of a batch: its rows, then what guidance pulls each of them away from, all for one call."""
    every = all_rows(rows)
    texts = texts_of(every)
    held = torch.tensor([row.actions for row in every], dtype=torch.float32, device=device)
    encoded = [cache.get(text) for text in texts]
    return Conditioning(
        text=torch.stack([text.states for text in encoded]),
        text_mask=torch.stack([text.mask for text in encoded]),
        text_index=torch.tensor([[texts.index(text) for text in row.texts] for row in every], device=device),
        actions=held[:, None].expand(-1, len(rows[0].texts), -1),
        stride=torch.tensor([[row.stride] * len(row.texts) for row in every], device=device),
        refined=True,
        projected=cache.project(texts),
    )
