"""Graphs of calls: when one is captured, that replays see each call's own inputs, and what a failure does."""

from __future__ import annotations

import logging
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from eddyline_kernels import backend
from eddyline_runtime.conditioning import RowWords, TextCache
from eddyline_runtime.config import GraphConfig
from eddyline_runtime.dreamer import Dreamer
from eddyline_runtime.model.streamdit import Conditioning
from eddyline_runtime.networks.graphs import CudaCapture, GraphedModel, Shape, next_step, shape_of
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


@dataclass
class Gpu:
    """As much of torch.cuda as a capture asks for, with two of its rules: a pool whose graphs have all gone cannot be
    captured into again, and a capture that fails leaves its stream in place."""

    device: int = 0
    stream: object = "the first"
    users: Counter[object] = field(default_factory=Counter)
    """Graphs of each pool."""
    captured: list[tuple[int, object, object]] = field(default_factory=list)
    """Device, stream and pool of each capture."""

    class Graph:
        """A CUDA graph."""

        def __init__(self) -> None:
            self.used: object = None

        def pool(self) -> object:
            """Its pool."""
            return self.used

        def replay(self) -> None:
            """Do what was captured."""

    class Stream:
        """A stream of the device that is in use when it is made."""

        def __init__(self, device: int) -> None:
            self.device = device

    @contextmanager
    def on_device(self, device: torch.device) -> Iterator[None]:
        """As `torch.cuda.device`."""
        before, self.device = self.device, device.index
        yield
        self.device = before

    @contextmanager
    def in_stream(self, stream: object) -> Iterator[None]:
        """As `torch.cuda.stream`."""
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before

    @contextmanager
    def capturing(self, graph: Graph, *, pool: object, stream: Stream, **options: object) -> Iterator[None]:
        """As `torch.cuda.graph`."""
        assert stream.device == self.device, "what runs on another device is not captured"
        before, self.stream = self.stream, stream
        if pool is not None and not self.users[pool]:
            raise RuntimeError("it->second->use_count > 0 INTERNAL ASSERT FAILED")
        yield
        graph.used = object() if pool is None else pool
        self.users[graph.used] += 1
        weakref.finalize(graph, self.users.subtract, [graph.used])
        self.captured.append((self.device, stream, graph.used))
        self.stream = before


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """Takes the place of torch.cuda."""
    gpu = Gpu()
    fakes: dict[str, Any] = {
        "device": gpu.on_device,
        "stream": gpu.in_stream,
        "graph": gpu.capturing,
        "CUDAGraph": Gpu.Graph,
        "Stream": lambda: Gpu.Stream(gpu.device),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return gpu


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


def test_a_graph_keeps_no_words_beside_its_own_memory_of_them(tiny: World) -> None:
    model = GraphedModel(tiny.model, CONFIG, capture=Recorder())
    latents, tau, words = call(tiny, ["a fox"])
    for _ in range(3):
        model(latents, tau, words)
    gone = weakref.ref(words)
    del words
    assert gone() is None


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


def test_what_is_captured_takes_no_numbers_from_the_host(tiny: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain torch's window attention included, which computes on a GPU without Triton."""
    given = call(tiny, ["a fox"])
    with torch.inference_mode():
        tiny.model(*given)
        for name in ("tensor", "as_tensor", "from_numpy"):
            monkeypatch.setattr(torch, name, None)
        tiny.model(*given)


def test_captures_share_a_pool_while_a_graph_of_it_lives_and_always_a_stream(gpu: Gpu) -> None:
    capture = CudaCapture(torch.device("cuda", 1))
    first, second = (capture(lambda: torch.zeros(1)) for _ in range(2))
    del first
    third = capture(lambda: torch.zeros(1))
    del second, third
    fourth = capture(lambda: torch.zeros(1))
    assert torch.equal(fourth(), torch.zeros(1))
    devices, streams, pools = zip(*gpu.captured, strict=True)
    assert devices == (1,) * 4
    assert len(set(streams)) == 1
    assert pools[0] == pools[1] == pools[2] != pools[3]


def test_captures_on_two_devices_are_each_on_a_stream_of_their_own(gpu: Gpu) -> None:
    captures = [CudaCapture(torch.device("cuda", number)) for number in range(2)]
    for capture in (*captures, *captures):
        capture(lambda: torch.zeros(1))
    assert [device for device, _, _ in gpu.captured] == [0, 1, 0, 1]


def test_after_a_capture_that_failed_the_thread_is_in_its_stream_again(gpu: Gpu) -> None:
    before = gpu.stream

    def call() -> Tensor:
        if gpu.stream is not before:
            raise RuntimeError("operation not permitted when stream is capturing")
        return torch.zeros(1)

    with pytest.raises(RuntimeError, match="not permitted"):
        CudaCapture(torch.device("cuda", 0))(call)
    assert gpu.stream is before
