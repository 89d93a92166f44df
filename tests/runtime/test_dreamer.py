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
    row = RowWords(texts=("a", "b"), away_from=("", "a"), scales=(1.0, 2.0), actions=(0.0,) * 5, stride=2)
    words = conditioning([row, dataclasses.replace(row, stride=4)], cache, device=torch.device("cpu"))
    assert words.stride.tolist() == [[2, 2], [4, 4], [2, 2], [4, 4]]
    assert words.text_index.shape == (4, 2)
    towards, away = words.text[words.text_index[0]], words.text[words.text_index[2]]
    assert torch.equal(towards[0], cache.get("a").states)
    assert torch.equal(away[0], cache.get(UNCONDITIONAL).states)
    assert torch.equal(away[1], cache.get("a").states)
    assert not torch.equal(towards[1], away[1])


def test_only_rows_that_are_guided_take_a_second_row_and_only_their_guided_frames_change(world: World) -> None:
    dreamer = Dreamer(world, text_cache=8)
    plain = RowWords(texts=("a", "b"), away_from=("", ""), scales=(1.0, 1.0), actions=(0.0,) * 5, stride=1)
    eventful = dataclasses.replace(plain, texts=("a", "a, rain"), away_from=("", "a"), scales=(1.0, 3.0))
    sizes = world.card.model
    shape = (sizes.latent_channels, sizes.latent_height, sizes.latent_width)
    latents, tau = torch.randn(2, 2, *shape, generator=torch.Generator().manual_seed(0)), torch.full((2, 2), 0.5)
    rows_seen = []
    watch = world.model.register_forward_pre_hook(lambda model, given: rows_seen.append(len(given[0])))
    try:
        with torch.inference_mode():
            calm = dreamer.velocity([plain, dataclasses.replace(eventful, scales=(1.0, 1.0))])(latents, tau)
            pulled = dreamer.velocity([plain, eventful])(latents, tau)
            away = dreamer.velocity([plain, dataclasses.replace(eventful, texts=("", "a"), scales=(1.0, 1.0))])(
                latents, tau
            )
    finally:
        watch.remove()
    assert rows_seen == [2, 3, 2]
    torch.testing.assert_close(pulled[0], calm[0], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(pulled[1, 0], calm[1, 0], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(pulled[1, 1], away[1, 1] + 3 * (calm[1, 1] - away[1, 1]), atol=1e-3, rtol=1e-2)
    assert (pulled[1, 1] - calm[1, 1]).abs().max().item() > 1e-3
