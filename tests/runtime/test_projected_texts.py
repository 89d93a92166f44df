"""What the network makes of texts, made once and kept: the same answer, in bounded memory."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from eddyline_runtime.conditioning import RowWords, TextCache, conditioning
from eddyline_runtime.model.streamdit import Conditioning, StreamDiT, fused_attention, plain_attention
from eddyline_runtime.networks.difference import noise
from eddyline_runtime.weights import World

CPU = torch.device("cpu")
FRAMES = 4
TEXTS = ("a fox walks", "rain", "", "a bell rings at night")


def text_cache(world: World, **options: int) -> TextCache:
    refine, project = world.model.refine, world.model.project
    return TextCache(
        world.text_encoder,
        device=CPU,
        dtype=torch.float32,
        refine=refine,
        project=project,
        **{"capacity": 8, **options},
    )


def words(world: World, cache: TextCache) -> Conditioning:
    row = RowWords(texts=TEXTS, actions=(0.0,) * world.card.model.action_dim, stride=1)
    return conditioning([row, dataclasses.replace(row, texts=TEXTS[::-1])], cache, device=CPU)


def test_the_network_answers_the_same_with_what_it_made_of_the_texts_before(tiny: World) -> None:
    given = words(tiny, text_cache(tiny))
    assert given.projected is not None
    unread = dataclasses.replace(given, text=torch.full_like(given.text, torch.nan))
    latents, tau = noise(tiny, 2, FRAMES, seed=0), torch.linspace(0.9, 0.1, FRAMES).expand(2, -1)
    with torch.inference_mode():
        expected = tiny.model(latents, tau, dataclasses.replace(given, projected=None))
        torch.testing.assert_close(tiny.model(latents, tau, unread), expected, rtol=1e-4, atol=1e-5)


def test_texts_that_were_refined_when_they_were_kept_are_read_as_those_refined_in_the_call(tiny: World) -> None:
    torch.manual_seed(0)
    model = StreamDiT(dataclasses.replace(tiny.card.model, refiner_depth=1)).requires_grad_(False)
    model.load_state_dict({**model.state_dict(), **tiny.model.state_dict()})
    for layer in model.text_refiner.parameters():
        layer.add_(torch.randn_like(layer) * 0.1)
    world = dataclasses.replace(tiny, model=model)
    kept = words(world, text_cache(world))
    encoded = [tiny.text_encoder.encode([text]) for text in TEXTS]
    raw = torch.cat([text.states for text in encoded])
    assert kept.refined
    assert not torch.equal(kept.text, raw)
    latents, tau = noise(tiny, 2, FRAMES, seed=0), torch.linspace(0.9, 0.1, FRAMES).expand(2, -1)
    with torch.inference_mode():
        expected = model(latents, tau, dataclasses.replace(kept, text=raw, refined=False, projected=None))
        torch.testing.assert_close(model(latents, tau, kept), expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(
            tiny.model(latents, tau, dataclasses.replace(kept, text=raw, projected=None)), expected
        )


def test_a_text_goes_through_the_network_once_and_alone(tiny: World) -> None:
    cache = text_cache(tiny)
    first, again = words(tiny, cache), words(tiny, cache)
    assert cache.projected == len(TEXTS)
    alone = text_cache(tiny).project(TEXTS[1:2])
    assert first.projected is not None
    assert again.projected is not None
    assert alone is not None
    assert torch.equal(first.projected.keys_values, again.projected.keys_values)
    assert torch.equal(first.projected.keys_values[1:2], alone.keys_values), "whoever else is there"


def test_no_more_is_kept_than_fits_and_the_least_recent_goes(tiny: World) -> None:
    one = text_cache(tiny).project(TEXTS[:1])
    assert one is not None
    cache = text_cache(tiny, projected_bytes=one.keys_values.nbytes * 2)
    for text in ("a", "b", "a", "c", "a"):
        cache.project([text])
    assert cache.projected == 3
    cache.project(["b"])
    assert cache.projected == 4, "it went when c came"
    narrow = text_cache(tiny, projected_bytes=1)
    together = narrow.project(TEXTS)
    assert together is not None
    assert len(together.brief) == len(TEXTS), "a batch has what it needs, whatever is kept"


def test_without_a_network_that_reads_them_texts_are_encoded_alone(tiny: World) -> None:
    cache = TextCache(tiny.text_encoder, capacity=8, device=CPU, dtype=torch.float32, refine=tiny.model.refine)
    assert words(tiny, cache).projected is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_attention_to_the_text_is_the_plain_one(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 3, 5, 4, 16, generator=generator).to(dtype).transpose(2, 3)
    k, v = torch.randn(2, 2, 3, 4, 7, 16, generator=generator).to(dtype)
    seen = (torch.arange(7) < torch.tensor([[1, 7, 4], [2, 3, 7]])[..., None])[:, :, None, None]
    ours, plain = fused_attention(q, k, v, seen), plain_attention(q, k, v, seen)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(ours, plain, rtol=tolerance, atol=tolerance)
