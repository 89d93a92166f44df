"""How a clip moves, from its pixels alone: dynamic degree, flicker, and the jump at borders of chunks.

Optical flow is OpenCV's DIS (Kroeger et al. 2016, "Fast Optical Flow using Dense Inverse Search") between grey frames
that were blurred a little, so that grain is not taken for motion.

Shapes: T frames, H W picture height and width.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from eddyline_runtime.evaluation.dreams import Frames

_PAIR_STRIDE = 3
"""Flow is measured from every third frame to the next: no common factor with chunks of 4, 8, 16 frames."""
_BLUR_PX = 1.0


@dataclass(frozen=True)
class Motion:
    """speed_px: mean length of the flow, pixels a frame (VBench's dynamic degree, without its threshold).

    flicker: mean absolute difference, 0 to 255, between a frame and the next one moved back along the flow: what no
    motion explains. Falling rain and drifting fog count too, so compare it with recordings of the same scenes.
    """

    speed_px: float
    flicker: float


@dataclass(frozen=True)
class Borders:
    """Mean absolute change of pixels from frame to frame, 0 to 255: across borders of chunks, and inside chunks."""

    across: float
    inside: float


def measure_motion(frames: Frames) -> Motion:
    """Motion of a clip of two frames at least."""
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    speeds, flickers = [], []
    for first in range(0, len(frames) - 1, _PAIR_STRIDE):
        here, there = frames[first], frames[first + 1]
        flow = np.asarray(
            finder.calc(_grey(here), _grey(there), np.zeros((*here.shape[:2], 2), np.float32)), np.float32
        )
        speeds.append(float(np.linalg.norm(flow, axis=-1).mean()))
        flickers.append(_unexplained(here, there, flow))
    return Motion(speed_px=float(np.mean(speeds)), flicker=float(np.mean(flickers)))


def _grey(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey = cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (0, 0), _BLUR_PX)
    return np.asarray(grey, np.uint8)


def _unexplained(here: NDArray[np.uint8], there: NDArray[np.uint8], flow: NDArray[np.float32]) -> float:
    height, width = here.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    across, down = columns + flow[..., 0], rows + flow[..., 1]
    back = cv2.remap(there, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    seen = (across >= 0) & (across <= width - 1) & (down >= 0) & (down <= height - 1)
    difference = np.abs(back.astype(np.float32) - here.astype(np.float32)).mean(axis=-1)
    return float(difference[seen].mean()) if seen.any() else 0.0


def measure_borders(frames: Frames, chunk_frames: int, *, first: int = 0) -> Borders:
    """Changes at borders of chunks and inside them; `first` is the index of the first frame in its stream.

    A clip without borders, or of chunks of one frame, has NaN for what it has none of.
    """
    changes = np.abs(np.diff(frames.astype(np.int16), axis=0)).mean(axis=(1, 2, 3))
    later = first + 1 + np.arange(len(changes))
    at_border = later % chunk_frames == 0
    return Borders(across=_mean(changes[at_border]), inside=_mean(changes[~at_border]))


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")
