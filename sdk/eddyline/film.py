"""Films and contact sheets: what a view showed, written to files. Needs PyAV and Pillow (the extra `play`)."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import av.error
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from eddyline.errors import RecordingError

FILM_HEIGHT_PX = 384
"""Small frames are enlarged to about this height, by a whole number, so that video players show them well."""
LONGEST_GAP_FRAMES = 64
"""A gap in the frame indices up to this long is filled with the frame before it; a longer one is left out."""

_PAPER, _INK, _FAINT = (20, 22, 28), (226, 229, 235), (140, 147, 160)


class Film:
    """Writes frames into an mp4 (H.264). A context manager: leaving it finishes the file.

    path: where the finished film goes; until then it is `NAME.part.mp4` beside it. fps: frames a second, above 0.

    Raises RecordingError when the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], *, fps: float) -> None:
        self.path = Path(path)
        self.frames = 0
        """Frames written, repeats included."""
        self._fps = Fraction(fps).limit_denominator(1001)
        self._part = self.path.with_name(f"{self.path.stem}.part.mp4")
        self._last: tuple[int, int] | None = None
        self._picture: av.VideoFrame | None = None
        self._stream: VideoStream | None = None
        self._closed = False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._part), "w", format="mp4")
        except (OSError, av.error.FFmpegError) as error:
            raise _unwritable(self.path, error) from error

    def add(self, pixels: NDArray[np.uint8], *, epoch: int, index: int) -> None:
        """Add a frame, uint8 [height, width, 3], RGB. Frames that were skipped are filled in with the one before, so
        that the film keeps its time; a frame that was already added is ignored; a new epoch goes on without a gap."""
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
            self._container.close()
            if self.frames:
                self._part.replace(self.path)
            else:
                self._part.unlink(missing_ok=True)
        except (OSError, av.error.FFmpegError) as error:
            raise _unwritable(self.path, error) from error

    def __enter__(self) -> Film:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

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

    def _encode(self, picture: av.VideoFrame | None) -> None:
        assert picture is not None
        assert self._stream is not None
        picture.pts = self.frames
        picture.time_base = 1 / self._fps
        try:
            self._container.mux(self._stream.encode(picture))
        except (OSError, av.error.FFmpegError) as error:
            raise _unwritable(self.path, error) from error
        self.frames += 1


@dataclass(frozen=True)
class SheetPicture:
    """One picture of a contact sheet: pixels uint8 [height, width, 3], and the words in force on it."""

    pixels: NDArray[np.uint8]
    at_s: float
    prompt: str
    events: tuple[str, ...] = ()


def contact_sheet(pictures: Sequence[SheetPicture], *, columns: int = 4, picture_width_px: int = 320) -> Image.Image:
    """Return pictures side by side with the words in force under each: the moment, the prompt, the events in force.

    All pictures have one size. At least one is needed.
    """
    assert pictures
    height, width = pictures[0].pixels.shape[:2]
    picture_height = round(height * picture_width_px / width)
    columns = min(columns, len(pictures))
    margin, gap, line, size = 16, 12, 18, 14
    font = ImageFont.load_default(size)
    characters = int(picture_width_px / font.getlength("n"))
    captions = [_caption(picture, characters) for picture in pictures]
    rows = [captions[start : start + columns] for start in range(0, len(captions), columns)]
    text_heights = [gap + line * max(len(lines) for lines in row) for row in rows]
    sheet = Image.new(
        "RGB",
        (
            2 * margin + columns * picture_width_px + (columns - 1) * gap,
            2 * margin + len(rows) * picture_height + sum(text_heights) + (len(rows) - 1) * gap,
        ),
        _PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    top = margin
    for row, text_height in enumerate(text_heights):
        for column, lines in enumerate(rows[row]):
            left = margin + column * (picture_width_px + gap)
            image = Image.fromarray(pictures[row * columns + column].pixels)
            sheet.paste(image.resize((picture_width_px, picture_height), Image.Resampling.BICUBIC), (left, top))
            for number, (text, colour) in enumerate(lines):
                draw.text((left, top + picture_height + gap // 2 + number * line), text, fill=colour, font=font)
        top += picture_height + text_height + gap
    return sheet


def save_sheet(sheet: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a contact sheet as PNG. Raises RecordingError when the file cannot be written."""
    file = Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(file, format="PNG", optimize=True)
    except OSError as error:
        raise _unwritable(file, error) from error


def _caption(picture: SheetPicture, characters: int) -> list[tuple[str, tuple[int, int, int]]]:
    """The lines under a picture, each with its colour; the default font knows no letters beyond Latin 1."""
    lines = [(f"{picture.at_s:.1f} s", _FAINT)]
    lines += [(text, _INK) for text in textwrap.wrap(picture.prompt, characters)]
    for event in picture.events:
        lines += [(text, (255, 201, 120)) for text in textwrap.wrap(f"+ {event}", characters)]
    return [(text.encode("latin-1", "replace").decode("latin-1"), colour) for text, colour in lines]


def _unwritable(path: Path, error: Exception) -> RecordingError:
    return RecordingError(f"{path}: cannot be written ({error}); free space or choose another folder with --out")
