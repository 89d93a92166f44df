"""What a view was: its moments, to be rewound to, and its newest chunks, of which frames may be unshown.

Frames are those of the view's timeline.
"""

import math
from collections import deque
from dataclasses import dataclass, replace

from eddyline_runtime.moments import Moment
from eddyline_runtime.view import Chunk, Unshown

NEWEST_CHUNKS = 4
"""Chunks of which frames may be unshown."""


@dataclass(frozen=True)
class _Past:
    """A moment, and the frame that was made after it."""

    frame: int
    moment: Moment


@dataclass(frozen=True)
class _Made:
    """A chunk, and its first frame."""

    frame: int
    chunk: Chunk


class History:
    """The past of one view, the oldest forgotten first."""

    def __init__(self, *, seconds: float, chunk_s: float) -> None:
        """`seconds` of video can be rewound, of chunks that last `chunk_s`."""
        # besides: the chunk being shown, the one made ahead of it, and the moment after that
        self._moments: deque[_Past] = deque(maxlen=math.ceil(seconds / chunk_s) + 3)
        self._chunks: deque[_Made] = deque(maxlen=NEWEST_CHUNKS)

    def add_moment(self, moment: Moment, *, frame: int) -> None:
        """Remember where the view stands before `frame` is made; what was remembered of that frame is forgotten."""
        while self._moments and self._moments[-1].frame == frame:
            self._moments.pop()
        self._moments.append(_Past(frame, moment))

    def add_chunk(self, chunk: Chunk, *, frame: int) -> None:
        """Remember a chunk whose first frame is `frame`."""
        self._chunks.append(_Made(frame, chunk))

    def unshown(self, shown: int) -> tuple[Unshown, ...]:
        """The frames after `shown`, the one that is on the screen."""
        parts = ((made.chunk, made.chunk.frames[max(0, shown + 1 - made.frame) :]) for made in self._chunks)
        return tuple(Unshown(frames, chunk.prompt, chunk.events) for chunk, frames in parts if len(frames))

    def at(self, shown: int) -> Moment | None:
        """The moment before the chunk of `shown`, the frame on the screen, or the nearest that is remembered; None
        before a scene has begun."""
        past = (past.moment for past in reversed(self._moments) if past.frame <= shown)
        return next(past, self._moments[0].moment if self._moments else None)

    def reach(self, shown: int) -> int:
        """How many frames before `shown` can be gone back to."""
        return max(0, shown - self._moments[0].frame) if self._moments else 0

    def back_to(self, wanted: int) -> tuple[Moment, int]:
        """The newest moment before `wanted` was made, and the frame made after it; what came later is forgotten.

        `wanted` is within reach.
        """
        while self._moments[-1].frame > wanted:
            self._moments.pop()
        self._chunks.clear()
        return self._moments[-1].moment, self._moments[-1].frame

    def move(self, frames: int) -> None:
        """Let the remembered moments count as so many frames later."""
        moved = (replace(past, frame=past.frame + frames) for past in self._moments)
        self._moments = deque(moved, self._moments.maxlen)
