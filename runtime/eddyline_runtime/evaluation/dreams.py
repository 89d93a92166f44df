"""Dreaming scenes for measurement: many in lockstep through the real engine, as fast as it can.

Shapes: T frames, H W picture height and width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from eddyline_runtime.config import EngineConfig
from eddyline_runtime.engine import Engine
from eddyline_runtime.model.codec import Codec, DecoderState
from eddyline_runtime.outcomes import Told
from eddyline_runtime.prompts import Note, Wish
from eddyline_runtime.view import Chunk
from eddyline_runtime.weights import World

Frames = NDArray[np.uint8]
"""RGB pictures [T, H, W, 3]."""
BATCH = 8
"""Scenes dreamed together: more gain nothing on a processor without a GPU."""


@dataclass(frozen=True, kw_only=True)
class Cue:
    """What happens to a dream before the first chunk that begins at frame `at` or later: words are said, other keys are
    held, the newest chunk is bookmarked."""

    at: int
    words: Wish | None = None
    keys: tuple[str, ...] | None = None
    bookmark: str = ""


@dataclass(frozen=True, kw_only=True)
class Script:
    """A dream to be dreamed: its prompt, its noise, the keys held from the start, and what happens on the way."""

    prompt: str
    seed: int
    keys: tuple[str, ...] = ()
    cues: tuple[Cue, ...] = ()


def dream(
    world: World,
    scripts: Sequence[Script],
    *,
    frames: int,
    profile: str,
    watched: Callable[[int], bool] | None = None,
    on_note: Callable[[int, Note], None] = lambda script, note: None,
    batch: int = BATCH,
    progress: str = "dreaming",
) -> Iterator[Frames]:
    """Dream `frames` frames of each script and yield them script by script, whole chunks cut to length.

    Args:
        watched: tells by its first frame whether a chunk is wanted; others are not decoded and left out.
        on_note: is handed what became of the words of each script, by its number, before its frames are yielded.
        batch: scripts dreamed in one batch; which others share it changes a dream by rounding only.
    """
    shutter = _Shutter(world.codec)
    engine = Engine(
        replace(world, codec=shutter), EngineConfig(paced=False, max_views=batch, max_batch=batch), clock=lambda: 0.0
    )  # as fast as it can: no clock is asked
    with tqdm(total=len(scripts) * frames, desc=progress, unit="frame") as bar:
        for first in range(0, len(scripts), batch):
            group = scripts[first : first + batch]
            made: list[list[Frames]] = [[] for _ in group]

            def hear(told: Told, first: int = first) -> None:
                on_note(first + told.view, told.note)

            for begin, chunk in _play(
                engine,
                group,
                shutter,
                frames=frames,
                profile=profile,
                watched=watched,
                on_told=hear,
            ):
                wanted = chunk.frames[: frames - begin]
                bar.update(len(wanted))
                if shutter.open:
                    made[chunk.view].append(wanted)
            yield from (np.concatenate(parts) for parts in made)


def _play(
    engine: Engine,
    scripts: Sequence[Script],
    shutter: "_Shutter",
    *,
    frames: int,
    profile: str,
    watched: Callable[[int], bool] | None,
    on_told: Callable[[Told], None],
) -> Iterator[tuple[int, Chunk]]:
    """The chunks of some scripts, rows of one batch and so equally far, each with the number of frames before it."""
    for view, script in enumerate(scripts):
        engine.open_view(view, prompt=script.prompt, seed=script.seed, profile=profile)
        engine.act(view, dict.fromkeys(script.keys, 1.0))
    made, asked = 0, -1
    while made < frames:
        for view, script in enumerate(scripts):
            for cue in script.cues:
                if asked < cue.at <= made:
                    _follow(engine, view, cue)
        asked = made
        shutter.open = watched is None or watched(made)
        chunks: list[Chunk] = []
        while not chunks:  # while scenes begin, ticks make nothing
            outcomes = engine.tick(0.0)
            chunks = [outcome for outcome in outcomes if isinstance(outcome, Chunk)]
            for told in (outcome for outcome in outcomes if isinstance(outcome, Told)):
                on_told(told)
        assert len(chunks) == len(scripts)
        yield from ((made, chunk) for chunk in chunks)
        made += len(chunks[0].frames)
    for view in range(len(scripts)):
        engine.close_view(view)


def _follow(engine: Engine, view: int, cue: Cue) -> None:
    if cue.bookmark:
        engine.bookmark(view, cue.bookmark, at_s=0.0)
    if cue.words is not None:
        engine.say(view, cue.words)
    if cue.keys is not None:
        engine.act(view, dict.fromkeys(cue.keys, 1.0))


class _Shutter(Codec):
    """A codec that decodes only while `open`; else its frames are black. Decoding remembers one latent frame, so that
    frames after a gap are what they would be without it."""

    def __init__(self, codec: Codec) -> None:
        torch.nn.Module.__init__(self)
        self.config = codec.config
        self.codec = codec
        self.open = True

    def decode(
        self, latents: Float[Tensor, "B F C Y X"], state: DecoderState | None = None
    ) -> tuple[Float[Tensor, "B T 3 H W"], DecoderState]:
        if self.open:
            return self.codec.decode(latents, state)
        rows, count, _, height, width = latents.shape
        cell, depth = self.config.cell_px, self.config.frames_per_latent
        black = latents.new_full((1, 1, 1, 1, 1), -1.0)
        return black.expand(rows, count * depth, 3, height * cell, width * cell), self.state_after(latents)
