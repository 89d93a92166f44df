"""Admission: what more views cost, when one more is refused, and what the refusal offers instead."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline_runtime.admission import BatchCosts, Demand, batch_s, capacity, load, refusal, told

STRIDES = (1, 2, 4)
GROUPS = {"smooth": 0.5, "responsive": 0.25}

batch_costs = st.dictionaries(st.integers(1, 8), st.floats(0.001, 2.0), max_size=4)
costs_of_groups = st.fixed_dictionaries(dict.fromkeys(GROUPS, batch_costs))
demands = st.builds(
    lambda group, stride: demand(group, stride), st.sampled_from(sorted(GROUPS)), st.sampled_from(STRIDES)
)


def demand(group: str = "smooth", stride: int = 1) -> Demand:
    return Demand(group=group, every_chunk_s=GROUPS[group], stride=stride)


def refused(wanted: Demand, opened: Sequence[Demand], costs: dict[str, BatchCosts], **bounds: float):
    return refusal(wanted, opened, costs, **{"strides": STRIDES, "max_load": 0.9, "max_views": 16, **bounds})


def test_what_was_measured_is_taken_as_it_is_and_the_rest_lies_between_or_grows_with_the_views():
    costs = {1: 0.1, 4: 0.25}
    assert [batch_s(costs, views) for views in (1, 4)] == [0.1, 0.25]
    assert batch_s(costs, 2) == pytest.approx(0.15)
    assert batch_s(costs, 8) == pytest.approx(0.5)
    assert batch_s({4: 0.25}, 1) == 0.25
    assert (batch_s({}, 3), batch_s(costs, 0)) == (0.0, 0.0)


@given(batch_costs, st.integers(1, 20))
def test_a_larger_batch_never_costs_less(costs, views):
    assert batch_s(costs, views) <= batch_s(costs, views + 1) + 1e-12


def test_a_far_view_takes_a_share_of_every_fourth_tick():
    costs = {"smooth": {1: 0.2, 2: 0.3}}
    assert load([demand()], costs) == pytest.approx(0.4)
    assert load([demand(stride=4), demand()], costs) == pytest.approx(0.4 + 0.1 / 2.0)
    assert load([demand(stride=4)], costs) == pytest.approx(0.1)


@given(st.lists(demands, max_size=6), demands, costs_of_groups)
def test_one_view_more_never_lowers_the_load(opened, wanted, costs):
    assert load(opened, costs) <= load([*opened, wanted], costs) + 1e-9


@given(demands, costs_of_groups)
def test_the_first_view_always_fits_however_slow_the_machine_is(wanted, costs):
    assert refused(wanted, [], costs) is None


@given(st.lists(demands, max_size=6), demands, costs_of_groups)
def test_a_view_whose_cost_nobody_measured_fits(opened, wanted, costs):
    assert refused(wanted, opened, {**costs, wanted.group: {}}) is None


@given(st.lists(demands, min_size=1, max_size=6), demands, costs_of_groups)
def test_what_is_let_in_keeps_the_load_and_what_is_refused_would_not(opened, wanted, costs):
    answer = refused(wanted, opened, costs)
    fits = load([*opened, wanted], costs) <= 0.9
    if answer is None:
        assert fits or not costs[wanted.group]
        return
    assert not fits
    assert answer.load == load(opened, costs)
    assert answer.cost_s == batch_s(costs[wanted.group], 1) > 0
    assert refused(wanted, opened, costs, max_load=math.inf) is None


@given(st.lists(demands, min_size=1, max_size=6), demands, costs_of_groups)
def test_the_offered_stride_fits_and_no_smaller_one_does(opened, wanted, costs):
    answer = refused(wanted, opened, costs)
    if answer is None:
        return
    slower = [demand(wanted.group, stride) for stride in STRIDES if stride > wanted.stride]
    fitting = [other.stride for other in slower if load([*opened, other], costs) <= 0.9]
    assert answer.stride == (min(fitting) if fitting else None)


@given(demands, costs_of_groups)
def test_the_capacity_is_the_largest_number_of_views_that_keeps_the_load(wanted, costs):
    count = capacity(wanted, costs, max_load=0.9, max_views=16)
    assert 1 <= count <= 16
    assert count == 1 or load([wanted] * count, costs) <= 0.9
    assert count == 16 or load([wanted] * (count + 1), costs) > 0.9


@given(st.lists(demands, min_size=1, max_size=6), demands, costs_of_groups, st.floats(0.1, 1.0))
def test_a_faster_machine_refuses_nothing_that_a_slower_one_takes(opened, wanted, costs, speed):
    faster = {name: {views: seconds * speed for views, seconds in known.items()} for name, known in costs.items()}
    if refused(wanted, opened, costs) is None:
        assert refused(wanted, opened, faster) is None


def test_a_refusal_names_the_cost_the_capacity_and_the_rate_that_it_could_have():
    costs = {"smooth": {1: 0.2, 2: 0.38}}
    answer = refused(demand(), [demand(), demand()], costs)
    assert answer is not None
    assert (answer.cost_s, answer.capacity, answer.stride) == (0.2, 2, 4)
    text = told(answer, profile="smooth", fps=16.0)
    for part in ("'smooth'", "16 frames a second", "0.200 s", "0.500 s", "2 such views", "76%", "stride=4 (4 frames"):
        assert part in text
    full = refused(demand(stride=4), [demand()] * 3, costs)
    assert full is not None
    assert told(full, profile="smooth", fps=16.0).endswith("close one first")
