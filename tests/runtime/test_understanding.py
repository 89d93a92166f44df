"""How well a world understands words: one known thing, several at once, none."""

from collections.abc import Sequence

import pytest
import torch
from torch.nn import functional as F

from eddyline.hud import HARDLY_UNDERSTOOD
from eddyline_runtime.model.text_encoder import EncodedText
from eddyline_runtime.understanding import KnownPhrases, Understanding
from eddyline_runtime.weights import load_world

WORDS = ["a", "red", "blue", "knight", "fox", "forest", "rain", "night", "stock", "market", "crashes"]


class WordEncoder:
    """Each word is a direction of its own; a text is the sum of its words."""

    name = "words"
    dim = len(WORDS)
    max_tokens = 16

    def encode(self, texts: Sequence[str]) -> EncodedText:
        counts = torch.tensor([[float(text.split().count(word)) for word in WORDS] for text in texts])
        return EncodedText(counts[:, None], torch.ones(len(texts), 1, dtype=torch.bool), F.normalize(counts, dim=-1))


def understand(
    text: str,
    phrases: Sequence[str] = ("red knight", "blue fox", "forest", "rain", "night"),
    learned: Sequence[str] = (),
):
    encoder = WordEncoder()
    vectors = encoder.encode(learned).pooled if learned else None
    return KnownPhrases(encoder, phrases, vectors).understand(encoder.encode([text]).pooled[0])


def test_a_known_phrase_is_understood_fully():
    found = understand("blue fox")
    assert (found.nearest, found.score) == ("blue fox", pytest.approx(1.0))


def test_several_known_things_at_once_are_understood_and_the_nearest_is_named():
    found = understand("red knight forest night")
    assert (found.nearest, found.score) == ("red knight", pytest.approx(1.0))


def test_words_of_another_world_are_not_understood():
    assert understand("stock market crashes") == Understanding(0.0, ""), "and no phrase is near"


def test_half_known_words_lie_between():
    assert 0.0 < understand("fox market").score < 1.0


def test_words_that_were_learned_are_understood_and_the_nearest_known_phrase_is_still_named():
    assert understand("a market fox").score < 0.7
    found = understand("a market fox", learned=["stock crashes", "a market fox crashes"])
    assert (found.nearest, found.score) == ("blue fox", 1.0)


def test_what_is_far_from_all_that_was_learned_is_not_understood():
    assert understand("stock crashes", learned=["a market fox", "red market"]).score == 0.0


def test_a_world_without_phrases_does_not_say():
    assert understand("rain", ()) is None


def test_the_shipped_world_understands_other_peoples_words_and_not_other_worlds() -> None:
    world = load_world("diorama", device="cpu")
    known = KnownPhrases(world.text_encoder, world.card.phrases, world.learned)

    def scores(*texts: str) -> list[float]:
        return [known.understand(pooled).score for pooled in world.text_encoder.encode(texts).pooled]

    told = scores(
        "a crimson crusader strolls across a wintry field at twilight",
        "an azure phantom lingers in a grotto while it drizzles",
        "downpour begins",
        "darkness descends",
    )
    foreign = scores("a submarine dives below the ice", "please reset my password", "the band starts to play")
    assert min(told) > HARDLY_UNDERSTOOD > max(foreign)
