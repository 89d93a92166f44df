"""What `eddyline record` takes of a game: pictures of its display at a fixed rate, with the keys held and the words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pygame
from numpy.typing import NDArray

from eddyline.errors import RecordingError
from eddyline.pygame import held_keys
from eddyline.recording import Recorder

CLIP_FRAMES = 128
"""A clip that grows longer goes on as a new one, so that none has to be held in memory whole."""
SIDE_STEP_PX = 16
"""Training takes pictures whose sides are multiples of this: 8 pixels are a latent cell, 2 x 2 cells a patch."""
PICTURE_PX = 160 * 96
"""About so many pixels are recorded where no size is given."""
LONGEST_GAP_S = 1.0
"""A game that shows one picture for longer ends the clip: there is nothing to be learned from a stretch of it."""

MOST_WAITS = 50_000
"""A game that waits so often and shows nothing meanwhile is given up: a quarter of an hour at 60 turns a second."""

Caption = str | Callable[[pygame.Surface], str]
"""The words of all frames, or what makes them of the picture on the display, in its own size."""


class Enough(BaseException):
    """Ends the game from within: there are frames enough, or no more can be written. No game catches it by mistake."""


@dataclass(frozen=True, kw_only=True)
class Shooting:
    """What a camera takes.

    size: width and height in pixels; None: `fitting_size` of the display. frames: in all. keys: W3C names.
    caption: None takes the title of the game's window.
    """

    out: Path
    size: tuple[int, int] | None
    fps: float
    frames: int
    keys: Sequence[str]
    caption: Caption | None
    metadata: Mapping[str, str] = field(default_factory=dict)


class Camera:
    """Takes pictures of pygame's display when they are due, and records them.

    frames, runs: how many so far; size: width and height of the frames, once there are any.
    """

    def __init__(self, plan: Shooting, *, say: Callable[[str], None]) -> None:
        self.frames = 0
        self.runs = 0
        self.size = (0, 0)
        self._plan = plan
        self._say = say
        self._times = FrameTimes(plan.fps)
        self._recorder: Recorder | None = None
        self._seed: int | None = None
        self._failure: RecordingError | None = None
        self._waits = 0

    def begin_run(self, seed: int | None) -> None:
        """The game is run from its beginning; `seed` is kept with the clips."""
        self.runs += 1
        self._seed = seed
        self._waits = 0
        self._times = FrameTimes(self._plan.fps)
        if self._recorder is not None:
            self._recorder.begin_clip(seed=seed)

    def see(self, now_s: float) -> None:
        """The game has drawn a picture, `now_s` seconds into the run.

        Raises Enough when it was the last one.
        """
        self._waits = 0
        surface = pygame.display.get_surface()
        count = self._times.due(now_s)
        if surface is None or not count:
            return
        try:
            self._record(surface, count)
        except RecordingError as error:  # a game may catch it, and then it would be lost
            self._failure = error
        self._check_more()

    def wait(self) -> None:
        """The game waits, though it may have drawn nothing.

        Raises Enough when it does so again and again, for it would never end; and again when there was enough before:
        asyncio keeps what a task raises to itself.
        """
        self._check_more()
        self._waits += 1
        if self._waits > MOST_WAITS:
            self._failure = RecordingError(
                f"the game waited {MOST_WAITS} times and showed no picture meanwhile; only what is shown by "
                "pygame.display.flip or update can be recorded this way: hand other pictures to "
                "eddyline.recording.Recorder in the game itself"
            )
            raise Enough

    def _check_more(self) -> None:
        if self._failure is not None or self.frames == self._plan.frames:
            raise Enough

    def close(self) -> None:
        """Finish the recording.

        Raises RecordingError if something could not be written, now or before.
        """
        if self._recorder is not None:
            self._recorder.close()
        if self._failure is not None:
            raise self._failure

    def _record(self, surface: pygame.Surface, count: int) -> None:
        plan = self._plan
        if self._recorder is None:
            self._recorder = self._open(surface)
        if count > LONGEST_GAP_S * plan.fps:
            self._recorder.begin_clip(seed=self._seed)
            count = 1
        count = min(count, plan.frames - self.frames)
        pixels, held = picture(surface, self.size), set(held_keys())
        words = plan.caption(surface) if callable(plan.caption) else plan.caption or _title()
        for _ in range(count):
            self._recorder.add(pixels, caption=words, actions=[float(name in held) for name in plan.keys])
        tenths = 10 * self.frames // plan.frames
        self.frames += count
        if 10 * self.frames // plan.frames > tenths:
            minutes, wanted = (number / plan.fps / 60.0 for number in (self.frames, plan.frames))
            self._say(f"{minutes:.1f} of {wanted:.1f} minutes, {self.runs} runs of the game")

    def _open(self, surface: pygame.Surface) -> Recorder:
        """The recorder; made when there is a picture, which may tell the size."""
        if surface.get_flags() & pygame.OPENGL:
            raise RecordingError(
                "the game draws with OpenGL, and such pictures cannot be read from pygame's display; hand them to "
                "eddyline.recording.Recorder in the game itself"
            )
        plan = self._plan
        self.size = width, height = plan.size or fitting_size(*surface.get_size())
        recorder = Recorder(
            plan.out,
            fps=plan.fps,
            height=height,
            width=width,
            action_names=plan.keys,
            metadata=plan.metadata,
            max_clip_frames=CLIP_FRAMES,
        )
        recorder.begin_clip(seed=self._seed)
        return recorder


class FrameTimes:
    """When a picture becomes a frame: at every 1/fps seconds, the one that is drawn then, or next.

    One that comes a quarter of a frame early will do, so that the jitter of a real clock makes none skip.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._first_s: float | None = None
        self._taken = 0

    def due(self, now_s: float) -> int:
        """How many frames a picture drawn at `now_s` stands for: 0, 1, or more where the game draws less often."""
        if self._first_s is None:
            self._first_s = now_s
        count = math.floor((now_s - self._first_s) * self._fps + 0.25) + 1 - self._taken
        self._taken += count
        return count


def picture(surface: pygame.Surface, size: tuple[int, int]) -> NDArray[np.uint8]:
    """What a surface shows, smoothly scaled to `size` (width, height): uint8 [height, width, 3]."""
    if surface.get_bitsize() < 24:
        surface = surface.convert(24)
    scaled = pygame.transform.smoothscale(surface, size)
    return np.frombuffer(pygame.image.tobytes(scaled, "RGB"), np.uint8).reshape(size[1], size[0], 3)


def fitting_size(width: int, height: int) -> tuple[int, int]:
    """The size to record a display of `width` x `height` in: sides of multiples of 16, about `PICTURE_PX` pixels, as
    near to its proportions as that allows."""

    def strain(size: tuple[int, int]) -> float:
        across, down = size
        return abs(math.log(across / down * height / width)) + 0.2 * abs(math.log(across * down / PICTURE_PX))

    sides = range(SIDE_STEP_PX, 32 * SIDE_STEP_PX, SIDE_STEP_PX)
    return min(((across, down) for across in sides for down in sides), key=strain)


def _title() -> str:
    """What the game's window is called."""
    title = pygame.display.get_caption()
    return (title[0] if title else "").strip() or "a game"
