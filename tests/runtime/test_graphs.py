"""Graphs of calls: when one is captured, that replays see each call's own inputs, and what a failure does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from eddyline_kernels import backend
from eddyline_runtime.conditioning import RowWords, TextCache
from eddyline_runtime.config import GraphConfig
from eddyline_runtime.dreamer import Dreamer
from eddyline_runtime.model.streamdit import Conditioning
from eddyline_runtime.networks.graphs import GraphedModel, Shape, next_step, shape_of
from eddyline_runtime.weights import World

CONFIG = GraphConfig(max_graphs=2, plain_calls=1)
FRAMES = 4
ONE = Shape(rows=1, frames=FRAMES, texts=1, tokens=24)


class Recorder:
    """Captures as CUDA does: the call runs while it is captured, a replay does the same on the same memory."""

    def __init__(self) -> None:
        self.captured = 0
        self.replayed = 0

    def __call__(self, call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        self.captured += 1
        result = call().fill_(torch.nan)  # capturing computes nothing

        def replay() -> Tensor:
            self.replayed += 1
            return result.copy_(call())

        return replay


@pytest.mark.parametrize(
    ("calls", "kept", "config", "step"),
    [
        (0, [], CONFIG, "plain"),
        (1, [], CONFIG, "capture"),
        (1, [replace(ONE, rows=2)], CONFIG, "capture"),
        (1, [ONE], CONFIG, "replay"),
        (9, [], replace(CONFIG, max_graphs=0), "plain"),
        (4, [], replace(CONFIG, plain_calls=5), "plain"),
    ],
)
def test_a_shape_is_captured_once_it_came_often_enough(
    calls: int, kept: list[Shape], config: GraphConfig, step: str
) -> None:
    assert next_step(ONE, calls=calls, kept=kept, config=config) == step


def call(world: World, texts: list[str], *, rows: int = 1, seed: int = 0) -> tuple[Tensor, Tensor, Conditioning]:
    """Inputs of a call whose frames are under `texts` in turn, projected as on a GPU."""
    sizes = world.card.model
    cache = TextCache(
        world.text_encoder,
        capacity=8,
        device=torch.device("cpu"),
        dtype=torch.float32,
        refine=world.model.refine,
        project=world.model.project,
    )
    encoded = [cache.get(text) for text in texts]
    words = Conditioning(
        text=torch.stack([text.states for text in encoded]),
        text_mask=torch.stack([text.mask for text in encoded]),
        text_index=(torch.arange(FRAMES) % len(texts)).expand(rows, -1),
        actions=torch.zeros(rows, 1, sizes.action_dim).expand(-1, FRAMES, -1),
        stride=torch.ones(rows, FRAMES, dtype=torch.int64),
        refined=True,
        projected=cache.project(texts),
    )
    generator = torch.Generator().manual_seed(seed)
    shape = (sizes.latent_channels, sizes.latent_height, sizes.latent_width)
    latents = torch.randn(rows, FRAMES, *shape, generator=generator)
    return latents, torch.rand(rows, FRAMES, generator=generator), words


def test_the_shape_of_a_call_has_room_for_a_power_of_two_of_texts(tiny: World) -> None:
    for count, room in ((1, 2), (2, 2), (3, 4)):
        latents, _, words = call(tiny, [f"text {number}" for number in range(count)], rows=2)
        assert shape_of(latents, words) == Shape(rows=2, frames=FRAMES, texts=room, tokens=24)


def test_replays_answer_each_call_as_the_network_does(tiny: World) -> None:
    recorder = Recorder()
    model = GraphedModel(tiny.model, CONFIG, capture=recorder)
    calls = [
        call(tiny, ["a fox", "a pig", "rain"], seed=0),
        call(tiny, ["a fox", "a pig", "rain"], seed=1),
        call(tiny, ["snow", "night", "a bell", "dawn"], seed=2),
        call(tiny, ["a pig", "a fox", "dust"], seed=3),
    ]
    with torch.inference_mode():
        expected = [tiny.model(*given) for given in calls]
    given = [model(*given) for given in calls]
    assert (recorder.captured, recorder.replayed) == (1, 3)
    for ours, plain in zip(given, expected, strict=True):
        assert torch.equal(ours, plain)


def test_as_many_graphs_are_kept_as_were_asked_for_and_the_least_recent_goes(tiny: World) -> None:
    recorder = Recorder()
    model = GraphedModel(tiny.model, CONFIG, capture=recorder)
    one, two, three = (call(tiny, ["a fox"], rows=rows) for rows in (1, 2, 3))
    for given in (one, one, two, two, one, three, three):
        model(*given)
    assert recorder.captured == 3
    model(*one)
    assert recorder.captured == 3, "one was used after two"
    model(*two)
    assert recorder.captured == 3, "its graph is gone, and so is the memory that it came before"
    model(*two)
    assert recorder.captured == 4


def test_a_capture_that_fails_is_told_once_and_the_network_goes_on(
    tiny: World, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    model = GraphedModel(tiny.model, CONFIG, capture=failing)
    given = call(tiny, ["a fox"])
    with torch.inference_mode():
        expected = tiny.model(*given)
    for _ in range(4):
        assert torch.equal(model(*given), expected)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "the network is called without CUDA graphs, which is slower: operation not permitted when stream is capturing"
    ]


def test_kernels_that_a_replay_launches_are_counted(tiny: World, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    model = GraphedModel(tiny.model, CONFIG, capture=recorder)
    given = call(tiny, ["a fox"])
    model(*given)
    forward = tiny.model.forward

    def launching(*arguments: Tensor) -> Tensor:
        backend.launches["some kernel"] += 1
        return forward(*arguments)

    monkeypatch.setattr(tiny.model, "forward", launching)
    model(*given)
    monkeypatch.undo()
    before = backend.launches["some kernel"]
    model(*given)
    assert backend.launches["some kernel"] == before + 1
    del backend.launches["some kernel"]


def test_a_dreamer_on_a_cpu_captures_nothing_of_itself(tiny: World) -> None:
    row = RowWords(texts=("a fox",) * FRAMES, actions=(0.0,) * 5, stride=1)
    latents, tau, _ = call(tiny, ["a fox"])
    recorder = Recorder()
    plain, graphed = Dreamer(tiny, text_cache=2), Dreamer(tiny, text_cache=2, graphs=CONFIG, capture=recorder)
    with torch.inference_mode():
        for _ in range(3):
            assert torch.equal(graphed.velocity([row])(latents, tau), plain.velocity([row])(latents, tau))
    assert (recorder.captured, recorder.replayed) == (1, 2)
