"""What ticks took, and what is expected of the next one."""

import pytest

from eddyline_runtime.config import responsive, smooth
from eddyline_runtime.costs import TickCosts

SMOOTH, RESPONSIVE = smooth(), responsive()


def ticks(costs, *seconds, profile=SMOOTH, views=1, rows=1):
    for taken in seconds:
        costs.add(profile, views=views, rows=rows, seconds=taken)


def test_the_slowest_but_one_in_twenty_of_the_last_ticks_is_expected():
    costs = TickCosts(20)
    ticks(costs, *[9.0] * 30, *[0.01 * number for number in range(1, 21)])
    assert costs.expected_s({}) == {SMOOTH: pytest.approx(0.19)}


def test_ticks_of_other_sizes_are_remembered_apart_and_guessed_until_there_are_some():
    costs = TickCosts(4)
    ticks(costs, 0.2)
    assert costs.expected_s({SMOOTH: 2}) == {SMOOTH: pytest.approx(0.4)}
    assert costs.expected_s({SMOOTH: 3}) == {SMOOTH: pytest.approx(0.6)}
    ticks(costs, 0.3, rows=2)
    assert costs.expected_s({SMOOTH: 2}) == {SMOOTH: pytest.approx(0.3)}
    assert costs.expected_s({SMOOTH: 3}) == {SMOOTH: pytest.approx(0.45)}
    ticks(costs, 0.5, rows=4, views=2)
    assert costs.expected_s({SMOOTH: 3}) == {SMOOTH: pytest.approx(0.4)}
    assert costs.expected_s({SMOOTH: 1, RESPONSIVE: 2}) == {SMOOTH: pytest.approx(0.2)}


def test_fewer_rows_than_were_ever_measured_are_not_taken_to_cost_less():
    costs = TickCosts(4)
    ticks(costs, 0.3, rows=2)
    assert costs.expected_s({}) == {SMOOTH: pytest.approx(0.3)}


def test_medians_are_by_profile_and_number_of_views():
    costs = TickCosts(3)
    ticks(costs, 9.0, 0.1, 0.3, 0.2)
    ticks(costs, 0.4, views=2, rows=3)
    ticks(costs, 0.5, profile=RESPONSIVE)
    assert costs.medians == {SMOOTH: {1: 0.2, 2: 0.4}, RESPONSIVE: {1: 0.5}}


def test_the_last_tick_is_forgotten_alone_and_only_once():
    costs = TickCosts(3)
    ticks(costs, 0.1, 0.2)
    ticks(costs, 7.0, views=2, rows=2)
    costs.forget_last()
    costs.forget_last()
    ticks(costs, 0.3)
    assert costs.medians == {SMOOTH: {1: 0.2}}
    assert costs.expected_s({SMOOTH: 2}) == {SMOOTH: pytest.approx(0.4)}
