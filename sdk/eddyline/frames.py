"""Frames: what the game shows, and the small store they wait in until they are due.

The store is bounded by the credits that a view grants (`frames.CREDIT_FRAMES`, a second of the embedded world): a game
that stops reading gets no more until it reads again, and the runtime drops the oldest on its side.
"""

from __future__ import annotations

import math
from bisect import insort
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from eddyline.pacing import newest_due

CREDIT_FRAMES = 16
"""Frames of one view that may be on their way or waiting at once: two chunks of the smooth profile, one second."""
CREDIT_BATCH = 4
"""Credits given back at once; a message for each would cost the game more than the frame does."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a view. Made by `View.frame()`. Times are on the clock of `time.perf_counter()`, in seconds."""

    pixels: NDArray[np.uint8]
    """[height, width, 3], RGB, read-only (`.copy()` it to draw on it); it stays valid for as long as it is kept."""
    epoch: int
    """The scene it belongs to; a cut, a rewind, a return or a restart begins the next."""
    index: int
    """Counts frames within the epoch."""
    chunk: int
    """Counts chunks within the epoch."""
    due_s: float
    """When it belongs on the screen."""
    made_s: float
    """When the runtime had made it."""
    received_s: float
    """When it was here."""
    prompt: str = ""
    """The prompt in force when it was made."""
    events: tuple[str, ...] = ()
    """The events in force when it was made."""
    is_new: bool = True
    """True the first time `View.frame()` hands the frame out."""

    @property
    def order(self) -> tuple[int, int]:
        """(epoch, index): frames are shown in this order."""
        return (self.epoch, self.index)

    @property
    def words(self) -> str:
        """The prompt and the events in force, as one line."""
        return "; ".join((self.prompt, *self.events))


def no_longer_new(frame: Frame) -> Frame:
    """Return the same frame with `is_new` false. Copies all fields at once; `dataclasses.replace` sets one by one."""
    copy = object.__new__(Frame)
    copy.__dict__.update(frame.__dict__, is_new=False)
    return copy


@dataclass
class FrameStore:
    """Frames of one view in the order of play. Each frame that leaves it, shown or not, frees one credit."""

    frames: list[Frame] = field(default_factory=list)
    shown: Frame | None = None
    next_due_s: float = math.inf
    """When the first of the waiting frames is due; most calls come before that, and cost nothing more."""
    skipped: int = 0
    """Frames that came but were never shown: too late, or overtaken by a newer one that was due as well."""

    def add(self, frame: Frame) -> int:
        """Put a frame into its place. Returns the credits freed: 1 when it is a repeat or comes too late, else 0."""
        order = frame.order
        if self.shown is not None and order <= self.shown.order:
            self.skipped += 1
            return 1
        if not self.frames or order > self.frames[-1].order:  # nearly always: frames come in their order
            self.frames.append(frame)
        elif any(waiting.order == order for waiting in self.frames):
            return 1
        else:
            insort(self.frames, frame, key=lambda waiting: waiting.order)
        self.next_due_s = min(self.next_due_s, frame.due_s)
        return 0

    def take(self, now_s: float, delay_s: float) -> int:
        """Make the frame that is due at `now_s` the shown one. Returns the credits freed; 0 when nothing new is due."""
        if now_s < self.next_due_s + delay_s:
            return 0
        position = newest_due([frame.due_s for frame in self.frames], now_s=now_s, delay_s=delay_s)
        if position is None:
            return 0
        self.shown = self.frames[position]
        del self.frames[: position + 1]
        self.next_due_s = min((frame.due_s for frame in self.frames), default=math.inf)
        self.skipped += position
        return position + 1

    def shift(self, seconds: float) -> None:
        """Let all waiting frames be due `seconds` later (they waited while the view was paused)."""
        self.frames = [replace(frame, due_s=frame.due_s + seconds) for frame in self.frames]
        self.next_due_s += seconds
