"""What comes of a turn of the engine: chunks, news of words, how views do; whoever owns the engine hands them on."""

from dataclasses import dataclass
from typing import Literal

from eddyline_runtime.prompts import Note
from eddyline_runtime.snapshot import Snapshot
from eddyline_runtime.understanding import Understanding
from eddyline_runtime.view import Chunk


@dataclass(frozen=True)
class Told:
    """A change of a receipt; the note's dates are frames of `epoch`."""

    view: int
    epoch: int
    note: Note
    understanding: Understanding | None = None
    unread: str = ""
    """The end of the words that the text encoder does not read; known once they are applied."""


@dataclass(frozen=True)
class Rested:
    """A view rests or goes on; its frames that were made but not shown are due later by `by_s`."""

    view: int
    resting: bool
    by_s: float


@dataclass(frozen=True)
class ViewStatus:
    """How a view does; costs are of its last tick, in seconds."""

    view: int
    state: Literal["live", "paused", "parked"]
    epoch: int
    playhead: int
    lead_s: float
    fps: float
    denoise_s: float
    decode_s: float
    tick_s: float
    understanding: Understanding | None
    """Of the standing prompt; None until it was read, and in a world without phrases."""
    unread: str
    """The end of the standing prompt that the text encoder does not read beside the events in force."""


@dataclass(frozen=True)
class Rewound:
    """A view goes on from a moment that was; its frames that were made but not shown are void."""

    view: int
    epoch: int
    """The new one."""
    by_s: float
    """Seconds of video from the frame that was due to the one that is made next."""


@dataclass(frozen=True)
class Saved:
    """A snapshot of a view, asked for under a number; without one its scene is still beginning."""

    view: int
    id: int
    snapshot: Snapshot | None


Outcome = Chunk | Told | Rested | Rewound | Saved | ViewStatus
