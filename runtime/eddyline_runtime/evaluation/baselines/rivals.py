"""The rivals by name, at their published defaults and swept, and dreams of scenes by them.

What they cost is told in network calls per second of video, as for the engine: a call is one window of latent frames
of one scene that the network sees once. Scenes of a batch are counted one by one, so are the windows of a tick of
FIFO-Diffusion, and guidance counts twice, for the network then sees the window without the words too.

Shapes: B scenes, F latent frames, C channels, Y X latent height and width, T frames, H W picture height and width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from eddyline.errors import ConfigError, OptionError
from eddyline_runtime.conditioning import UNCONDITIONAL, Away, RowWords
from eddyline_runtime.dreamer import Dreamer
from eddyline_runtime.evaluation.baselines.clip import ClipAfterClip
from eddyline_runtime.evaluation.baselines.fifo import Fifo
from eddyline_runtime.evaluation.baselines.method import Method
from eddyline_runtime.evaluation.baselines.reuse_and_diffuse import ReuseAndDiffuse
from eddyline_runtime.model.codec import DecoderState
from eddyline_runtime.prompts import Slot
from eddyline_runtime.weights import World


@runtime_checkable
class Prompted(Protocol):
    """A scene, as far as a rival needs it."""

    @property
    def prompt(self) -> str:
        """What the scene shows, in words."""
        ...


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A method with its settings and guidance.

    Raises:
        ConfigError: guidance below 1.
    """

    name: str
    method: Method
    guidance_scale: float = 1.0
    """1 is none, for weights that have guidance in their targets; others take the scale their teacher takes."""

    def __post_init__(self) -> None:
        if not 1.0 <= self.guidance_scale < math.inf:
            raise ConfigError(f"guidance_scale of {self.name} is {self.guidance_scale}; use 1 for none, or more")

    @property
    def sights(self) -> int:
        """How often the network sees each window: with guidance twice."""
        return 1 if self.guidance_scale == 1.0 else 2


@dataclass(frozen=True)
class RivalDreams:
    """What a rival made of some scenes."""

    frames: list[NDArray[np.uint8]]
    """RGB pictures [T, H, W, 3] of each scene."""
    calls_per_second: float
    """Network calls per second of video, once the video runs."""
    opening_calls: int
    """Network calls before that, which give no frame."""


def _by_name(*rivals: Rival) -> dict[str, Rival]:
    return {rival.name: rival for rival in rivals}


RIVALS = _by_name(
    Rival(name="fifo", method=Fifo()),
    Rival(name="reuse_and_diffuse", method=ReuseAndDiffuse()),
    Rival(name="clip", method=ClipAfterClip()),
)
"""At the published defaults, with windows of eight latent frames."""

SWEEP = _by_name(
    *(
        Rival(
            name=f"fifo-n{partitions}" + ("" if lookahead else "-plain"),
            method=Fifo(partitions=partitions, lookahead=lookahead),
        )
        for partitions in (1, 2, 4, 8)
        for lookahead in (True, False)
        if (partitions, lookahead) != (4, True)
    ),
    Rival(name="fifo-eta1", method=Fifo(fresh_noise=1.0)),
    *(Rival(name=f"reuse_and_diffuse-t{steps}", method=ReuseAndDiffuse(steps=steps)) for steps in (16, 32, 64)),
    *(Rival(name=f"reuse_and_diffuse-m{m}", method=ReuseAndDiffuse(overlap_frames=m)) for m in (1, 2)),
    *(Rival(name=f"reuse_and_diffuse-a{a}", method=ReuseAndDiffuse(noise_reuse=float(a))) for a in (0, 1)),
    *(Rival(name=f"reuse_and_diffuse-b{b}", method=ReuseAndDiffuse(guided_share=b / 10)) for b in (2, 8)),
    *(Rival(name=f"clip-t{steps}", method=ClipAfterClip(steps=steps)) for steps in (16, 32, 64)),
    *(Rival(name=f"clip-k{k}", method=ClipAfterClip(reference_frames=k)) for k in (1, 4)),
)
"""One setting after another moved away from the default: FIFO's partitions n (8 n steps) with lookahead and without,
and DDIM's eta; the steps t of the others; the overlap m, noise reuse a and guided share b (in tenths) of Reuse and
Diffuse; reference frames k of clip after clip."""


@torch.inference_mode()
def dream_rival(
    world: World,
    scenes: Sequence[Prompted],
    *,
    frames: int,
    rival: Rival,
    seed: int,
    batch: int = 8,
) -> RivalDreams:
    """Dream `frames` frames of each scene the rival's way; scene i has seed `seed + i`, all keys are up.

    Args:
        batch: scenes dreamed together.

    Raises:
        OptionError: `frames` or `batch` is below 1.
    """
    if min(frames, batch) < 1:
        raise OptionError(f"frames={frames} and batch={batch} must be 1 or more")
    per_latent, fps = world.card.codec.frames_per_latent, world.card.fps
    dreamed: list[NDArray[np.uint8]] = []
    with tqdm(total=len(scenes) * frames, desc=f"{rival.name} dreams", unit="frame") as bar:
        for first in range(0, len(scenes), batch):
            group = [scene.prompt for scene in scenes[first : first + batch]]
            dreamed += _dream_group(world, group, frames=frames, rival=rival, seed=seed + first, bar=bar)
    return RivalDreams(
        frames=dreamed,
        calls_per_second=rival.sights * rival.method.calls_per_latent * fps / per_latent,
        opening_calls=rival.sights * rival.method.opening_calls,
    )


def _dream_group(
    world: World, prompts: Sequence[str], *, frames: int, rival: Rival, seed: int, bar: tqdm
) -> list[NDArray[np.uint8]]:
    """The frames of some scenes that are rows of one batch, decoded as streams."""
    dreamer = Dreamer(world, text_cache=len(prompts) + 1)
    velocity_fn = dreamer.velocity([_words(dreamer, prompt, rival, world) for prompt in prompts])

    def noise(first: int, count: int) -> Tensor:
        rows = [dreamer.noise(seed=seed + row, epoch=0, first=first, frames=count) for row in range(len(prompts))]
        return torch.stack(rows).to(dreamer.device)

    decoders: list[DecoderState] = []
    pieces: list[NDArray[np.uint8]] = []
    made = 0
    for clean in rival.method.stream(velocity_fn, noise):
        decoders = decoders or [dreamer.start_decoder(row[:0], row) for row in clean]
        decoded, decoders = dreamer.decode(clean, decoders)
        pieces.append(decoded[:, : frames - made])
        made += pieces[-1].shape[1]
        bar.update(len(prompts) * pieces[-1].shape[1])
        if made == frames:
            break
    return list(np.concatenate(pieces, axis=1))


def _words(dreamer: Dreamer, prompt: str, rival: Rival, world: World) -> RowWords:
    """A scene's row: its prompt over every latent frame of a window, guided away from no text, no key held."""
    frames = rival.method.clip_frames
    none = (0.0,) * len(world.card.action_names)
    away = Away((UNCONDITIONAL,) * frames, none, (rival.guidance_scale,) * frames)
    return RowWords(
        texts=(dreamer.text(Slot(prompt)),) * frames,
        actions=none,
        stride=1,
        away=() if rival.guidance_scale == 1.0 else (away,),
    )
