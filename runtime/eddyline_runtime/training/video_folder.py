"""A folder of video files with captions as a source of training clips.

Beside each `name.mp4` (or .mkv, .webm, .mov, .avi) lies `name.txt` in UTF-8: one caption for the whole clip, or lines
`seconds<TAB>caption` for captions that change. Videos are resampled to one frame rate and scaled to one picture size.
Videos carry no actions: they are all zero. A video is one clip and is held whole in memory while it is read: cut long
ones into scenes.
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eddyline.errors import TrainingError
from eddyline.install import install_hint
from eddyline.recording import RecordedClip, RecordingInfo

SUFFIXES = {".mp4", ".mkv", ".webm", ".mov", ".avi"}


class VideoFolder:
    """Reads like a recording: `info`, `len()`, `[index]`.

    fps: frames a second that videos are resampled to; height, width: pixels that they are scaled to.

    Raises:
        TrainingError: the folder has no videos, a caption file is missing or empty, or a video cannot be decoded.
    """

    def __init__(self, folder: Path, *, fps: float, height: int, width: int, num_actions: int) -> None:
        self._videos = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES)
        if not self._videos:
            raise TrainingError(
                f"{folder} holds neither a recording nor videos; record a game into it, or put videos there "
                f"({', '.join(sorted(SUFFIXES))})"
            )
        self.info = RecordingInfo(
            fps=fps,
            height=height,
            width=width,
            action_names=tuple(f"Action{i}" for i in range(num_actions)),
            metadata={"source": "videos"},
        )
        self._captions = [read_captions(video.with_suffix(".txt")) for video in self._videos]

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, index: int) -> RecordedClip:
        """Decode video `index`; before its first timed caption that one holds already."""
        frames = decode_video(self._videos[index], fps=self.info.fps, height=self.info.height, width=self.info.width)
        starts, texts = zip(*self._captions[index], strict=True)
        picked = np.searchsorted(np.array(starts), np.arange(len(frames)) / self.info.fps, side="right") - 1
        return RecordedClip(
            frames=frames,
            captions=tuple(texts[max(0, i)] for i in picked),
            actions=np.zeros((len(frames), len(self.info.action_names)), np.float32),
            labels={},
        )


def read_captions(path: Path) -> list[tuple[float, str]]:
    """(start in seconds, caption) pairs in order.

    Raises:
        TrainingError: the file is missing, empty, not UTF-8, or a line has neither form.
    """
    if not path.is_file():
        raise TrainingError(f"{path} is missing; write the video's caption into it")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error
    if not lines:
        raise TrainingError(f"{path} is empty; write the video's caption into it")
    if len(lines) == 1 and "\t" not in lines[0]:
        return [(0.0, lines[0])]
    captions = []
    for line in lines:
        seconds, _, caption = line.partition("\t")
        start = _seconds(seconds)
        if start is None or not caption.strip():
            raise TrainingError(f"{path}: {line!r} is not `seconds<TAB>caption`; write lines like `2.5<TAB>it rains`")
        captions.append((start, caption.strip()))
    return sorted(captions)


def _seconds(text: str) -> float | None:
    """A finite number of seconds, 0 or more, else None."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def decode_video(path: Path, *, fps: float, height: int, width: int) -> NDArray[np.uint8]:
    """The picture on the screen at every 1/fps seconds from the first frame on, uint8 [T, height, width, 3].

    Raises:
        TrainingError: PyAV is missing, or the file is no video, holds no frames, or frames without times.
    """
    try:
        import av  # only those who train on videos need it
    except ImportError as error:
        raise TrainingError(f"videos need PyAV ({error}); run: {install_hint('train')}") from error

    frames: list[NDArray[np.uint8]] = []
    shown: av.VideoFrame | None = None
    first_s, end_s = 0.0, 0.0

    def show_until(time_s: float) -> None:
        """Fill the ticks before `time_s`; a tick within a thousandth of it belongs to what comes next."""
        assert shown is not None
        count = math.ceil((time_s - first_s) * fps - 1e-3)
        if len(frames) < count:
            picture = shown.to_ndarray(format="rgb24", width=width, height=height).astype(np.uint8, copy=False)
            frames.extend([picture] * (count - len(frames)))

    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                if frame.time is None:
                    raise TrainingError(f"{path} has frames without times; put it into a container such as mp4")
                if shown is None:
                    first_s = frame.time
                else:
                    show_until(frame.time)
                shown = frame
                end_s = frame.time + float((frame.duration or 0) * (frame.time_base or 0))
            if shown is None:
                raise TrainingError(f"{path} holds no frames; take it out")
            show_until(max(end_s, shown.time or 0.0))
    except (av.FFmpegError, IndexError) as error:
        raise TrainingError(f"{path} cannot be decoded ({error}); convert it to H.264, or take it out") from error
    return np.stack(frames)
