"""Actions: what a world has, and for how long a change of them is new."""

from hypothesis import given
from hypothesis import strategies as st

from eddyline_runtime.actions import ActionChange, action_vector
from eddyline_runtime.config import Partition, Profile
from eddyline_runtime.prompts import Wish

NONE, LEFT, RIGHT = (0.0, 0.0), (1.0, 0.0), (0.0, 1.0)


def test_keys_that_a_world_does_not_have_are_counted_and_left_out():
    assert action_vector({"ArrowRight": 1.0, "KeyQ": 1.0}, ("ArrowLeft", "ArrowRight")) == RIGHT


@given(st.lists(st.sampled_from([NONE, LEFT, RIGHT]), max_size=20), st.integers(1, 5))
def test_a_change_is_new_for_as_many_ticks_as_the_buffer_has_chunks(held, num_chunks):
    change, since, ticks = ActionChange(NONE, NONE), NONE, num_chunks
    for actions in held:
        before, since, ticks = (since, actions, 0) if actions != since else (change.before, since, ticks + 1)
        change = change.tick(actions, num_chunks=num_chunks)
        assert change.is_new == (ticks < num_chunks)
        assert (change.after, change.before) == (since, before)


def test_a_stick_that_glides_is_new_only_once_it_is_far_from_where_it_was():
    change = ActionChange((0.0,), (0.0,))
    new = []
    for step in range(11):
        change = change.tick((step / 10,), num_chunks=1)
        new.append(change.is_new)
    assert new == [step in (5, 10) for step in range(11)]


def test_a_key_that_goes_down_takes_a_second_row_while_the_buffer_shows_what_was_before(start):
    profile = Profile(partition=Partition(num_chunks=4, chunk_frames=2), action_guidance_scale=3.0)
    steered = Profile(partition=Partition(num_chunks=4, chunk_frames=2))
    runs, rows = [], []
    for chosen in (profile, steered):
        run = start(profile=chosen)
        seen = []
        watch = run.engine.world.model.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(len(given[0])))
        try:
            run.engine.open_view(1, prompt="a red fox", seed=7)
            run.until_chunks(2)
            seen.clear()
            run.engine.act(1, {"ArrowLeft": 1.0})
            run.until_chunks(6)
        finally:
            watch.remove()
        runs.append(run)
        rows.append(seen)
    assert rows == [[2, 2, 2, 2, 1, 1], [1] * 6]
    pulled, plain = (run.chunks() for run in runs)
    same = [bool((ours.latents == theirs.latents).all()) for ours, theirs in zip(pulled, plain, strict=True)]
    assert same == [True, True] + [False] * 6


def test_a_scene_that_begins_after_keys_changed_is_not_pulled_away_from_those_before(start):
    profile = Profile(partition=Partition(num_chunks=4, chunk_frames=2), action_guidance_scale=3.0)
    run = start(profile=profile)
    run.engine.open_view(1, prompt="a red fox", seed=7)
    run.until_chunks(2)
    run.engine.act(1, {"ArrowLeft": 1.0})
    run.until_chunks(1)
    run.engine.say(1, Wish(id=1, verb="cut", text="a castle", seed=3))
    rows = []
    watch = run.engine.world.model.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    try:
        run.until_chunks(3)
    finally:
        watch.remove()
    assert set(rows) == {1}
