"""Pacing: which frame belongs on the screen, on clocks that differ and networks that tremble."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline.pacing import (
    CATCH_UP,
    HOLD_S,
    MAX_DELAY_S,
    ClockMap,
    Playout,
    delay_at,
    measure_clock,
    newest_due,
    observe_arrival,
)

times = st.floats(0.0, 1e6)
trips = st.floats(0.0, 2.0)


@given(st.lists(times, max_size=20), times, st.floats(0.0, 1.0))
def test_the_newest_due_frame_is_the_last_one_whose_time_has_come(
    due_s: list[float], now_s: float, delay_s: float
) -> None:
    position = newest_due(due_s, now_s=now_s, delay_s=delay_s)
    if position is None:
        assert all(due + delay_s > now_s for due in due_s)
    else:
        assert due_s[position] + delay_s <= now_s
        assert all(due + delay_s > now_s for due in due_s[position + 1 :])


@given(st.floats(-1e6, 1e6), times, trips, trips)
def test_a_measured_clock_is_right_to_its_error(offset_s: float, sent_s: float, there_s: float, back_s: float) -> None:
    received_s = sent_s + there_s + back_s
    clock = measure_clock(None, sent_s=sent_s, received_s=received_s, runtime_s=sent_s + there_s + offset_s)
    assert abs(clock.offset_s - offset_s) <= clock.error_s + 1e-6


@given(st.floats(-1e3, 1e3), st.lists(st.tuples(trips, trips), min_size=1, max_size=30))
def test_more_measurements_never_make_the_clock_worse_than_drift(
    offset_s: float, round_trips: list[tuple[float, float]]
) -> None:
    clock, now_s = None, 0.0
    for there_s, back_s in round_trips:
        end_s = now_s + there_s + back_s
        clock = measure_clock(clock, sent_s=now_s, received_s=end_s, runtime_s=now_s + there_s + offset_s)
        assert abs(clock.offset_s - offset_s) <= clock.doubt_s(end_s) + 1e-6
        now_s = end_s + 0.5


def test_a_clock_that_jumped_is_measured_anew() -> None:
    old = ClockMap(offset_s=5.0, error_s=0.0001, measured_s=100.0)
    new = measure_clock(old, sent_s=101.0, received_s=101.2, runtime_s=101.1 + 60.0)
    assert new.offset_s == pytest.approx(60.0)


def test_a_coarse_measurement_does_not_replace_a_fine_one() -> None:
    old = ClockMap(offset_s=5.0, error_s=0.0001, measured_s=100.0)
    assert measure_clock(old, sent_s=101.0, received_s=101.4, runtime_s=101.3 + 5.0) is old


@given(st.lists(st.tuples(st.floats(0.0, 0.2), st.floats(-0.5, 2.0)), max_size=60))
def test_the_delay_stays_between_zero_and_its_limit(arrivals: list[tuple[float, float]]) -> None:
    playout, now_s = Playout(), 0.0
    for gap_s, late_s in arrivals:
        now_s += gap_s
        playout = observe_arrival(playout, due_s=now_s - late_s, received_s=now_s)
        assert 0.0 <= delay_at(playout, now_s) <= MAX_DELAY_S
        assert delay_at(playout, now_s) >= min(late_s, MAX_DELAY_S) - 1e-9


def test_frames_in_time_cause_no_delay() -> None:
    playout = observe_arrival(Playout(), due_s=10.0, received_s=9.9)
    assert delay_at(playout, 10.0) == 0.0


def test_late_frames_play_evenly_once_the_delay_has_grown() -> None:
    playout, shown_s = Playout(), []
    for index in range(40):
        due_s = index / 16
        received_s = due_s + (0.08 if index % 3 == 0 else 0.01)
        playout = observe_arrival(playout, due_s=due_s, received_s=received_s)
        shown_s.append(max(received_s, due_s + delay_at(playout, received_s)))
    gaps_s = [later - earlier for earlier, later in pairwise(shown_s[1:])]
    assert gaps_s == pytest.approx([1 / 16] * len(gaps_s))


def test_the_delay_shrinks_slowly_after_the_last_late_frame() -> None:
    playout = observe_arrival(Playout(), due_s=9.9, received_s=10.0)
    assert delay_at(playout, 10.0 + HOLD_S) == pytest.approx(0.1)
    assert delay_at(playout, 10.0 + HOLD_S + 1.0) == pytest.approx(0.1 - CATCH_UP)
    assert delay_at(playout, 10.0 + HOLD_S + 100.0) == 0.0
