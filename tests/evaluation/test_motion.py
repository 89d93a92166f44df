"""Motion from pixels: a moving picture has its speed, a flickering one its flicker, a jump lies where it lies."""

import numpy as np
import pytest

from eddyline_runtime.evaluation.dreams import Frames
from eddyline_runtime.evaluation.motion import measure_borders, measure_motion


def landscape(frames: int, speed_px: int) -> Frames:
    """A smooth random picture that moves to the left."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 216, (14, 60, 3)).astype(np.float64)
    wide = np.kron(coarse, np.ones((8, 8, 1)))
    for axis in (0, 1):
        wide = sum(np.roll(wide, shift, axis) for shift in range(-3, 4)) / 7
    at = range(0, frames * speed_px, speed_px) if speed_px else [0] * frames
    return np.stack([wide[8:104, 8 + left : 168 + left] for left in at]).astype(np.uint8)


@pytest.mark.parametrize("speed_px", [0, 1, 2, 4])
def test_a_picture_that_moves_has_its_speed_and_hardly_flickers(speed_px: int) -> None:
    motion = measure_motion(landscape(12, speed_px))
    assert motion.speed_px == pytest.approx(speed_px, abs=0.15)
    assert motion.flicker < 1.0


def test_what_no_motion_explains_is_flicker() -> None:
    frames = landscape(12, 1).astype(np.int16)
    frames[::2] += 20
    flickering = measure_motion(frames.clip(0, 255).astype(np.uint8))
    assert flickering.flicker > 10 > measure_motion(landscape(12, 1)).flicker


def test_small_pictures_can_be_measured_too() -> None:
    assert measure_motion(landscape(4, 0)[:, :32, :48]).speed_px == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(("first", "jumps_at"), [(0, 8), (8, 8), (4, 4)])
def test_a_jump_between_chunks_is_across_a_border_wherever_the_clip_begins(first: int, jumps_at: int) -> None:
    frames = np.zeros((16, 4, 4, 3), np.uint8)
    frames[1::2] = 2
    frames[jumps_at:] += 50
    borders = measure_borders(frames, 8, first=first)
    assert borders.inside == pytest.approx(2)
    assert borders.across > 20


def test_a_clip_within_one_chunk_has_no_border() -> None:
    borders = measure_borders(np.zeros((8, 4, 4, 3), np.uint8), 8)
    assert np.isnan(borders.across)
    assert borders.inside == 0
