"""`View.record()`: what a game is shown as a film, with the words in force as subtitles. Needs PyAV (extra `video`).

    clip = view.record("clip.mp4")      # returns at once; every frame that `frame()` hands out from now on is in it
    ...
    clip.stop()                         # finishes the file; closing the view or the runtime does so, too

A thread of its own encodes. Frames wait for it in a queue that is bounded: where it cannot keep up, frames are left
out, counted, and the one before stays that much longer, so that the film keeps its time.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from eddyline.errors import FilmError
from eddyline.film_files import film_path
from eddyline.frames import Frame
from eddyline.install import install_hint

if TYPE_CHECKING:
    from eddyline.view import View

ClipState: TypeAlias = Literal["recording", "saved", "failed"]
"""Where a clip stands; `Clip.reason` says why it failed."""

WAITING_FRAMES = 64
"""Frames that may wait to be encoded: four seconds at 16 a second."""


class Clip:
    """A view that is being recorded, or was. Made by `View.record()`."""

    def __init__(self, path: str | os.PathLike[str], view: View, on_end: Callable[[Clip], None]) -> None:
        """`on_end` is called from another thread, when nothing more goes into the file.

        Raises FilmError where PyAV is missing, OptionError where `path` is no name of an mp4."""
        if importlib.util.find_spec("av") is None:
            raise FilmError(f"recording a view needs PyAV (av); run: {install_hint('video')}")
        self.path: Path = film_path(path)
        """Where the film is, once it is saved."""
        self.view = view
        """The view that is filmed."""
        self.state: ClipState = "recording"
        """At first "recording"; when nothing more goes into it, "saved" or "failed"."""
        self.reason = ""
        """Why it failed, or why there is no file; else empty."""
        self.frames = 0
        """Frames in the file, repeats of those that were left out included; known once it is saved."""
        self.left_out = 0
        """Frames that came faster than they were encoded."""
        self._on_end = on_end
        self._waiting: queue.Queue[Frame | None] = queue.Queue(WAITING_FRAMES)
        self._thread = threading.Thread(target=self._run, name="eddyline-clip", daemon=True)
        self._thread.start()

    def offer(self, frame: Frame) -> None:
        """Internal: a frame is shown. Never waits; called by the view."""
        try:
            self._waiting.put_nowait(frame)
        except queue.Full:
            self.left_out += 1

    def stop(self) -> None:
        """Finish the file; waits until what was shown is encoded. Calling it again does nothing.

        Without a frame there is no file. Raises FilmError when it could not be written.
        """
        self.finish()
        if self.state == "failed":
            raise FilmError(self.reason)

    def finish(self) -> None:
        """As `stop()`, but what went wrong is only in `state` and `reason`."""
        while self._thread.is_alive():
            with contextlib.suppress(queue.Full):  # it takes some, or ends
                self._waiting.put(None, timeout=0.05)
                break
        self._thread.join()

    def __repr__(self) -> str:
        return f"<Clip {self.path} of {self.view}: {self.state}{f', {self.reason}' if self.reason else ''}>"

    # ---- the thread that encodes

    def _run(self) -> None:
        try:
            self._film()
            self.state = "saved"
        except Exception as error:  # the thread's outermost: whatever it is, `state` tells
            self.reason = str(error) or type(error).__name__
            self.state = "failed"
        self._on_end(self)

    def _film(self) -> None:
        first = self._waiting.get()
        if first is None:
            self.reason = "no frame was shown"
            return
        from eddyline.film import Film

        with Film(self.path, fps=self.view.rate) as film:
            frame: Frame | None = first
            while frame is not None:
                film.add(frame.pixels, epoch=frame.epoch, index=frame.index, words=frame.words)
                frame = self._waiting.get()
        self.frames = film.frames
