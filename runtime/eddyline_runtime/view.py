"""The state of one view: buffer, words, actions, codec state, timeline; and the ring its frames wait in.

State is apart from the networks: everything needed to go on with a view is in its `ViewState`.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Float16
from numpy.typing import NDArray
from torch import Tensor

from eddyline_runtime.actions import ActionChange
from eddyline_runtime.config import Partition, Profile
from eddyline_runtime.flow.sampler import Opening
from eddyline_runtime.model.codec import DecoderState
from eddyline_runtime.prompts import TickFrames, Words, due_cut
from eddyline_runtime.scheduling import Timeline


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """What one tick made for one view."""

    view: int
    epoch: int
    first_frame: int
    """Index of the first frame within the epoch."""
    number: int
    """Chunks of this epoch before it."""
    frames: NDArray[np.uint8]
    """RGB [T, H, W, 3]."""
    due_s: tuple[float, ...]
    """When each frame belongs on the screen, on the engine's clock."""
    made_s: float
    prompt: str
    events: tuple[str, ...]
    """The words the chunk left under."""


@dataclass(frozen=True)
class Unshown:
    """Frames that were made and not shown, and the words they left under."""

    frames: NDArray[np.uint8]
    """RGB [T, H, W, 3]."""
    prompt: str
    events: tuple[str, ...]


@dataclass(frozen=True)
class NoiseKey:
    """What the noise of a latent frame is drawn from: the scene's seed, the epoch it began in, the frame's index."""

    seed: int
    epoch: int = 0
    index: int = 0

    def after(self, frames: int) -> "NoiseKey":
        """The key of the latent frame `frames` later."""
        return replace(self, index=self.index + frames)


@dataclass(frozen=True)
class Bookmark:
    """What a scene begins from that returns to a place; on the host."""

    noise: NoiseKey
    """Of the latent frame that enters next."""
    action_change: ActionChange
    latents: Float16[Tensor, "F C Y X"]
    """The buffer. What half precision loses is far less than the noise that most of it is under."""
    decoded: Float[Tensor, "1 1 C Y X"]
    """What the codec remembers."""


@dataclass
class ViewState:
    """One endless stream that a game opened."""

    view: int
    profile: Profile
    stride: int
    frames_per_latent: int
    words: Words
    actions: tuple[float, ...]
    action_change: ActionChange
    """As of the last tick."""
    noise: NoiseKey
    """Of the latent frame that enters next."""
    timeline: Timeline | None = None
    """None until the first chunk is ready."""
    epoch: int = 0
    opening: Opening | None = None
    """Set while a scene begins; the buffer is then not in use."""
    begun: int = 0
    """Which of the engine's scenes it is, in the order in which they began; known while it begins."""
    latents: Float[Tensor, "F C Y X"] | None = None
    decoder: DecoderState | None = None
    chunks_made: int = 0
    """Chunks emitted in this epoch."""
    frames_before: int = 0
    """Frames of this epoch before its first chunk: those of a moment that were not shown yet."""
    paused: bool = False
    parked: bool = False
    bookmarks: Mapping[str, Bookmark] = field(default_factory=dict)
    """The places it can return to, by name; replaced as a whole."""
    epoch_start: int = 0
    """Frames of the timeline before this epoch."""
    past_epochs: tuple[tuple[int, int], ...] = ()
    """The epochs before this one that a frame on the screen may be of, oldest first, each with the frames of the
    timeline before it."""

    @property
    def partition(self) -> Partition:
        return self.profile.partition

    @property
    def chunk_frames(self) -> int:
        """Frames per chunk; not latent frames."""
        return self.partition.chunk_frames * self.frames_per_latent

    @property
    def tick_frames(self) -> TickFrames:
        """Where the next tick stands, in frames of the epoch."""
        head = self.frames_before + self.chunks_made * self.chunk_frames
        return TickFrames(
            head=head, entry=head + (self.partition.num_chunks - 1) * self.chunk_frames, chunk=self.chunk_frames
        )

    @property
    def cut_waits(self) -> bool:
        """Whether the next tick begins a new scene."""
        return due_cut(self.words) is not None

    def playhead(self, now_s: float) -> tuple[int, int]:
        """Epoch and index of the frame that is due; after a cut it is the old scene's until the new one's first."""
        if self.timeline is None:
            return self.epoch, 0
        frame = self.timeline.playhead(now_s)
        epoch, start = self.epochs_from(frame)[0]
        return epoch, max(0, frame - start)

    def epochs_from(self, frame: int) -> tuple[tuple[int, int], ...]:
        """The epoch of a frame of the timeline, which may be on the screen, and those after it of which frames were
        made, each with the frames before it; the present one, if there is none."""
        made = self.timeline.made if self.timeline else 0
        epochs = [*self.past_epochs, (self.epoch, self.epoch_start)]
        if len(epochs) > 1 and made <= self.epoch_start:
            epochs.pop()
        first = max((place for place, (_, start) in enumerate(epochs) if start <= frame), default=0)
        return tuple(epochs[first:])

    @property
    def resting(self) -> bool:
        """Whether the view makes no frames for now."""
        return self.paused or self.parked


def count_frames(unshown: Sequence[Unshown]) -> int:
    """How many frames these are together."""
    return sum(len(part.frames) for part in unshown)


def unshown_chunks(state: ViewState, unshown: Sequence[Unshown], *, made_s: float) -> list[Chunk]:
    """Frames of another view as the first chunks of this one, whose timeline begins with them."""
    chunks, first = [], 0
    for part in unshown:
        assert state.timeline is not None
        chunks.append(
            Chunk(
                view=state.view,
                epoch=state.epoch,
                first_frame=first,
                number=0,
                frames=part.frames,
                due_s=tuple(state.timeline.due_s(first + index) for index in range(len(part.frames))),
                made_s=made_s,
                prompt=part.prompt,
                events=part.events,
            )
        )
        first += len(part.frames)
    return chunks


@dataclass(frozen=True)
class WaitingFrame:
    """One frame that waits to be sent."""

    chunk: Chunk
    offset: int
    """Which of the chunk's frames."""
    due_s: float

    @property
    def index(self) -> int:
        """Index of the frame within its epoch."""
        return self.chunk.first_frame + self.offset

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """RGB, contiguous [H, W, 3]."""
        frame: NDArray[np.uint8] = self.chunk.frames[self.offset]
        return frame


class FrameRing:
    """The newest `capacity` frames of a view; when it is full the oldest go, counted in `dropped`."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.dropped = 0
        self._frames: deque[WaitingFrame] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    def push(self, chunk: Chunk) -> None:
        """Add a chunk's frames."""
        self._frames.extend(WaitingFrame(chunk, offset, due) for offset, due in enumerate(chunk.due_s))
        while len(self._frames) > self.capacity:
            self._frames.popleft()
            self.dropped += 1

    def pop(self) -> WaitingFrame | None:
        """Take the oldest frame out; None when there is none."""
        return self._frames.popleft() if self._frames else None

    def put_back(self, frame: WaitingFrame) -> None:
        """Return a frame that could not be sent."""
        self._frames.appendleft(frame)

    def clear(self) -> None:
        """What was made will not be shown: it counts as dropped."""
        self.dropped += len(self._frames)
        self._frames.clear()

    def delay(self, by_s: float) -> None:
        """The playhead stood still: every waiting frame is due later."""
        self._frames = deque(replace(frame, due_s=frame.due_s + by_s) for frame in self._frames)
