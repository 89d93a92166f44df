"""Intervals: right where they can be computed by hand, and covering what they should cover."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eddyline_runtime.evaluation.intervals import mean, median, rate, ratio, wilson


def test_wilsons_interval_is_right_at_the_edges_and_in_the_middle() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10)[1] == 1.0
    assert wilson(0, 10)[0] == 0.0
    low, high = wilson(50, 100)
    assert low == pytest.approx(0.4038, abs=1e-3)
    assert high == pytest.approx(0.5962, abs=1e-3)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_a_rate_lies_within_its_interval(hits: list[bool]) -> None:
    figure = rate(hits)
    assert figure.value == sum(hits) / len(hits)
    assert 0 <= figure.ci95[0] <= figure.value + 1e-12
    assert figure.value - 1e-12 <= figure.ci95[1] <= 1


def test_the_bootstrap_of_a_mean_is_as_wide_as_its_standard_error_says() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400).tolist()
    figure = mean(values, ceiling=6.0)
    wide = figure.ci95[1] - figure.ci95[0]
    assert wide == pytest.approx(2 * 1.96 * np.std(values) / math.sqrt(400), rel=0.15)
    assert figure.ci95[0] < np.mean(values) < figure.ci95[1]
    assert (figure.n, figure.ceiling) == (400, 6.0)
    assert mean(values) == mean(values), "draws are seeded"
    assert median(values).value == np.median(values)


def test_a_ratio_draws_whole_units_so_that_what_goes_together_widens_the_interval() -> None:
    together = ratio([0.0] * 10 + [6.0] * 10, [6.0] * 20)
    apart = ratio([0.0, 1.0] * 60, [1.0] * 120)
    assert together.value == apart.value == 0.5
    assert together.ci95[1] - together.ci95[0] > 2 * (apart.ci95[1] - apart.ci95[0])


def test_units_that_count_nothing_do_not_spoil_a_ratio() -> None:
    figure = ratio([0.0, 3.0], [0.0, 4.0], n=4)
    assert (figure.value, figure.ci95, figure.n) == (0.75, (0.75, 0.75), 4)
