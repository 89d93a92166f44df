"""What guidance pulls away from: the standing prompt while an event is live, else no text."""

import dataclasses

import pytest
import torch

from eddyline_runtime.conditioning import UNCONDITIONAL, RowWords, TextCache, conditioning
from eddyline_runtime.dreamer import Dreamer
from eddyline_runtime.prompts import Slot
from eddyline_runtime.weights import World, load_world


@pytest.fixture(scope="module")
def world() -> World:
    return load_world("tiny", random_weights=True, dtype=torch.float32)


def test_guidance_pulls_from_the_prompt_alone_while_an_event_is_live(world: World) -> None:
    dreamer = Dreamer(world, text_cache=8)
    assert dreamer.away_from(Slot("a cat")) == UNCONDITIONAL
    assert dreamer.away_from(Slot("a cat.", ("rain",))) == "a cat"
    assert dreamer.text(Slot("a cat", ("rain",))) == "a cat, rain"


def test_the_second_half_of_a_guided_batch_is_under_what_guidance_pulls_away_from(world: World) -> None:
    cache = TextCache(world.text_encoder, capacity=8, device=torch.device("cpu"), dtype=torch.float32)
    row = RowWords(texts=("a", "b"), away_from=("", "a"), actions=(0.0,) * 5, stride=2)
    words = conditioning([row, dataclasses.replace(row, stride=4)], cache, device=torch.device("cpu"), guidance=True)
    assert words.stride.tolist() == [2, 4, 2, 4]
    assert words.text_index.shape == (4, 2)
    towards, away = words.text[words.text_index[0]], words.text[words.text_index[2]]
    assert torch.equal(towards[0], cache.get("a").states)
    assert torch.equal(away[0], cache.get(UNCONDITIONAL).states)
    assert torch.equal(away[1], cache.get("a").states)
    assert not torch.equal(towards[1], away[1])
