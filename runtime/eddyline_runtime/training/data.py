"""Training data: recordings become latents, texts become token states, windows are drawn from both.

Everything about train step i is drawn from a generator keyed by (seed, i): resuming needs no stored random state.

Shapes: B batch, F latent frames, C Y X latent, A actions, T texts, L text tokens, K text channels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from eddyline.errors import TrainingError
from eddyline.recording import RecordedClip, RecordingInfo
from eddyline_runtime.config import Partition
from eddyline_runtime.flow.loss import FlowSample, flow_sample
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.model.streamdit import STRIDES, Conditioning
from eddyline_runtime.model.text_encoder import EncodedText, TextEncoder
from eddyline_runtime.training.recipes import Stage

STRIDED_CLIPS = 3
"""Every third clip is encoded at strides 2 and 4 as well: few windows are drawn there, and encoding takes time."""


@runtime_checkable
class ClipSource(Protocol):
    """A recording, or anything that reads like one."""

    info: RecordingInfo

    def __len__(self) -> int:
        """Number of clips."""
        ...

    def __getitem__(self, index: int) -> RecordedClip:
        """Clip 0 ... len - 1, read anew."""
        ...


class WindowShares(Protocol):
    """What drawing windows needs of a recipe: how often they are drawn in which way, see `recipes.Recipe`."""

    @property
    def text_dropout(self) -> float: ...
    @property
    def action_dropout(self) -> float: ...
    @property
    def hold_action_share(self) -> float: ...
    @property
    def early_text_share(self) -> float: ...
    @property
    def early_action_share(self) -> float: ...
    @property
    def action_change_share(self) -> float: ...
    @property
    def change_share(self) -> float: ...
    @property
    def stride_share(self) -> float: ...


@dataclass(frozen=True)
class LatentClip:
    """One clip as the model sees it, at one frame stride."""

    latents: Float[Tensor, "F C Y X"]
    """float16, on the host."""
    text: tuple[int, ...]
    """Per latent frame, the index of the caption in force at its last frame."""
    actions: Float[Tensor, "F A"]
    """Per latent frame, the actions of its last frame, -1 to 1."""
    stride: int
    """1, 2 or 4."""

    @property
    def changes(self) -> tuple[int, ...]:
        """Latent frames whose caption is not the one before."""
        return tuple(i for i in range(1, len(self.text)) if self.text[i] != self.text[i - 1])

    @property
    def action_changes(self) -> tuple[int, ...]:
        """Latent frames whose actions are not those before."""
        other = (self.actions[1:] != self.actions[:-1]).any(dim=1)
        return tuple((other.nonzero()[:, 0] + 1).tolist())


@dataclass(frozen=True)
class Window:
    """A stretch of a clip, under words and actions as a live stream would have them."""

    clip: LatentClip
    actions_before: Float[Tensor, " A"] | None = None
    """Those at its start, where newer ones are laid over it."""


@dataclass(frozen=True)
class LatentData:
    """All clips of a recording, and the texts they name; text 0 is the unconditional ""."""

    clips: tuple[LatentClip, ...]
    texts: tuple[str, ...]
    encoded: EncodedText

    @cached_property
    def away(self) -> NDArray[np.int64]:
        """What guidance pulls each text away from: the caption that it continues ("..., night falls"), else text 0."""
        away = np.zeros(len(self.texts), np.int64)
        for clip in self.clips:
            for before, text in pairwise(clip.text):
                if self.texts[before] and self.texts[text].startswith(f"{self.texts[before]}, "):
                    away[text] = before
        return away


@dataclass(frozen=True)
class Guidance:
    """What the guidance of a batch pulls away from, and how strongly; towards the words and the held keys."""

    away: Conditioning
    scales: Float[Tensor, "B F"]
    """Per latent frame; 1 is none."""

    def to(self, device: str | torch.device) -> "Guidance":
        """The same on another device."""
        return Guidance(self.away.to(device), self.scales.to(device))


@dataclass(frozen=True)
class Batch:
    """One train step's input: clean windows, how each is cut, and what they are dreamed under."""

    latents: Float[Tensor, "B F C Y X"]
    """As they are kept, in float16."""
    partitions: tuple[Partition, ...]
    conditioning: Conditioning
    generator: torch.Generator
    """For the noise of this step."""
    stage: Stage
    guidance: Guidance | None
    """Where the stage has guidance in its target."""


def frames_to_tensor(frames: np.ndarray, device: str | torch.device = "cpu") -> Float[Tensor, "T 3 H W"]:
    """uint8 [T, H, W, 3] to float32 [T, 3, H, W] in [-1, 1], made on `device`."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
    return pixels.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1.0


@torch.no_grad()
def encode_recording(
    source: ClipSource, *, codec: Codec, text_encoder: TextEncoder, limit: int | None = None, batch: int = 64
) -> LatentData:
    """Encode clips, some at strides 2 and 4 as well, and every caption once, `batch` captions at a time.

    Args:
        limit: take only so many clips, the first ones.

    Raises:
        TrainingError: there are no clips, or none holds a latent frame.
    """
    if not len(source):
        raise TrainingError("the recording has no clips; record some before training")
    texts: dict[str, int] = {"": 0}
    device = codec.linear_in.weight.device
    clips = []
    for index in tqdm(range(len(source))[:limit], desc="encoding frames", unit="clip"):
        clip = source[index]
        for stride in STRIDES if index % STRIDED_CLIPS == 0 else STRIDES[:1]:
            encoded = _encode_clip(clip, stride, codec, texts, device)
            if encoded is not None:
                clips.append(encoded)
    if not clips:
        raise TrainingError(f"no clip has {codec.config.frames_per_latent} frames; record longer clips")
    names = tuple(texts)
    parts = [
        text_encoder.encode(names[i : i + batch]) for i in tqdm(range(0, len(names), batch), desc="encoding captions")
    ]
    encoded_text = EncodedText(
        torch.cat([p.states for p in parts]).half(),
        torch.cat([p.mask for p in parts]),
        torch.cat([p.pooled for p in parts]),
    )
    return LatentData(tuple(clips), names, encoded_text)


def _encode_clip(
    clip: RecordedClip, stride: int, codec: Codec, texts: dict[str, int], device: torch.device
) -> LatentClip | None:
    """One clip at one stride, None where it is too short; new captions are numbered in `texts`."""
    depth = codec.config.frames_per_latent
    count = len(clip.frames[::stride]) // depth * depth
    if count == 0:
        return None
    frames = frames_to_tensor(clip.frames[::stride][:count], device)
    last = [(i + 1) * depth * stride - stride for i in range(count // depth)]
    return LatentClip(
        latents=codec.encode(frames[None])[0].half().cpu().contiguous(),  # as they come back from disk
        text=tuple(texts.setdefault(clip.captions[frame], len(texts)) for frame in last),
        actions=torch.from_numpy(clip.actions[last]).float(),
        stride=stride,
    )


def draw_batch(data: LatentData, *, recipe: WindowShares, stage: Stage, seed: int, step: int) -> Batch:
    """The windows of train step `step`: the same numbers draw the same batch, in any process and on any device.

    Raises:
        TrainingError: no clip is long enough for the stage, or none stays under one caption for so long where the
            stage wants that.
    """
    rng = np.random.default_rng((seed, step))
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    weights = np.array([entry.weight for entry in stage.mix])
    mix = rng.choice(len(stage.mix), size=stage.batch, p=weights / weights.sum())
    partitions = tuple(stage.mix[i].partition for i in mix)
    drawn = [_draw_window(data, recipe, partition, rng, steady=stage.steady) for partition in partitions]
    windows = [window.clip for window in drawn]
    towards = np.array([w.text for w in windows])
    standing = data.away[towards] if stage.event_guidance_scale is not None else np.zeros_like(towards)
    event = standing != 0
    pressed = np.array([[w.actions_before is not None and stage.action_guidance_scale != 1.0] for w in drawn]) & ~event
    away = np.where(pressed, towards, standing)
    scales = np.select([event, pressed], [stage.scale(event=True), stage.action_guidance_scale], stage.guidance_scale)
    guided = bool((scales != 1.0).any())
    texts, index = np.unique(np.stack([towards, away]) if guided else towards[None], return_inverse=True)
    text_index = torch.from_numpy(index.reshape(-1, stage.batch, stage.frames))
    mask = data.encoded.mask[texts]
    longest = int(mask.sum(1).max())  # padding costs time and changes nothing
    conditioning = Conditioning(
        text=data.encoded.states[texts, :longest],
        text_mask=mask[:, :longest],
        text_index=text_index[0],
        actions=torch.stack([w.actions for w in windows]),
        stride=torch.tensor([[w.stride] * stage.frames for w in windows]),
    )
    return Batch(
        latents=torch.stack([w.latents for w in windows]),
        partitions=partitions,
        conditioning=conditioning,
        generator=generator,
        stage=stage,
        guidance=Guidance(
            away=_away_from(conditioning, text_index[1], drawn, event=event, pressed=pressed),
            scales=torch.from_numpy(scales).float(),
        )
        if guided
        else None,
    )


def noised(batch: Batch, latents: Float[Tensor, "B F C Y X"]) -> FlowSample:
    """The windows of a batch, which are `latents` on the device they train on, noised as its stage wants them."""
    stage = batch.stage
    return flow_sample(
        latents,
        batch.partitions,
        batch.generator,
        denoise_steps=stage.denoise_steps,
        one_chunk_tau=stage.one_chunk_tau,
    )


def _away_from(
    conditioning: Conditioning,
    text_index: Int[Tensor, "B F"],
    windows: Sequence[Window],
    *,
    event: NDArray[np.bool_],
    pressed: NDArray[np.bool_],
) -> Conditioning:
    """What guidance pulls away from: no text and no action; at an event the caption that it continues; under keys newer
    than what a window shows those before."""
    held = conditioning.actions
    before = torch.stack(
        [held.new_zeros(held.shape[2]) if w.actions_before is None else w.actions_before for w in windows]
    )
    actions = torch.from_numpy(pressed)[..., None] * before[:, None] + torch.from_numpy(event)[..., None] * held
    return replace(conditioning, text_index=text_index, actions=actions)


def _draw_window(
    data: LatentData, recipe: WindowShares, partition: Partition, rng: np.random.Generator, *, steady: bool
) -> Window:
    """A window of B latent frames, its words and actions as a live stream would have them."""
    frames = partition.buffer_frames
    clip, start = _draw_start(data.clips, frames, recipe.stride_share, rng, steady=steady)
    latest = len(clip.text) - frames
    for changes, share in ((clip.action_changes, recipe.action_change_share), (clip.changes, recipe.change_share)):
        if changes and share and not steady and rng.random() < share:
            change = int(rng.choice(changes))
            start = int(np.clip(change - rng.integers(1, max(2, frames)), 0, latest))  # what was before is inside too
    text = list(chunk_texts(clip.text[start : start + frames], partition))
    if rng.random() < recipe.early_text_share:
        text = [text[-1]] * frames
    if rng.random() < recipe.text_dropout:
        text = [0] * frames
    actions, before = clip.actions[start : start + frames].clone(), None
    if rng.random() < recipe.early_action_share:
        before = None if torch.equal(actions[0], actions[-1]) else actions[0].clone()
        actions[:] = actions[-1]
    if rng.random() < recipe.hold_action_share:
        cut = int(rng.integers(frames))
        actions[cut:] = actions[cut]
    if rng.random() < recipe.action_dropout:
        actions, before = torch.zeros_like(actions), None
    return Window(LatentClip(clip.latents[start : start + frames], tuple(text), actions, clip.stride), before)


def _draw_start(
    clips: Sequence[LatentClip], frames: int, stride_share: float, rng: np.random.Generator, *, steady: bool
) -> tuple[LatentClip, int]:
    """A clip and where a window of it begins; a steady one is all under one text."""
    for _ in range(1000):
        clip = _draw_clip(clips, frames, stride_share, rng)
        start = int(rng.integers(len(clip.text) - frames + 1))
        if not steady or len(set(clip.text[start : start + frames])) == 1:
            return clip, start
    raise TrainingError(f"no clip holds {frames} latent frames under one caption; record longer clips")


def _draw_clip(clips: Sequence[LatentClip], frames: int, stride_share: float, rng: np.random.Generator) -> LatentClip:
    """A clip of at least `frames` latent frames, at stride 2 or 4 every `stride_share`."""
    strided = rng.random() < stride_share
    for index in draw_indices(len(clips), rng):
        clip = clips[index]
        if (clip.stride > 1) == strided and len(clip.text) >= frames:
            return clip
        strided = strided and rng.random() > 0.01  # a recording too short for strides still trains
    raise TrainingError(f"no clip holds {frames} latent frames; record longer clips")


def draw_indices(count: int, rng: np.random.Generator) -> Iterator[int]:
    """Of `count` clips a thousand with replacement, then each once: where few will do, one is found all the same."""
    for _ in range(1000):
        yield int(rng.integers(count))
    yield from rng.permutation(count).tolist()


def chunk_texts(text: Sequence[int], partition: Partition) -> Iterator[int]:
    """Each chunk is under the words in force when its last frame was recorded; reference frames under their own."""
    for frame in range(partition.buffer_frames):
        if frame < partition.reference_frames:
            yield text[frame]
        else:
            chunk = (frame - partition.reference_frames) // partition.chunk_frames
            yield text[partition.reference_frames + (chunk + 1) * partition.chunk_frames - 1]
