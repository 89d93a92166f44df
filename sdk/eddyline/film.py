"""Films: what a view showed, as an mp4 with the words in force as subtitles. Needs PyAV (the extra `video`)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType
from typing import Any

import av
import av.error
import numpy as np
from av.stream import Stream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from eddyline.film_files import film_path, unwritable

FILM_HEIGHT_PX = 384
"""Small frames are enlarged to about this height, by a whole number, so that video players show them well."""
LONGEST_GAP_FRAMES = 64
"""A gap in the frame indices up to this long is filled with the frame before it; a longer one is left out."""
SUBTITLE_TICKS = 90_000
"""Subtitles are timed in this part of a second, of which a frame of all usual rates lasts a whole number."""
MAX_SUBTITLE_BYTES = 16_384
"""Longer words are cut there: a subtitle is for reading."""


class Film:
    """Writes frames into an mp4 (H.264), and the words they were made under into its subtitle track. A context manager:
    leaving it finishes the file.

    path: where the finished film goes; until then it is `NAME.part.mp4` beside it. fps: frames a second, above 0.

    Raises OptionError when `path` does not name an mp4, FilmError when the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], *, fps: float) -> None:
        self.path = film_path(path)
        self.frames = 0
        """Frames written, repeats included."""
        self._fps = Fraction(fps).limit_denominator(1001)
        self._part = self.path.with_name(f"{self.path.stem}.part.mp4")
        self._last: tuple[int, int] | None = None
        self._picture: av.VideoFrame | None = None
        self._stream: VideoStream | None = None
        self._subtitles: Stream | None = None
        self._words, self._words_since = "", 0
        self._closed = False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._part), "w", format="mp4")
        except (OSError, av.error.FFmpegError) as error:
            raise unwritable(self.path, error, folder=self.path.parent) from error

    def add(self, pixels: NDArray[np.uint8], *, epoch: int, index: int, words: str = "") -> None:
        """Add a frame, uint8 [height, width, 3], RGB, and the words that are its subtitle.

        Frames that were skipped are filled in with the one before, so that the film keeps its time; a frame that was
        already added is ignored; a new epoch goes on without a gap.
        """
        if self._last is not None and self._last[0] == epoch:
            missing = index - self._last[1] - 1
            if missing < 0:
                return
            if missing <= LONGEST_GAP_FRAMES:
                for _ in range(missing):
                    self._encode(self._picture)
        self._last = (epoch, index)
        if self._stream is None:
            self._stream = self._open_stream(*pixels.shape[:2])
            subtitles = self._subtitles = self._container.add_mux_stream("mov_text")
            subtitles.time_base = Fraction(1, SUBTITLE_TICKS)
        if words != self._words:
            self._end_subtitle()
            self._words = words
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        self._picture = picture.reformat(
            width=self._stream.width, height=self._stream.height, format="yuv420p", interpolation="BICUBIC"
        )
        self._encode(self._picture)

    def close(self) -> None:
        """Finish the film and give it its name; without a frame no file is left. Calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._stream is not None:
                self._container.mux(self._stream.encode(None))
                self._end_subtitle()
            self._container.close()
            if self.frames:
                self._part.replace(self.path)
            else:
                self._part.unlink(missing_ok=True)
        except (OSError, av.error.FFmpegError) as error:
            self._discard()
            raise unwritable(self.path, error, folder=self.path.parent) from error

    def __enter__(self) -> Film:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception):  # Ctrl-C ends a film as closing does
            self.close()
            return
        self._closed = True
        self._discard()

    def _discard(self) -> None:
        """Leave nothing of the film: what was there before under its name is better than half of one."""
        with contextlib.suppress(OSError, av.error.FFmpegError):  # why it cannot be finished is told already
            self._container.close()
        with contextlib.suppress(OSError):
            self._part.unlink()

    def _open_stream(self, height: int, width: int) -> VideoStream:
        scale = max(1, round(FILM_HEIGHT_PX / height))
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        stream = self._container.add_stream(codec, rate=self._fps)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = (width * scale + 1) // 2 * 2, (height * scale + 1) // 2 * 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        if codec == "libx264":
            stream.options = {"preset": "veryfast", "crf": "18"}
        else:
            stream.bit_rate = 4_000_000
        return stream

    def _end_subtitle(self) -> None:
        """Write the words that were in force up to here, with their first frame and how long they stayed."""
        begin, end = (int(frame * SUBTITLE_TICKS / self._fps) for frame in (self._words_since, self.frames))
        self._words_since = self.frames
        if not self._words or begin == end or self._subtitles is None:
            return
        text = self._words.encode()[:MAX_SUBTITLE_BYTES].decode(errors="ignore").encode()
        packet = av.Packet(len(text).to_bytes(2, "big") + text)
        packet.stream = self._subtitles
        packet.time_base = Fraction(1, SUBTITLE_TICKS)
        packet.pts = packet.dts = begin
        packet.duration = end - begin
        self._mux(packet)

    def _mux(self, packets: av.Packet[Any] | Sequence[av.Packet[Any]]) -> None:
        try:
            self._container.mux(packets)
        except (OSError, av.error.FFmpegError) as error:
            raise unwritable(self.path, error, folder=self.path.parent) from error

    def _encode(self, picture: av.VideoFrame | None) -> None:
        assert picture is not None
        assert self._stream is not None
        picture.pts = self.frames
        picture.time_base = 1 / self._fps
        self._mux(self._stream.encode(picture))
        self.frames += 1
