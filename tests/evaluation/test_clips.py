"""What is measured of a clip begins where a scene has begun, and clips without a border have no jump at it."""

import numpy as np
import pytest

from eddyline_runtime.evaluation.clips import measure_clip, motion_figures
from eddyline_runtime.evaluation.probe import Probe


def test_the_start_of_a_clip_is_not_looked_at(brightness: Probe) -> None:
    frames = np.zeros((32, 32, 48, 3), np.uint8)
    frames[:8] = 255
    clip = measure_clip(brightness, frames, fps=16.0, chunk_frames=8)
    assert clip.labels == {"time": "night", "doing": "stands", "happening": "none"}
    assert clip.features.shape == (6, 3)
    assert (clip.motion.flicker, clip.borders.across) == (0, 0)


def test_a_jump_at_borders_is_told_in_changes_inside_chunks(brightness: Probe) -> None:
    levels = np.cumsum([0, *(8 if frame % 8 == 0 else 2 for frame in range(1, 32))])
    frames = np.broadcast_to(levels[:, None, None, None], (32, 32, 48, 3)).astype(np.uint8)
    clip = measure_clip(brightness, frames, fps=16.0, chunk_frames=8)
    jump = motion_figures([clip, clip], {"border_jump": 1.0})["border_jump"]
    assert jump is not None
    assert (jump.value, jump.n, jump.ceiling) == (pytest.approx(4.0), 2, 1.0)


def test_clips_without_a_border_or_without_any_change_have_no_jump(brightness: Probe) -> None:
    still = np.zeros((32, 32, 48, 3), np.uint8)
    for frames in (still, still[:16]):
        clip = measure_clip(brightness, frames, fps=16.0, chunk_frames=8)
        assert motion_figures([clip])["border_jump"] is None


def test_a_flash_is_no_jump_at_a_border(brightness: Probe) -> None:
    frames = np.zeros((32, 32, 48, 3), np.uint8)
    frames[::2, ..., 0] = 4
    frames[16:, ..., 2] = 255
    flashing = measure_clip(brightness, frames, fps=16.0, chunk_frames=8)
    assert flashing.labels["happening"] == "lightning"
    assert motion_figures([flashing])["border_jump"] is None
