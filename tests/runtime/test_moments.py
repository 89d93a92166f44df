"""Moments of a view: another view goes on from one bit for bit, a view goes back to one, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from eddyline.errors import OptionError
from eddyline_runtime import moments
from eddyline_runtime.config import Partition, Profile
from eddyline_runtime.outcomes import Rewound
from eddyline_runtime.prompts import Wish
from eddyline_runtime.view import Unshown

RAIN = Wish(id=1, verb="event", text="it rains", hold_frames=48)
NIGHT = Wish(id=2, verb="prompt", text="a red fox at night")
PROFILES = {
    "smooth": Profile(partition=Partition(num_chunks=4, chunk_frames=2)),
    "responsive": Profile(partition=Partition(reference_frames=4, num_chunks=4, chunk_frames=1)),
    "keys guided": Profile(partition=Partition(num_chunks=3, chunk_frames=2), action_guidance_scale=3.0),
    "events guided": Profile(
        partition=Partition(num_chunks=3, chunk_frames=2, micro_steps=2), event_guidance_scale=2.5
    ),
}


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.latents, other.latents)
        np.testing.assert_array_equal(one.frames, other.frames)
        assert (one.prompt, one.events) == (other.prompt, other.events)


@pytest.mark.parametrize("name", PROFILES)
def test_a_view_revived_elsewhere_goes_on_bit_for_bit(start, name):
    """An event is live, another one and a prompt wait for frames to come, a key is held."""
    first = start(profile=PROFILES[name])
    first.engine.open_view(1, prompt="a red fox", seed=7)
    first.until_chunks(3)
    first.engine.act(1, {"ArrowLeft": 1.0})
    first.engine.say(1, RAIN)
    first.until_chunks(2)
    head = first.chunks()[-1].first_frame
    first.engine.say(1, replace(RAIN, id=3, text="night falls", at=head + 48))
    first.engine.say(1, replace(NIGHT, at=head + 36))
    moment = first.engine.moment(1)
    second = start(profile=PROFILES[name])
    unshown = (Unshown(ours_unseen := first.chunks()[-1].frames[-2:], "a red fox", ("it rains",)),) * 3
    again = second.engine.revive_view(5, moment, epoch=3, unshown=unshown, at_s=second.clock.now_s)
    assert [(chunk.first_frame, chunk.events) for chunk in again] == [
        (0, ("it rains",)),
        (2, ("it rains",)),
        (4, ("it rains",)),
    ]
    np.testing.assert_array_equal(again[2].frames, ours_unseen)
    assert again[2].due_s[1] == second.clock.now_s + 5 / second.engine.world.card.fps
    ours, theirs = first.until_chunks(14), second.until_chunks(14, view=5)
    assert_same(ours, theirs)
    assert {chunk.epoch for chunk in theirs} == {3}
    assert [chunk.first_frame for chunk in theirs] == [6 + len(ours[0].frames) * n for n in range(14)]
    assert ours[-1].prompt == NIGHT.text
    assert not second.told(2), "nobody there holds these receipts"
    assert not second.told(3)


def test_two_views_from_one_moment_differ_only_by_what_they_are_told(start):
    run = start()
    run.engine.open_view(1, prompt="a red fox", seed=7)
    run.until_chunks(4)
    moment = run.engine.moment(1)
    plain, steered = start(), start()
    plain.engine.revive_view(1, moment, at_s=0.0)
    steered.engine.revive_view(1, moment, at_s=0.0)
    assert_same(plain.until_chunks(2), steered.until_chunks(2))
    steered.engine.say(1, RAIN)
    plain.until_chunks(3)
    steered.until_chunks(3)
    (told,) = steered.told(1)
    for one, other in zip(plain.chunks(), steered.chunks(), strict=True):
        assert torch.equal(one.latents, other.latents) == (one.first_frame < told.note.first_influenced_frame)


def test_rewound_video_is_the_video_that_was(start):
    run = start()
    run.engine.open_view(1, prompt="a red fox", seed=7)
    run.until_chunks(8)
    before = run.chunks()
    made, fps = 8 * len(before[0].frames), run.engine.world.card.fps
    run.clock.now_s = before[-1].due_s[-1]
    rewound = run.engine.rewind(1, 1.0, at_s=run.clock.now_s)
    assert rewound.epoch == 1
    chunk_s = len(before[0].frames) / fps
    assert 1.0 <= rewound.by_s < 1.0 + chunk_s
    first = (made - 1 - round(rewound.by_s * fps)) // len(before[0].frames)
    again = run.until_chunks(len(before) - first)
    assert_same(before[first:], again)
    assert [chunk.first_frame for chunk in again] == [len(before[0].frames) * n for n in range(len(again))]
    assert again[0].epoch == 1
    assert again[0].due_s[0] > before[-1].due_s[-1], "the playhead never goes back on the clock"


def test_rewinding_undoes_what_was_said_since_and_keeps_what_waits(start):
    run = start()
    run.engine.open_view(1, prompt="a red fox", seed=7)
    run.until_chunks(6)
    run.engine.say(1, RAIN)
    run.until_chunks(3)
    run.clock.now_s = run.chunks()[-1].due_s[-1]
    run.engine.say(1, replace(NIGHT, at=run.chunks()[-1].first_frame + 500))
    run.engine.rewind(1, 3.0, at_s=run.clock.now_s)
    again = run.until_chunks(6)
    assert all(chunk.events == () for chunk in again)
    assert again[-1].prompt == NIGHT.text
    (told,) = run.told(2)
    assert told.epoch == 1


def test_one_can_go_back_again_and_beyond_a_cut(start):
    run = start()
    run.engine.open_view(1, prompt="a red fox", seed=7)
    first = run.until_chunks(4)
    run.engine.say(1, Wish(id=4, verb="cut", text="a castle"))
    run.until_chunks(4)
    fps, size = run.engine.world.card.fps, len(first[0].frames)
    for _ in range(2):
        run.clock.now_s = run.chunks()[-1].due_s[-1]
        run.engine.rewind(1, 3 * size / fps, at_s=run.clock.now_s)
        last = run.until_chunks(1)
    assert last[0].prompt == "a red fox"
    assert last[0].epoch == 3
    assert torch.equal(last[0].latents, first[1].latents)


@pytest.mark.parametrize("chunks", [0, 1, 4])
def test_a_fork_shows_what_its_source_shows_until_one_of_them_is_told_something(start, chunks):
    """Also one of a scene that is still beginning."""
    run = start()
    run.engine.open_view(1, prompt="a red fox", seed=7)
    run.engine.tick(run.clock.now_s)
    run.until_chunks(chunks) if chunks else None
    run.engine.act(1, {"ArrowLeft": 1.0})
    run.engine.say(1, replace(NIGHT, at="next"))
    run.clock.now_s += 0.3
    unseen = run.engine.fork_view(1, 2, at_s=run.clock.now_s)
    made = [frame for chunk in run.chunks() for frame in chunk.frames]
    shown = len(made) - sum(len(chunk.frames) for chunk in unseen)
    while len(run.chunks(2)) < 5 or len(run.chunks(1)) < chunks + 5:
        run.until_chunks(1, view=2)
    source = [frame for chunk in run.chunks(1) for frame in chunk.frames][shown:]
    fork = [frame for chunk in [*unseen, *run.chunks(2)] for frame in chunk.frames]
    for ours, theirs in zip(source, fork, strict=False):
        assert np.abs(ours.astype(int) - theirs).max() <= 1, "rows of one batch differ by rounding"
    assert run.chunks(2)[0].first_frame == sum(len(chunk.frames) for chunk in unseen)
    assert run.chunks(2)[-1].prompt == NIGHT.text
    assert {told.view for told in run.told(2)} == {1}
    run.engine.say(2, replace(RAIN, id=9))
    run.until_chunks(8, view=2)
    assert run.chunks(2)[-1].events == ("it rains",)
    assert run.chunks(1)[-1].events == ()


def test_a_fork_while_a_cut_is_on_its_way_first_shows_what_was_not_due_and_then_the_new_scene(start):
    run = start()
    run.engine.open_view(1, prompt="a red fox", seed=7)
    last = run.until_chunks(4)[-1]
    run.engine.say(1, Wish(id=4, verb="cut", text="a castle"))
    run.clock.now_s = last.due_s[2] + 1e-6
    run.engine.tick(run.clock.now_s)
    run.engine.say(1, replace(RAIN, at=50))
    (unseen,) = run.engine.fork_view(1, 2, at_s=run.clock.now_s)
    np.testing.assert_array_equal(unseen.frames, last.frames[3:])
    assert (unseen.epoch, unseen.first_frame, unseen.prompt) == (0, 0, "a red fox")
    run.until_chunks(8, view=2)
    scene, size = run.chunks(2), len(last.frames)
    assert [(chunk.epoch, chunk.first_frame) for chunk in scene] == [
        (0, len(unseen.frames) + size * number) for number in range(8)
    ]
    assert scene[0].due_s[0] == pytest.approx(unseen.due_s[-1] + 1 / run.engine.world.card.fps)
    for ours, theirs in zip(run.chunks(1)[4:], scene, strict=False):
        assert np.abs(ours.frames.astype(int) - theirs.frames).max() <= 1, "rows of one batch differ by rounding"
        assert (ours.prompt, ours.events) == (theirs.prompt, theirs.events)
    assert {chunk.events for chunk in scene} == {(), ("it rains",)}, "words for a frame count on from the old ones"


def test_history_is_bounded_and_the_rest_is_refused_with_how_far_it_goes(start):
    run = start(history_s=1.0)
    run.engine.open_view(1, prompt="a red fox", seed=7)
    with pytest.raises(OptionError, match="still beginning"):
        run.engine.moment(1)
    assert run.engine.save_view(1, 5, at_s=0.0).snapshot is None
    with pytest.raises(OptionError, match=r"remembers the last 0\.0 s"):
        run.engine.rewind(1, 1.0, at_s=run.clock.now_s)
    run.until_chunks(10)
    run.clock.now_s = run.chunks()[-1].due_s[-1]
    for seconds in (0.0, -1.0, float("nan"), 2.5):
        with pytest.raises(OptionError, match=r"cannot be rewound; the view remembers the last 1\.[0-9] s"):
            run.engine.rewind(1, seconds, at_s=run.clock.now_s)
    assert isinstance(run.engine.rewind(1, 0.9, at_s=run.clock.now_s), Rewound)


def test_a_view_is_not_revived_where_one_is_open(start):
    run = start()
    run.engine.open_view(1, prompt="a red fox", seed=7)
    run.until_chunks(1)
    with pytest.raises(OptionError, match="view 1 is open already"):
        run.engine.revive_view(1, run.engine.moment(1), at_s=0.0)


def test_moments_taken_together_are_those_of_each_view_and_stay_what_they_are(lockstep):
    engine = lockstep.engine
    for view in (1, 2, 3):
        engine.open_view(view, prompt="a red fox", seed=view)
    lockstep.until_chunks(3, view=3)
    states = [engine._views[view] for view in (1, 2, 3)]
    alone = [moments.take(state) for state in states]
    together = moments.take_all(states)
    for one, other, state in zip(alone, together, states, strict=True):
        assert torch.equal(one.latents, other.latents)
        assert torch.equal(one.decoded, other.decoded)
        assert other.latents.untyped_storage().nbytes() == other.latents.nbytes, "it keeps no other view's alive"
        with torch.inference_mode():
            state.latents.zero_()
        assert other.latents.abs().sum() > 0
