"""Drift: where a stream is looked at, and what the last minute has lost against the first."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eddyline_runtime.evaluation.drift import DriftPlan, StreamDrift, drift_figures, judge_stream
from eddyline_runtime.evaluation.probe import Probe


@settings(deadline=None, max_examples=50)
@given(st.sampled_from([4, 8, 16]), st.integers(1, 12), st.integers(2, 12))
def test_windows_begin_with_a_chunk_lie_in_their_minute_and_do_not_overlap(
    chunk_frames: int, windows: int, minutes: int
) -> None:
    plan = DriftPlan(windows=windows, minutes=minutes)
    starts = plan.window_starts(fps=16.0, chunk_frames=chunk_frames)
    length = plan.window_frames(fps=16.0, chunk_frames=chunk_frames)
    assert len(starts) == 2 * windows
    assert all(start % chunk_frames == 0 for start in starts)
    assert all(later - earlier >= length for earlier, later in pairwise(starts))
    assert starts[0] >= 0
    assert starts[windows - 1] + length <= 60 * 16
    assert starts[windows] >= (minutes - 1) * 60 * 16
    assert starts[-1] + length <= minutes * 60 * 16


def test_what_the_last_minute_has_lost_is_counted_by_window(brightness: Probe) -> None:
    day, night = np.full((8, 32, 48, 3), 200, np.uint8), np.zeros((8, 32, 48, 3), np.uint8)
    stream = judge_stream(brightness, {"time": "day", "place": "cave"}, [day, day, night, day])
    assert stream.lost == {"time": 0.5}
    assert stream.speed_px == (0.0, 0.0)


def test_figures_are_means_over_streams_and_the_share_of_motion_lost() -> None:
    streams = [StreamDrift({"time": 0.5}, (2.0, 1.0)), StreamDrift({"time": -0.1}, (2.0, 2.0))]
    figures = drift_figures(streams)
    assert figures["time"].value == pytest.approx(0.2)
    assert figures["dynamic_degree"].value == pytest.approx(0.25)
    assert (figures["time"].n, figures["time"].ceiling) == (2, 0.0)
