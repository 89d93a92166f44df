"""What guidance pulls away from: no text, the standing prompt while an event is live, the actions held before."""

import dataclasses

import pytest
import torch

from eddyline_runtime.conditioning import UNCONDITIONAL, Away, RowWords, TextCache, conditioning
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
    cache = TextCache(
        world.text_encoder, capacity=8, device=torch.device("cpu"), dtype=torch.float32, refine=world.model.refine
    )
    left, none = (1.0, 0.0, 0.0, 0.0, 0.0), (0.0,) * 5
    row = RowWords(texts=("a", "b"), actions=left, stride=2, away=(Away(("", "a"), none, (1.0, 2.0)),))
    words = conditioning([row, dataclasses.replace(row, stride=4)], cache, device=torch.device("cpu"))
    assert words.stride.tolist() == [[2, 2], [4, 4], [2, 2], [4, 4]]
    assert words.actions[:, 1].tolist() == [[*left], [*left], [*none], [*none]]
    assert words.text_index.shape == (4, 2)
    towards, away = words.text[words.text_index[0]], words.text[words.text_index[2]]
    assert torch.equal(towards[0], cache.get("a").states)
    assert torch.equal(away[0], cache.get(UNCONDITIONAL).states)
    assert torch.equal(away[1], cache.get("a").states)
    assert not torch.equal(towards[1], away[1])


def test_words_that_stay_the_same_are_put_on_the_device_once_and_their_texts_stay_known(world: World) -> None:
    dreamer = Dreamer(world, text_cache=2)
    seen = []
    watch = world.model.register_forward_pre_hook(lambda model, given: seen.append(given[2]))
    row = RowWords(texts=("a", "a"), actions=(0.0,) * 5, stride=1)
    sizes = world.card.model
    latents = torch.zeros(1, 2, sizes.latent_channels, sizes.latent_height, sizes.latent_width)

    def call(row: RowWords) -> None:
        dreamer.velocity([row])(latents, torch.full((1, 2), 0.5))

    try:
        for other in ("b", "c"):
            call(row)
            dreamer.texts.get(other)
        call(dataclasses.replace(row))
        call(dataclasses.replace(row, stride=2))
    finally:
        watch.remove()
    assert seen[0] is seen[1] is seen[2]
    assert seen[3] is not seen[2]
    assert dreamer.texts.encoded == 3, "a was in use all the time, so b went"


def test_only_rows_that_are_guided_take_further_rows_and_what_these_add_is_summed(world: World) -> None:
    dreamer = Dreamer(world, text_cache=8)
    left, none = (1.0, 0.0, 0.0, 0.0, 0.0), (0.0,) * 5
    plain = RowWords(texts=("a", "a, rain"), actions=left, stride=1)
    by_words, by_actions = Away(("", "a"), left, (1.0, 3.0)), Away(plain.texts, none, (5.0, 5.0))
    sizes = world.card.model
    shape = (sizes.latent_channels, sizes.latent_height, sizes.latent_width)
    latents, tau = torch.randn(1, 2, *shape, generator=torch.Generator().manual_seed(0)), torch.full((1, 2), 0.5)
    rows_seen = []
    watch = world.model.register_forward_pre_hook(lambda model, given: rows_seen.append(len(given[0])))

    def velocity(row: RowWords) -> torch.Tensor:
        with torch.inference_mode():
            return dreamer.velocity([plain, row])(latents.expand(2, -1, -1, -1, -1), tau.expand(2, -1))[1]

    try:
        calm = velocity(plain)
        without_event = velocity(dataclasses.replace(plain, texts=("", "a")))
        without_key = velocity(dataclasses.replace(plain, actions=none))
        eventful = velocity(dataclasses.replace(plain, away=(by_words,)))
        both = velocity(dataclasses.replace(plain, away=(by_words, by_actions)))
    finally:
        watch.remove()
    assert rows_seen == [2, 2, 2, 3, 4]
    pulled = calm[1] + 2 * (calm[1] - without_event[1])
    torch.testing.assert_close(eventful[0], calm[0], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(eventful[1], pulled, atol=1e-3, rtol=1e-2)
    torch.testing.assert_close(both[1], pulled + 4 * (calm[1] - without_key[1]), atol=2e-3, rtol=1e-2)
    assert (eventful[1] - calm[1]).abs().max().item() > 1e-3
    assert (both[1] - eventful[1]).abs().max().item() > 1e-3


def test_noise_is_left_on_the_host_until_all_views_have_theirs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    dreamer = Dreamer(world, text_cache=2)
    monkeypatch.setattr(dreamer, "device", torch.device("meta"))
    assert dreamer.noise(seed=0, epoch=0, first=0, frames=2).is_cpu
