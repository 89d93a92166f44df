"""Fréchet distance: what it is in closed form, and of dreams against recordings of the same scenes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from eddyline_runtime.evaluation.frechet import ClipFeatures, Gaussian, frechet_distance, frechet_figure, spread


def clips(count: int, *, seed: int, shift: float = 0.0, size: int = 6) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=(4, size)) + shift).astype(np.float32) for _ in range(count)]


def test_the_distance_of_normal_distributions_is_that_of_the_formula() -> None:
    one = Gaussian(np.array([0.0, 0.0]), np.diag([1.0, 4.0]))
    other = Gaussian(np.array([3.0, 4.0]), np.diag([9.0, 4.0]))
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(one, other) == pytest.approx(25 + (3 - 1) ** 2)
    assert frechet_distance(other, one) == pytest.approx(frechet_distance(one, other))


def test_turned_and_degenerate_covariances_have_a_distance_too() -> None:
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    one = Gaussian(np.zeros(2), turn @ np.diag([4.0, 0.0]) @ turn.T)
    other = Gaussian(np.zeros(2), turn @ np.diag([1.0, 0.0]) @ turn.T)
    assert frechet_distance(one, other) == pytest.approx((2 - 1) ** 2)


def test_clips_drawn_again_count_as_often_as_they_are_drawn() -> None:
    some = clips(3, seed=0)
    drawn = ClipFeatures(some).gaussian(np.array([0, 2, 2]))
    windows = np.concatenate([some[0], some[2], some[2]])
    assert drawn.mean == pytest.approx(windows.mean(axis=0), abs=1e-6)
    assert drawn.covariance == pytest.approx(np.cov(windows.T), abs=1e-5)


def test_a_figure_tells_a_shift_and_holds_its_value_in_its_interval() -> None:
    recorded = clips(60, seed=1)
    same = frechet_figure(clips(60, seed=2), recorded, clips(60, seed=3))
    shifted = frechet_figure(clips(60, seed=2, shift=0.5), recorded)
    assert same.ci95[0] <= same.value <= same.ci95[1] < shifted.ci95[0]
    assert shifted.value - same.value == pytest.approx(6 * 0.5**2, rel=0.5)
    assert (same.n, shifted.ceiling) == (60, None)
    assert same.ceiling is not None
    assert 0 < same.ceiling < 0.3 < shifted.value, "of few clips it never is 0"


def test_which_scenes_there_are_does_not_count_when_recordings_show_the_same() -> None:
    scenes = 30 * np.random.default_rng(0).normal(size=(20, 1, 6)).astype(np.float32)
    dreamed, recorded = ([clip + scene for clip, scene in zip(clips(20, seed=n), scenes, strict=True)] for n in (1, 2))
    paired = frechet_figure(dreamed, recorded)
    assert paired.value < 0.1 * frechet_figure(dreamed[:10], recorded[10:]).value


def test_windows_are_spread_evenly_over_a_clip() -> None:
    features = np.arange(22, dtype=np.float32)[:, None]
    assert spread(features, 4)[:, 0].tolist() == [0, 7, 14, 21]
    assert spread(features[:3], 4)[:, 0].tolist() == [0, 1, 2]
