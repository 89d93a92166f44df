"""The engine in lockstep: dates that hold, rows that do not see each other, scenes, keys, rest, costs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from eddyline.errors import ConfigError, OptionError
from eddyline_runtime.config import Partition, Profile
from eddyline_runtime.engine import WARM_UP_CHUNKS
from eddyline_runtime.prompts import MAX_EVENTS, MAX_PENDING, Wish
from eddyline_runtime.view import Chunk

RAIN = Wish(id=1, verb="event", text="it rains", hold_frames=16)
PROFILES = {
    "smooth": Profile(partition=Partition(num_chunks=4, chunk_frames=2)),
    "responsive": Profile(partition=Partition(reference_frames=4, num_chunks=4, chunk_frames=1)),
    "guided": Profile(partition=Partition(num_chunks=3, chunk_frames=2, micro_steps=2), guidance_scale=2.5),
    "events guided": Profile(partition=Partition(num_chunks=4, chunk_frames=2), event_guidance_scale=2.5),
    "keys guided": Profile(partition=Partition(num_chunks=3, chunk_frames=2), action_guidance_scale=3.0),
    "one chunk": Profile(partition=Partition(reference_frames=1, num_chunks=1, chunk_frames=3, micro_steps=3)),
}


def frames_by_index(chunks):
    return {chunk.first_frame + offset: picture for chunk in chunks for offset, picture in enumerate(chunk.frames)}


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("at", ["now", "next", "frame"])
def test_an_event_changes_nothing_before_the_frame_its_receipt_names(start, name, at):
    """The counterfactual: two runs of one seed, with and without the event, equal bit for bit up to that frame."""
    runs = []
    for with_event in (True, False):
        run = start(profile=PROFILES[name])
        run.engine.open_view(1, prompt="a red fox", seed=7)
        run.until_chunks(3)
        if with_event:
            frame = run.chunks()[-1].first_frame + 100
            told = run.engine.say(1, replace(RAIN, at=frame if at == "frame" else at))
            assert told.note.state == "accepted"
        run.until_chunks(100 // len(run.chunks()[0].frames) + 6)
        runs.append(run)
    steered, plain = runs
    (applied,) = steered.told(1)
    first, full = applied.note.first_influenced_frame, applied.note.first_full_frame
    assert first is not None
    assert full is not None
    assert first <= full
    theirs, ours = frames_by_index(steered.chunks()), frames_by_index(plain.chunks())
    assert first in theirs
    for index in range(first):
        np.testing.assert_array_equal(theirs[index], ours[index])
    for with_event, without in zip(steered.chunks(), plain.chunks(), strict=True):
        same = torch.equal(with_event.latents, without.latents)
        assert same == (with_event.first_frame < first)
    if at == "frame":
        assert full <= frame < full + len(steered.chunks()[0].frames)


def test_two_runs_of_one_seed_are_equal_and_another_seed_differs(start):
    streams = []
    for seed in (7, 7, 8):
        run = start()
        run.engine.open_view(1, prompt="a red fox", seed=seed)
        streams.append(np.concatenate([chunk.frames for chunk in run.until_chunks(4)]))
    np.testing.assert_array_equal(streams[0], streams[1])
    assert (streams[0] != streams[2]).any()


@pytest.mark.parametrize("name", ["smooth", "responsive", "guided", "events guided", "keys guided"])
def test_a_view_in_a_batch_dreams_what_it_dreams_alone(start, name):
    alone = start(profile=PROFILES[name])
    alone.engine.open_view(1, prompt="a red fox", seed=7)
    together = start(profile=PROFILES[name])
    together.engine.open_view(1, prompt="a red fox", seed=7)
    together.engine.open_view(2, prompt="a castle at night", seed=9, stride=1)
    together.engine.act(2, {"ArrowLeft": 1.0})
    together.engine.say(2, RAIN)
    for ours, theirs in zip(alone.until_chunks(6), together.until_chunks(6), strict=True):
        torch.testing.assert_close(ours.latents, theirs.latents, rtol=1e-3, atol=1e-4)
    assert len(together.chunks(2)) in (5, 6)
    assert together.engine.ticks < len(together.chunks(1)) + len(together.chunks(2))


def test_a_scene_that_begins_takes_one_call_between_the_ticks_of_others(start):
    run = start()
    run.engine.open_view(1, prompt="a red fox", seed=7)
    run.until_chunks(2)
    run.engine.open_view(2, prompt="a pig", seed=1)
    calls = []
    forward = run.engine.world.model.forward
    run.engine.world.model.forward = lambda *args, **kwargs: calls.append(1) or forward(*args, **kwargs)
    try:
        run.engine.tick(run.clock.now_s)
    finally:
        del run.engine.world.model.forward
    assert len(calls) == 1


@pytest.mark.parametrize(("name", "slots"), [("smooth", 3), ("responsive", 4)])
def test_a_scene_begins_in_as_many_smaller_steps_as_its_profile_says(start, name, slots):
    made = {}
    for steps in ((), (3, 2, 1, 1)):
        run = start(profile=replace(PROFILES[name], opening_steps=steps))
        taus = []
        watch = run.engine.world.model.register_forward_pre_hook(lambda model, given, t=taus: t.append(given[1]))
        run.engine.open_view(1, prompt="a red fox", seed=7)
        try:
            made[steps] = run.until_chunks(1)[0].latents
        finally:
            watch.remove()  # the world is other tests' as well
        whole = [0.0, 1 / 12, 2 / 12, 0.25, 0.375, 0.5, 0.75] if steps else [0.0, 0.25, 0.5, 0.75]
        before = [tau.unique().tolist() for tau in taus[:-1]]
        assert before == [[pytest.approx(tau)] for tau in whole[: len(whole) - 4 + slots]]
        assert taus[-1].unique().tolist() == pytest.approx([0.0, 0.25, 0.5, 0.75] + [1.0] * (name == "responsive"))
    assert not torch.equal(made[()], made[3, 2, 1, 1])


@pytest.mark.parametrize("steps", [(4,), (4, 4, 4, 0), (1, 1, 1, 1, 1)])
def test_opening_steps_that_do_not_fit_the_chunks_are_refused(steps):
    with pytest.raises(ConfigError, match="give 4 numbers"):
        replace(PROFILES["smooth"], opening_steps=steps)


def test_frames_continue_without_gaps_and_are_due_at_an_even_rate(lockstep):
    lockstep.engine.open_view(1, prompt="a red fox", seed=7)
    chunks = lockstep.until_chunks(5)
    assert [chunk.first_frame for chunk in chunks] == [0, 8, 16, 24, 32]
    assert [chunk.number for chunk in chunks] == [0, 1, 2, 3, 4]
    due_s = np.concatenate([chunk.due_s for chunk in chunks])
    np.testing.assert_allclose(np.diff(due_s), 1 / 16, rtol=1e-6)
    assert chunks[0].frames.shape == (8, 32, 48, 3)
    assert chunks[0].frames.dtype == np.uint8


def test_a_tick_starts_just_in_time_and_not_before(lockstep):
    lockstep.engine.open_view(1, prompt="a red fox", seed=7)
    (chunk,) = lockstep.until_chunks(1)
    start_s = lockstep.engine.next_start_s()
    assert start_s == pytest.approx(chunk.due_s[-1] + 1 / 16 - lockstep.engine.config.margin_s)
    assert lockstep.engine.tick(start_s - 0.01) == []
    assert lockstep.engine.tick(start_s + 1e-6) != []


def test_unpaced_the_next_chunk_is_always_due(start):
    run = start(paced=False)
    run.engine.open_view(1, prompt="a red fox", seed=7)
    before_s = run.clock.now_s
    run.until_chunks(10)
    assert run.clock.now_s == before_s


def test_a_far_view_runs_at_half_the_rate(lockstep):
    lockstep.engine.open_view(1, prompt="a red fox", seed=7, stride=2)
    (chunk,) = lockstep.until_chunks(1)
    np.testing.assert_allclose(np.diff(chunk.due_s), 1 / 8)


def test_a_cut_begins_a_new_epoch_with_fresh_frames_and_later_words_hold_in_it(lockstep):
    engine = lockstep.engine
    engine.open_view(1, prompt="a red fox", seed=7)
    lockstep.until_chunks(2)
    engine.say(1, RAIN)
    engine.say(1, Wish(id=2, verb="cut", text="a castle"))
    engine.say(1, Wish(id=3, verb="event", text="a bell rings", hold_frames=16))
    (chunk,) = lockstep.until_chunks(1)
    assert (chunk.epoch, chunk.first_frame, chunk.prompt, chunk.events) == (1, 0, "a castle", ("a bell rings",))
    assert [told.note.state for told in lockstep.told(1)] == ["superseded"]
    (cut,) = lockstep.told(2)
    assert (cut.epoch, cut.note.first_influenced_frame, cut.note.first_full_frame) == (1, 0, 0)
    (bell,) = lockstep.told(3)
    assert (bell.epoch, bell.note.first_influenced_frame, bell.note.first_full_frame) == (1, 0, 24)


def test_the_status_names_the_frame_that_is_due_also_while_a_cut_is_on_its_way(lockstep):
    engine, clock = lockstep.engine, lockstep.clock
    engine.open_view(1, prompt="a red fox", seed=7)
    chunk = lockstep.until_chunks(2)[-1]
    for number in (1, 2):
        engine.say(1, Wish(id=number, verb="cut", text=f"castle {number}"))
        engine.tick(clock.now_s)
    clock.now_s = chunk.due_s[3] + 1e-6
    status = engine.status(1)
    assert (status.epoch, status.playhead) == (0, chunk.first_frame + 3)
    (first,) = lockstep.until_chunks(1)
    clock.now_s = first.due_s[2] + 1e-6
    status = engine.status(1)
    assert (status.epoch, status.playhead) == (2, 2)


def test_the_status_names_the_epoch_on_the_screen_when_a_rewind_makes_void_what_a_cut_began(lockstep):
    engine, clock = lockstep.engine, lockstep.clock
    engine.open_view(1, prompt="a red fox", seed=7)
    shown = lockstep.until_chunks(5)[-1].first_frame + 7
    engine.say(1, Wish(id=1, verb="cut", text="a castle"))
    lockstep.until_chunks(1)
    assert (engine.status(1).epoch, engine.status(1).playhead) == (0, shown)
    engine.rewind(1, 0.5, at_s=clock.now_s)
    assert (engine.status(1).epoch, engine.status(1).playhead) == (0, shown)
    assert engine.bookmark(1, "here", at_s=clock.now_s) == (0, shown)
    (again,) = lockstep.until_chunks(1)
    clock.now_s = again.due_s[1] + 1e-6
    assert (engine.status(1).epoch, engine.status(1).playhead) == (2, 1)


def test_the_status_names_each_epoch_while_it_is_on_the_screen_though_two_cuts_came_at_once(lockstep):
    engine, clock = lockstep.engine, lockstep.clock
    engine.open_view(1, prompt="a red fox", seed=7)
    shown = lockstep.until_chunks(2)[-1].first_frame + 7
    engine.say(1, Wish(id=1, verb="cut", text="a castle"))
    (first,) = lockstep.until_chunks(1)
    engine.say(1, Wish(id=2, verb="cut", text="a beach"))
    engine.tick(clock.now_s)
    assert (engine.status(1).epoch, engine.status(1).playhead) == (0, shown)
    (second,) = lockstep.until_chunks(1)
    for chunk in (first, second):
        clock.now_s = chunk.due_s[2] + 1e-6
        assert (engine.status(1).epoch, engine.status(1).playhead) == (chunk.epoch, 2)


def test_a_cut_with_a_seed_dreams_what_a_view_of_that_seed_dreams_in_that_epoch(start):
    cut, fresh = start(), start()
    cut.engine.open_view(1, prompt="a red fox", seed=7)
    cut.until_chunks(2)
    cut.engine.say(1, Wish(id=1, verb="cut", text="a castle", seed=5))
    fresh.engine.open_view(1, prompt="a castle", seed=5, epoch=1)
    for ours, theirs in zip(cut.until_chunks(3), fresh.until_chunks(3), strict=True):
        np.testing.assert_array_equal(ours.frames, theirs.frames)


def test_held_keys_change_the_next_chunk_and_unknown_ones_do_not(start):
    streams = []
    for keys in ({}, {"ArrowLeft": 1.0}, {"F13": 1.0, "KeyQ": 0.5}):
        run = start()
        run.engine.open_view(1, prompt="a red fox", seed=7)
        run.until_chunks(1)
        run.engine.act(1, keys)
        streams.append(run.until_chunks(1)[0].latents)
    assert not torch.equal(streams[0], streams[1])
    assert torch.equal(streams[0], streams[2])


def test_the_rate_is_told_once_two_chunks_were_made(lockstep):
    lockstep.engine.open_view(1, prompt="a red fox", seed=7)
    for expected in (0.0, 16.0):
        lockstep.until_chunks(1)
        assert lockstep.engine.status(1).fps == pytest.approx(expected, rel=0.2)


def test_a_resting_view_costs_nothing_and_goes_on_where_it_was(lockstep):
    engine, clock = lockstep.engine, lockstep.clock
    engine.open_view(1, prompt="a red fox", seed=7)
    (chunk,) = lockstep.until_chunks(1)
    assert engine.rest(1, at_s=clock.now_s, paused=True).resting
    assert engine.next_start_s() is None
    clock.now_s += 60
    assert engine.tick(clock.now_s) == []
    assert engine.rest(1, at_s=clock.now_s, parked=True).resting
    assert engine.rest(1, at_s=clock.now_s, parked=False).resting
    rested = engine.rest(1, at_s=clock.now_s, paused=False)
    assert (rested.resting, rested.by_s) == (False, pytest.approx(60))
    (after,) = lockstep.until_chunks(1)
    assert after.first_frame == 8
    assert after.due_s[0] == pytest.approx(chunk.due_s[-1] + 1 / 16 + 60)


def test_a_pause_counts_from_when_it_was_asked_for_though_a_tick_was_running(lockstep):
    engine, clock = lockstep.engine, lockstep.clock
    engine.open_view(1, prompt="a red fox", seed=7)
    lockstep.until_chunks(1)
    paused_s = clock.now_s
    (chunk,) = lockstep.until_chunks(1)
    assert clock.now_s > paused_s
    engine.rest(1, at_s=paused_s, paused=True)
    clock.now_s += 60
    rested = engine.rest(1, at_s=clock.now_s - 1.0, paused=False)
    assert rested.by_s == pytest.approx(clock.now_s - 1.0 - paused_s)
    (after,) = lockstep.until_chunks(1)
    assert after.due_s[0] >= chunk.due_s[-1] + 1 / 16 + rested.by_s - 1e-9


def test_a_view_that_rests_leaves_the_others_their_rate(lockstep):
    lockstep.engine.open_view(1, prompt="a red fox", seed=7)
    lockstep.engine.open_view(2, prompt="a pig", seed=7)
    lockstep.until_chunks(2)
    lockstep.engine.rest(2, at_s=lockstep.clock.now_s, parked=True)
    due_s = np.concatenate([chunk.due_s for chunk in lockstep.until_chunks(4)])
    np.testing.assert_allclose(np.diff(due_s), 1 / 16, rtol=1e-6)


def test_texts_are_encoded_when_they_change_and_not_per_tick(lockstep):
    encoder, calls = lockstep.engine.world.text_encoder, []
    encode = encoder.encode
    encoder.encode = lambda texts: calls.append(list(texts)) or encode(texts)
    try:
        lockstep.engine.open_view(1, prompt="a red fox", seed=7)
        lockstep.until_chunks(3)
        lockstep.engine.say(1, RAIN)
        assert [lockstep.engine.prepare() for _ in range(3)] == [True, True, False]
        before = len(calls)
        lockstep.until_chunks(8)
    finally:
        del encoder.encode
    assert calls == [["a red fox"], ["a red fox, it rains"], ["it rains"]]
    assert len(calls) == before


def test_words_for_later_are_not_encoded_and_views_take_turns(lockstep):
    engine = lockstep.engine
    for view in (1, 2):
        engine.open_view(view, prompt="a red fox", seed=7)
    lockstep.until_chunks(1, view=2)
    known = engine._dreamer.texts.encoded
    for number in range(1, MAX_PENDING + 1):
        engine.say(1, Wish(id=number, verb="prompt", text=f"prompt {number}", at=10**6))
    assert not engine.prepare()
    assert engine._dreamer.texts.encoded == known
    for number in range(1, MAX_EVENTS + 1):
        engine.cancel(1, number)
        engine.say(1, replace(RAIN, id=100 + number, text=f"thing {number}"))
    engine.say(2, RAIN)
    assert engine.prepare()
    assert engine.prepare()
    assert "a red fox, it rains" in engine._dreamer.texts, "the second view had its turn"


def test_nothing_is_encoded_ahead_when_a_tick_is_nearly_due(lockstep):
    engine = lockstep.engine
    engine.open_view(1, prompt="a red fox", seed=7)
    lockstep.until_chunks(1)
    engine.say(1, RAIN)
    lockstep.clock.now_s = engine.next_start_s()
    assert not engine.prepare()
    lockstep.until_chunks(1)
    assert lockstep.told(1)[0].understanding is not None


@pytest.mark.parametrize("slow_s", [[5.0], [0.001, 5.0]])
def test_one_slow_text_does_not_keep_later_ones_from_being_encoded_ahead(lockstep, slow_s):
    engine, clock = lockstep.engine, lockstep.clock
    encoder, took_s = engine.world.text_encoder, [*slow_s]
    encode = encoder.encode

    def slow(texts):
        clock.now_s += took_s.pop(0) if took_s else 0.001
        return encode(texts)

    encoder.encode = slow
    try:
        engine.open_view(1, prompt="a red fox", seed=7)
        lockstep.until_chunks(2)
        ahead = []
        for number in range(4):
            engine.say(1, replace(RAIN, id=number, text=f"thing {number}"))
            ahead.append(engine.prepare())
            lockstep.until_chunks(1)
    finally:
        del encoder.encode
    assert ahead[-3:] == [True] * 3


def test_a_tick_that_applies_many_words_encodes_a_bounded_number_of_texts(lockstep):
    engine = lockstep.engine
    engine.open_view(1, prompt="a red fox", seed=7)
    lockstep.until_chunks(1)
    known = engine._dreamer.texts.encoded
    for number in range(1, MAX_EVENTS + 1):
        engine.say(1, replace(RAIN, id=number, text=f"thing {number}"))
    lockstep.until_chunks(1)
    understood = [lockstep.told(number)[0].understanding for number in range(1, MAX_EVENTS + 1)]
    assert [understanding is not None for understanding in understood] == [True] * 4 + [False] * (MAX_EVENTS - 4)
    assert engine._dreamer.texts.encoded == known + 5


def test_a_receipt_says_how_well_the_words_are_understood(lockstep):
    lockstep.engine.open_view(1, prompt="a red fox", seed=7)
    lockstep.until_chunks(1)
    lockstep.engine.say(1, Wish(id=1, verb="event", text="it starts to rain", hold_frames=8))
    lockstep.engine.say(1, Wish(id=2, verb="event", text="Ωμέγα", hold_frames=8))
    lockstep.until_chunks(1)
    known, strange = lockstep.told(1)[0].understanding, lockstep.told(2)[0].understanding
    assert (known.nearest, known.score) == ("it starts to rain", pytest.approx(1.0))
    assert 0 <= strange.score <= 1


def test_the_status_says_how_well_the_prompt_in_force_is_understood_once_it_was_read(lockstep):
    engine = lockstep.engine
    engine.open_view(1, prompt="it starts to rain.", seed=7)
    encoded = engine._dreamer.texts.encoded
    assert engine.status(1).understanding is None
    assert engine._dreamer.texts.encoded == encoded, "to be asked is no reason to read it"
    lockstep.until_chunks(1)
    engine.say(1, replace(RAIN, id=1, text="Ωμέγα", hold_frames=64))
    lockstep.until_chunks(2)
    read = engine.status(1).understanding
    assert (read.nearest, read.score) == ("it starts to rain", pytest.approx(1.0))
    encoded = engine._dreamer.texts.encoded
    engine.say(1, Wish(id=2, verb="prompt", text="a red fox..."))
    lockstep.until_chunks(1)
    told = lockstep.told(2)[0].understanding
    assert engine.status(1).understanding == told, "though it was never read without the event"
    assert told.score < 1.0
    assert engine._dreamer.texts.encoded > encoded
    engine.close_view(1)
    engine.open_view(1, prompt="Ωμέγα", seed=8)
    assert engine.status(1).understanding != told


def test_how_well_a_prompt_is_understood_is_known_to_views_that_come_to_stand_under_it(lockstep):
    """Under the prompt with an event alone, the prompt by itself is never read."""
    engine = lockstep.engine
    engine.open_view(1, prompt="a red fox", seed=7)
    lockstep.until_chunks(2)
    first = engine.status(1).understanding
    engine.say(1, replace(RAIN, id=1, hold_frames=640))
    engine.say(1, Wish(id=2, verb="prompt", text="Ωμέγα"))
    lockstep.until_chunks(2)
    second = engine.status(1).understanding
    engine._dreamer.texts._known.clear()  # as if many others had been read since
    encoded = engine._dreamer.texts.encoded
    engine.fork_view(1, 2, at_s=lockstep.clock.now_s)
    assert engine.status(2).understanding == second
    engine.rewind(1, 0.9, at_s=lockstep.clock.now_s)
    assert engine.status(1).understanding == first != second
    assert engine._dreamer.texts.encoded == encoded


def test_what_the_encoder_does_not_read_of_a_text_is_told(lockstep):
    """The encoder of this world reads 23 bytes."""
    engine = lockstep.engine
    engine.open_view(1, prompt="a red fox in the snow and a lantern", seed=7)
    assert engine.status(1).unread == "", "nothing was read yet"
    lockstep.until_chunks(1)
    assert engine.status(1).unread == "and a lantern"
    engine.say(1, Wish(id=1, verb="prompt", text="a blue cat"))
    engine.say(1, Wish(id=2, verb="event", text="thunder and lightning over the hills", hold_frames=8))
    lockstep.until_chunks(1)
    assert [lockstep.told(word)[0].unread for word in (1, 2)] == ["", "over the hills"]
    assert engine.status(1).unread == "a blue cat", "the event takes all of the room"
    lockstep.until_chunks(3)
    assert engine.status(1).unread == "", "the event is over"


def test_words_of_a_view_that_was_not_due_yet_wait_and_are_not_lost(lockstep):
    lockstep.engine.open_view(1, prompt="a red fox", seed=7)
    for number in range(1, 9):
        told = lockstep.engine.say(1, Wish(id=number, verb="prompt", text=f"prompt {number}"))
        assert told.note.state == "accepted"
    lockstep.until_chunks(1)
    states = [lockstep.told(number)[0].note.state for number in range(1, 9)]
    assert states == ["superseded"] * 7 + ["applied"]


def test_of_ten_thousand_scheduled_events_only_some_wait_and_the_others_are_rejected_with_the_cure(lockstep):
    engine = lockstep.engine
    state = engine.open_view(1, prompt="a red fox", seed=7)
    lockstep.until_chunks(1)
    known = engine._dreamer.texts.encoded
    told = [engine.say(1, replace(RAIN, id=number, text=f"thing {number}", at=10**6)) for number in range(1, 10_001)]
    assert [one.note.state for one in told] == ["accepted"] * MAX_EVENTS + ["rejected"] * (10_000 - MAX_EVENTS)
    assert all("wait for some to end" in one.note.reason for one in told[MAX_EVENTS:])
    assert len(state.words.pending) == MAX_EVENTS
    (chunk,) = lockstep.until_chunks(1)
    assert chunk.events == ()
    assert engine._dreamer.texts.encoded == known
    assert engine.cancel(1, 1) is not None
    assert engine.say(1, replace(RAIN, id=10_001)).note.state == "accepted"


def test_wrong_openings_say_what_to_do(start):
    run = start(max_views=1)
    run.engine.open_view(1, prompt="a red fox", seed=7)
    with pytest.raises(OptionError, match="choose another"):
        run.engine.open_view(1, prompt="a red fox", seed=7)
    with pytest.raises(OptionError, match="close one"):
        run.engine.open_view(2, prompt="a red fox", seed=7)
    run.engine.close_view(1)
    with pytest.raises(OptionError, match="responsive, smooth"):
        run.engine.open_view(2, prompt="a red fox", seed=7, profile="fast")
    with pytest.raises(OptionError, match="stride 3"):
        run.engine.open_view(2, prompt="a red fox", seed=7, stride=3)


@pytest.mark.parametrize(
    "ask",
    [
        lambda engine: engine.moment(7),
        lambda engine: engine.fork_view(7, 8, at_s=0.0),
        lambda engine: engine.save_view(7, 1, at_s=0.0),
        lambda engine: engine.unshown(7, 0.0),
        lambda engine: engine.rewind(7, 1.0, at_s=0.0),
        lambda engine: engine.bookmark(7, "here", at_s=0.0),
        lambda engine: engine.close_view(7),
        lambda engine: engine.say(7, RAIN),
        lambda engine: engine.cancel(7, 1),
        lambda engine: engine.act(7, {}),
        lambda engine: engine.rest(7, at_s=0.0, paused=True),
        lambda engine: engine.status(7),
    ],
)
def test_what_is_asked_of_a_view_that_is_not_open_is_refused_with_those_that_are(lockstep, ask):
    lockstep.engine.open_view(1, prompt="a red fox", seed=7)
    with pytest.raises(OptionError, match="view 7 is not open; open it first, or name one that is: 1"):
        ask(lockstep.engine)


def test_warming_up_leaves_no_trace(lockstep):
    progress = []
    lockstep.engine.warm_up(progress.append)
    assert progress == [0.5, 1.0]
    assert lockstep.engine.ticks == 0
    assert lockstep.engine.next_start_s() is None
    assert set(lockstep.engine._expected([])) == set(lockstep.engine.world.card.profiles.values())
    lockstep.engine.open_view(1, prompt="a red fox", seed=7)
    assert isinstance(lockstep.until_chunks(1)[0], Chunk)


def test_a_view_that_is_cut_again_and_again_keeps_no_other_scene_from_beginning(start):
    """Scenes of two profiles cannot begin in one call; the one that began first is made first."""
    run = start()
    for view, profile in enumerate(run.engine.world.card.profiles, start=1):
        run.engine.open_view(view, prompt="a red fox", seed=7, profile=profile)
    for number in range(100):
        run.engine.say(1, Wish(id=1 + number, verb="cut", text="a cave"))
        run.tick()
    assert run.chunks(2)
    assert not run.chunks(1), "its scenes never get to begin"


def test_scenes_that_warm_up_begin_in_as_few_calls_as_can_be(start):
    run = start(profile=replace(PROFILES["smooth"], opening_steps=(16, 4, 1, 1)))
    calls = []
    velocity = run.engine._dreamer.velocity
    run.engine._dreamer.velocity = lambda rows: calls.append(len(rows)) or velocity(rows)
    run.engine.warm_up(lambda done: None)
    assert len(calls) == 3 + WARM_UP_CHUNKS


def test_what_ticks_took_is_remembered_by_profile_and_number_of_views(start):
    run = start()
    run.engine.open_view(1, prompt="a red fox", seed=7)
    run.engine.open_view(2, prompt="a pig", seed=7)
    decode = run.engine._dreamer.decode

    def slow(clean, states):
        run.clock.now_s += 0.1 * len(clean)
        return decode(clean, states)

    run.engine._dreamer.decode = slow
    while len(run.chunks(1)) < 3 or len(run.chunks(2)) < 3:
        run.until_chunks(1)
    profile = run.engine.world.card.profiles[run.engine.world.card.default_profile]
    (measured,) = run.engine.batch_costs.items()
    assert measured == (profile, {views: pytest.approx(0.1 * views) for views in measured[1]})
    assert 2 in measured[1]


@pytest.mark.parametrize(("stride", "earlier"), [(1, 0.0), (2, 0.1), (4, 0.1)])
def test_a_far_viewpoint_begins_early_enough_for_an_event_that_comes_last(start, stride, earlier):
    """Ticks take 0.1 s a row; a near view begins as late as it can without an event, and stands still for one."""
    run = start(profile=PROFILES["events guided"])
    run.engine.open_view(1, prompt="a red fox", seed=7, stride=stride)
    velocity = run.engine._dreamer.velocity

    def slow(rows):
        run.clock.now_s += 0.1 * sum(1 + len(row.away) for row in rows)
        return velocity(rows)

    run.engine._dreamer.velocity = slow
    run.until_chunks(3)
    timeline = run.engine._views[1].timeline
    start_s = run.engine.next_start_s()
    assert start_s == pytest.approx(timeline.deadline_s - 0.1 - earlier - run.engine.config.margin_s)
    run.clock.now_s = start_s
    run.engine.say(1, Wish(id=5, verb="event", text="rain", hold_frames=64))
    run.until_chunks(1)
    stood_s = run.engine._views[1].timeline.start_s - timeline.start_s
    assert stood_s == pytest.approx(0.0 if earlier else 0.1 - run.engine.config.margin_s)


def test_warming_up_measures_the_batches_it_is_told_to_and_single_views(start):
    run = start(warm_up_views=3)
    run.engine.warm_up(lambda done: None)
    costs = run.engine.batch_costs
    assert set(costs) == set(run.engine.world.card.profiles.values())
    assert all(set(sizes) == {1, 3} for sizes in costs.values())
    assert run.engine.next_start_s() is None
    assert run.engine.ticks == 0
    counts = [len(taken) for sizes in run.engine._tick_costs._by_views.values() for taken in sizes.values()]
    assert counts == [WARM_UP_CHUNKS - 1] * 4, "the first of each is slow and not counted"
