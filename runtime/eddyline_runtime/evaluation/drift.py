"""Drift: what a stream has lost after ten minutes under one prompt, against its own first minute.

Shapes: T frames, H W picture height and width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eddyline_runtime.evaluation.dreams import Frames
from eddyline_runtime.evaluation.figures import Figure
from eddyline_runtime.evaluation.intervals import mean, ratio
from eddyline_runtime.evaluation.motion import measure_motion
from eddyline_runtime.evaluation.probe import Probe
from eddyline_runtime.evaluation.reading import Labels, read_scene


@dataclass(frozen=True, kw_only=True)
class DriftPlan:
    """Where a stream is looked at: in windows spread evenly over its first minute and over its last."""

    minutes: int = 10
    minute_s: float = 60.0
    windows: int = 10
    window_s: float = 2.0

    def window_starts(self, *, fps: float, chunk_frames: int) -> tuple[int, ...]:
        """First frame of each window, the first minute's first; windows begin with a chunk and do not overlap."""
        last = (self.minutes - 1) * self.minute_s
        spread = [(index + 0.5) * self.minute_s / self.windows for index in range(self.windows)]
        at_s = [begin + within - self.window_s / 2 for begin in (0.0, last) for within in spread]
        return tuple(round(second * fps / chunk_frames) * chunk_frames for second in at_s)

    def window_frames(self, *, fps: float, chunk_frames: int) -> int:
        """Frames of a window: whole chunks, one at least."""
        return max(1, round(self.window_s * fps / chunk_frames)) * chunk_frames


@dataclass(frozen=True)
class StreamDrift:
    """One stream. lost: per attribute, its share of right windows in the first minute less that in the last.
    speed_px: mean optical flow of the first minute and of the last."""

    lost: dict[str, float]
    speed_px: tuple[float, float]


def judge_stream(probe: Probe, wanted: Labels, windows: Sequence[Frames]) -> StreamDrift:
    """Compare the windows of a stream: those of the first minute, then as many of the last."""
    half = len(windows) // 2
    read = [read_scene(probe, frames) for frames in windows]
    speeds = [measure_motion(frames).speed_px for frames in windows]

    def right(name: str, part: slice) -> float:
        return sum(labels[name] == wanted[name] for labels in read[part]) / half

    early, late = slice(0, half), slice(half, None)
    lost = {name: right(name, early) - right(name, late) for name in wanted if name in probe.labels}
    return StreamDrift(lost, (sum(speeds[early]) / half, sum(speeds[late]) / half))


def drift_figures(streams: Sequence[StreamDrift]) -> dict[str, Figure]:
    """Per attribute what was lost, a share of windows: 0.03 is three points; and `dynamic_degree`, the share of motion
    that was lost. Below 0 it was gained. Intervals are over streams, of which there are few: they are rough."""
    figures = {name: mean([stream.lost[name] for stream in streams], 0.0) for name in streams[0].lost}
    early, late = ([stream.speed_px[minute] for stream in streams] for minute in (0, 1))
    lost = [before - after for before, after in zip(early, late, strict=True)]
    return figures | ({"dynamic_degree": ratio(lost, early, 0.0)} if any(early) else {})
