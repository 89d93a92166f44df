"""When the next chunk is made: just in time, most urgent first, together where it saves a call."""

import pytest

from eddyline_runtime.scheduling import Candidate, Timeline, choose, extend, go, start_s, stop


def candidate(view: int, deadline_s: float, *, group: str = "smooth", chunk_s: float = 0.5) -> Candidate:
    return Candidate(view=view, deadline_s=deadline_s, chunk_s=chunk_s, group=group)


def test_a_tick_starts_at_the_last_moment_that_still_suffices():
    start = start_s([candidate(1, 10.0)], {"smooth": 0.2}, margin_s=0.05, max_batch=8)
    assert start == pytest.approx(9.75)
    assert choose([candidate(1, 10.0)], {"smooth": 0.2}, now_s=9.74, margin_s=0.05, max_batch=8) == []
    assert choose([candidate(1, 10.0)], {"smooth": 0.2}, now_s=9.76, margin_s=0.05, max_batch=8) == [[1]]


def test_no_view_means_no_tick():
    assert start_s([], {}, margin_s=0.05, max_batch=8) is None
    assert choose([], {}, now_s=1e9, margin_s=0.05, max_batch=8) == []


def test_views_of_one_group_that_are_nearly_due_share_a_batch():
    views = [candidate(1, 10.0), candidate(2, 10.1), candidate(3, 10.4)]
    assert choose(views, {}, now_s=10.0, margin_s=0.0, max_batch=8) == [[1, 2]]


def test_the_costs_of_all_groups_count_because_one_may_have_to_wait_for_the_other():
    views = [candidate(1, 10.0), candidate(2, 10.05, group="responsive")]
    costs = {"smooth": 0.2, "responsive": 0.1}
    assert start_s(views, costs, margin_s=0.0, max_batch=8) == pytest.approx(9.7)
    assert choose(views, costs, now_s=9.7, margin_s=0.0, max_batch=8) == [[1], [2]]


def test_a_batch_has_a_limit_and_the_most_urgent_go_first():
    views = [candidate(view, 10.0 - view / 1000) for view in range(5)]
    assert choose(views, {}, now_s=11.0, margin_s=0.0, max_batch=2) == [[4, 3], [2, 1], [0]]


def test_views_that_do_not_fit_into_one_batch_start_earlier_so_that_the_last_batch_is_in_time_too():
    views = [candidate(view, 10.0) for view in range(5)]
    start = start_s(views, {"smooth": 0.2}, margin_s=0.05, max_batch=2)
    assert start + 3 * 0.2 + 0.05 == pytest.approx(10.0)
    assert choose(views, {"smooth": 0.2}, now_s=start - 0.01, margin_s=0.05, max_batch=2) == []
    assert choose(views, {"smooth": 0.2}, now_s=start + 0.01, margin_s=0.05, max_batch=2) == [[0, 1], [2, 3], [4]]


def test_a_chunk_in_time_leaves_the_timeline_alone():
    timeline = extend(Timeline(fps=16, start_s=5.0), 8, ready_s=4.9)
    assert timeline.due_s(0) == 5.0
    assert timeline.deadline_s == 5.5
    assert timeline.playhead(5.26) == 4


def test_a_late_chunk_moves_the_timeline_back_and_the_playhead_waits():
    timeline = extend(Timeline(fps=16, start_s=5.0), 8, ready_s=5.0)
    assert timeline.playhead(6.0) == 7
    late = extend(timeline, 8, ready_s=6.0)
    assert late.due_s(8) == 6.0
    assert late.playhead(6.07) == 9


def test_a_stopped_playhead_stands_still_and_goes_on_where_it_was():
    timeline = extend(Timeline(fps=16, start_s=5.0), 8, ready_s=5.0)
    stopped = stop(timeline, 5.25)
    assert stopped.playhead(99.0) == 4
    assert stop(stopped, 7.0) == stopped
    gone = go(stopped, 7.25)
    assert gone.playhead(7.25) == 4
    assert gone.deadline_s == pytest.approx(7.5)
    assert go(gone, 8.0) == gone
