"""Calls of StreamDiT captured as CUDA graphs: a GPU replays some thousand launches without Python in between.

A graph is of one shape of call and reads memory of its own, into which the inputs of each call are copied. Whether to
capture is a pure function; the capture itself is an argument.

Shapes: B batch, F latent frames, C channels, Y X latent height and width, T texts, L text tokens.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Literal
from weakref import ReferenceType, WeakSet, ref

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_kernels import backend
from eddyline_runtime.config import GraphConfig
from eddyline_runtime.model.streamdit import Conditioning, ProjectedTexts, StreamDiT

Call = Callable[[], Tensor]
Capture = Callable[[Call], Call]
"""Given a call, returns one that does the same work again, on the same memory, and gives the same tensor anew."""

CHANGING = 2
"""Of the tensors of a call, latents and tau: the others stay while the words and keys do."""
SEEN_SHAPES = 256
"""Shapes whose calls are counted; when there are more, counting begins anew."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shape:
    """What makes two calls of one network one graph."""

    rows: int
    frames: int
    texts: int
    """Places for texts, a power of two and one for each row at least: how many are in force changes all the time."""
    tokens: int


def shape_of(latents: Float[Tensor, "B F C Y X"], words: Conditioning) -> Shape:
    """The shape of a call."""
    rows, frames = latents.shape[:2]
    texts, tokens = words.text_mask.shape
    return Shape(rows, frames, 1 << (max(texts, rows) - 1).bit_length(), tokens)


def next_step(
    shape: Shape, *, calls: int, kept: Collection[Shape], config: GraphConfig
) -> Literal["plain", "capture", "replay"]:
    """How to answer a call: `calls` plain ones of this shape came before, graphs of the shapes `kept` are there."""
    if shape in kept:
        return "replay"
    return "capture" if config.max_graphs and calls >= config.plain_calls else "plain"


class GraphedModel:
    """StreamDiT to be called as itself, by graphs where calls of one shape come again."""

    def __init__(self, model: StreamDiT, config: GraphConfig, *, capture: Capture) -> None:
        self._model = model
        self._config = config
        self._capture = capture
        self._calls: Counter[Shape] = Counter()
        self._graphs: OrderedDict[Shape, _Graph] = OrderedDict()

    @torch.inference_mode()
    def __call__(
        self, latents: Float[Tensor, "B F C Y X"], tau: Float[Tensor, "B F"], words: Conditioning
    ) -> Float[Tensor, "B F C Y X"]:
        """As `StreamDiT.forward`, for inference."""
        shape = shape_of(latents, words)
        step = next_step(shape, calls=self._calls[shape], kept=self._graphs, config=self._config)
        if step == "capture":
            step = "replay" if self._captured(shape, latents, tau, words) else "plain"
        if step == "replay":
            self._graphs.move_to_end(shape)
            return self._graphs[shape].replayed(latents, tau, words)
        self._calls = self._calls if len(self._calls) < SEEN_SHAPES else Counter()
        self._calls[shape] += 1
        velocity: Tensor = self._model(latents, tau, words)
        return velocity

    def _captured(self, shape: Shape, latents: Tensor, tau: Tensor, words: Conditioning) -> bool:
        """Capture a graph, in the place of the least recently used one if there is no other; False where it fails."""
        while len(self._graphs) >= self._config.max_graphs:
            forgotten, _ = self._graphs.popitem(last=False)
            del self._calls[forgotten]
        try:
            self._graphs[shape] = _Graph(self._model, shape, latents, tau, words, capture=self._capture)
        except Exception as error:  # of CUDA's, cuBLAS's or Triton's making: they have no root of their own
            lines = str(error).strip().splitlines() or [type(error).__name__]
            log.warning("the network is called without CUDA graphs, which is slower: %s", lines[0])
            self._config = replace(self._config, max_graphs=0)
            self._graphs.clear()
            return False
        return True


@dataclass(frozen=True)
class _Inputs:
    """The tensors of a call that the network reads."""

    latents: Tensor
    tau: Tensor
    words: Conditioning

    def tensors(self) -> list[Tensor]:
        """All of them, in an order that is always the same: first the two that change in every call."""
        words, known = self.words, self.words.projected
        texts = [words.text] if known is None else [known.keys_values, known.brief]
        return [self.latents, self.tau, words.text_mask, words.text_index, words.actions, words.stride, *texts]

    def held(self, texts: int) -> "_Inputs":
        """Memory for such calls, with places for `texts` texts, of which those that are not given are never read."""

        def places(t: Tensor) -> Tensor:
            return t.new_zeros(texts, *t.shape[1:])

        words, known = self.words, self.words.projected
        return _Inputs(
            _alike(self.latents),
            _alike(self.tau),
            Conditioning(
                text=places(words.text) if known is None else words.text,
                text_mask=places(words.text_mask),
                text_index=_alike(words.text_index),
                actions=_alike(words.actions),
                stride=_alike(words.stride),
                refined=words.refined,
                projected=None if known is None else ProjectedTexts(places(known.keys_values), places(known.brief)),
            ),
        )


class _Graph:
    """One captured call and its memory."""

    def __init__(
        self, model: StreamDiT, shape: Shape, latents: Tensor, tau: Tensor, words: Conditioning, *, capture: Capture
    ) -> None:
        given = _Inputs(latents, tau, words)
        self._inputs = given.held(shape.texts)
        self._words: ReferenceType[Conditioning] | None = None
        """Those it has in its own memory; what was made of their texts is large, and not to be kept twice."""
        self._take(given)

        before = backend.launches.copy()

        def call() -> Tensor:
            nonlocal before
            before = backend.launches.copy()
            velocity: Tensor = model(self._inputs.latents, self._inputs.tau, self._inputs.words)
            return velocity

        self._replay = capture(call)
        self._launched = backend.launches - before  # of the last call, which was captured

    def replayed(self, latents: Tensor, tau: Tensor, words: Conditioning) -> Tensor:
        """The answer to a call, in memory of its own."""
        self._take(_Inputs(latents, tau, words))
        velocity = self._replay().clone()
        backend.launches.update(self._launched)
        return velocity

    def _take(self, given: _Inputs) -> None:
        pairs = [*zip(self._inputs.tensors(), given.tensors(), strict=True)]
        same_words = self._words is not None and given.words is self._words()  # whose tensors nobody changes
        for mine, theirs in pairs[:CHANGING] if same_words else pairs:
            mine[: len(theirs)].copy_(theirs)
        self._words = ref(given.words)


def _alike(t: Tensor) -> Tensor:
    """Memory for such a tensor, contiguous also where it is one number seen many times."""
    return torch.zeros(t.shape, dtype=t.dtype, device=t.device)


class CudaCapture:
    """Captures calls on a GPU. Graphs share one pool of memory, since they are replayed one after the other, and a
    stream of their own: what cuBLAS keeps for a stream is within the graphs that were captured on it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        self._graphs: WeakSet[torch.cuda.CUDAGraph] = WeakSet()

    def __call__(self, call: Call) -> Call:
        """Call once to warm up, once to capture; raises whatever CUDA does."""
        with torch.cuda.device(self._device):
            call()
            self._stream = self._stream or torch.cuda.Stream()
            graph = torch.cuda.CUDAGraph()
            # a pool whose graphs have all gone cannot be captured into again
            pool = next((other.pool() for other in self._graphs), None)
            # torch's own context of a capture that fails stays in the stream; other threads may use the GPU meanwhile
            with (
                torch.cuda.stream(self._stream),
                torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"),
            ):
                velocity = call()
        self._graphs.add(graph)

        def replay() -> Tensor:
            graph.replay()
            return velocity

        return replay
