"""Bookmarks: a view returns to what was on the screen, the same each time, under the words of now; what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from eddyline_runtime import requests
from eddyline_runtime.bookmarks import MAX_BOOKMARKS
from eddyline_runtime.config import Partition, Profile
from eddyline_runtime.prompts import Wish
from eddyline_runtime.snapshot import max_snapshot_bytes, write_snapshot

FOX, CASTLE = "a red fox in a forest", "a red fox in a castle hall"
PROFILES = {
    "smooth": Profile(partition=Partition(num_chunks=3, chunk_frames=2)),
    "responsive": Profile(partition=Partition(reference_frames=4, num_chunks=3, chunk_frames=1)),
}


def back(word, name, prompt="", view=1):
    return requests.Say(view=view, wish=Wish(id=word, verb="cut", text=prompt, bookmark=name))


def ask(run, *asked):
    for request in asked:
        run.outcomes += request(run.engine)


def bookmark(run, name, word=100, view=1):
    """Bookmark what is on the screen now; the epoch and the frame that the receipt says."""
    ask(run, requests.Bookmark(view=view, word=word, name=name, at_s=run.clock.now_s))
    told = run.told(word)[-1]
    return told.note.state, told.epoch, told.note.first_full_frame


@pytest.fixture(params=PROFILES)
def run(start, request):
    """A view whose scene runs, and whose playhead stands in its second chunk."""
    run = start(profile=PROFILES[request.param])
    run.engine.open_view(1, prompt=FOX, seed=7)
    second = run.until_chunks(4)[1]
    run.clock.now_s = second.due_s[1]
    return run


def test_a_return_shows_what_was_on_the_screen_whatever_came_in_between(run):
    """First as it was, but for the rounding of half precision."""
    seen = run.chunks()[1:4]
    assert bookmark(run, "forest") == ("applied", 0, seen[0].first_frame + 1)
    ask(run, requests.Say(view=1, wish=Wish(id=1, verb="prompt", text=CASTLE)))
    elsewhere = run.until_chunks(5)[-1]
    ask(run, back(2, "forest", FOX))
    again = run.until_chunks(3)
    assert [(chunk.epoch, chunk.first_frame) for chunk in again] == [
        (1, number * len(seen[0].frames)) for number in range(3)
    ]
    for now, then in zip(again, seen, strict=True):
        assert torch.allclose(now.latents, then.latents, atol=2e-2)
        assert np.abs(now.frames.astype(int) - then.frames).max() <= 4
    assert not torch.allclose(elsewhere.latents, seen[-1].latents, atol=0.2)
    (told,) = (told for told in run.told(2) if told.note.state == "applied")
    assert (told.epoch, told.note.first_influenced_frame, told.note.first_full_frame) == (1, 0, 0)


def test_a_place_is_the_same_each_time_and_another_place_is_another_one(run):
    bookmark(run, "one")
    run.until_chunks(6)
    bookmark(run, "other")
    made = {}
    for word, name in enumerate(("one", "other", "one"), start=1):
        ask(run, back(word, name, FOX))
        made[word] = run.until_chunks(5)
    for first, other, again in zip(*made.values(), strict=True):
        assert torch.equal(first.latents, again.latents)
        np.testing.assert_array_equal(first.frames, again.frames)
        assert not torch.allclose(first.latents, other.latents, atol=0.2)


def test_a_return_is_under_the_prompt_that_stands_and_ends_events_like_a_cut(run):
    bookmark(run, "forest")
    ask(
        run,
        requests.Say(view=1, wish=Wish(id=1, verb="event", text="it rains", hold_frames=10_000)),
        requests.Say(view=1, wish=Wish(id=2, verb="prompt", text=CASTLE)),
    )
    run.until_chunks(4)
    ask(run, requests.Say(view=1, wish=Wish(id=3, verb="prompt", text="a cat")), back(4, "forest"))
    assert {(chunk.prompt, chunk.events) for chunk in run.until_chunks(4)} == {("a cat", ())}
    assert [told.note.state for told in run.told(3)] == ["accepted", "superseded"]
    ask(run, back(5, "forest", FOX), requests.Say(view=1, wish=Wish(id=6, verb="event", text="it snows")))
    assert (run.until_chunks(1)[0].prompt, run.chunks()[-1].events) == (FOX, ("it snows",))


def test_what_was_said_first_gives_way_to_what_was_said_last(run):
    """A cut and two returns before one tick, and a return while a scene begins."""
    bookmark(run, "forest")
    ask(run, requests.Say(view=1, wish=Wish(id=1, verb="cut", text=CASTLE)), back(2, "forest"), back(3, "forest"))
    (chunk,) = run.until_chunks(1)
    assert (chunk.epoch, chunk.prompt) == (1, CASTLE), "the prompt of the cut is the one that stood"
    assert [run.told(word)[-1].note.state for word in (1, 2, 3)] == ["superseded", "superseded", "applied"]
    ask(run, requests.Say(view=1, wish=Wish(id=4, verb="cut", text="a desert")))
    run.engine.tick(run.clock.now_s)
    ask(run, back(5, "forest"))
    returned = run.until_chunks(2)
    assert {(chunk.epoch, chunk.prompt) for chunk in returned} == {(3, "a desert")}
    assert torch.allclose(returned[0].latents, chunk.latents, atol=0.2), "the scene that began is not seen"


def test_keys_that_were_held_at_the_bookmark_count_as_held_before(start):
    run = start(profile=replace(PROFILES["smooth"], action_guidance_scale=3.0))
    run.engine.open_view(1, prompt=FOX, seed=7)
    run.engine.act(1, {"ArrowLeft": 1.0})
    run.clock.now_s = run.until_chunks(5)[-1].due_s[0]
    bookmark(run, "forest")
    run.engine.act(1, {"ArrowRight": 1.0})
    run.until_chunks(5)
    ask(run, back(1, "forest"))
    run.until_chunks(1)
    change = run.engine._views[1].action_change
    assert (change.is_new, change.before) == (True, run.engine._views[1].bookmarks["forest"].action_change.after)


def test_bookmarks_outlive_cuts_and_rewinds_and_go_with_forks(run):
    first = run.chunks()[1]
    bookmark(run, "forest")
    ask(run, requests.Say(view=1, wish=Wish(id=1, verb="cut", text=CASTLE)))
    run.until_chunks(3)
    ask(run, requests.Rewind(view=1, word=2, seconds=0.1, at_s=run.clock.now_s))
    assert run.told(2)[-1].note.state == "applied"
    ask(run, requests.Fork(view=2, source=1, at_s=run.clock.now_s))
    bookmark(run, "castle", word=101, view=2)
    for view in (1, 2):
        ask(run, back(3, "forest", FOX, view=view))
        assert torch.allclose(run.until_chunks(1, view=view)[0].latents, first.latents, atol=2e-2)
    ask(run, back(4, "castle"))
    assert "'castle' is no bookmark of this view; there are 'forest'" in run.told(4)[-1].note.reason


def test_right_after_a_rewind_a_bookmark_keeps_what_is_still_on_the_screen_and_then_what_comes(run):
    first, shown = run.chunks()[:2]
    assert bookmark(run, "before") == ("applied", 0, shown.first_frame + 1)
    seconds = len(first.frames) / run.engine.world.card.fps
    ask(run, requests.Rewind(view=1, word=1, seconds=seconds, at_s=run.clock.now_s))
    assert bookmark(run, "after", word=101) == ("applied", 0, shown.first_frame + 1)
    (again,) = run.until_chunks(1)
    np.testing.assert_array_equal(again.frames, first.frames)
    run.clock.now_s = again.due_s[1] + 1e-6
    assert bookmark(run, "later", word=102) == ("applied", 1, 1)
    for word, (name, seen) in enumerate([("before", shown), ("after", shown), ("later", first)], start=2):
        ask(run, back(word, name, FOX))
        assert torch.allclose(run.until_chunks(1)[0].latents, seen.latents, atol=2e-2)


def test_after_a_return_one_can_go_back_to_before_it(run):
    bookmark(run, "forest")
    ask(run, requests.Say(view=1, wish=Wish(id=1, verb="cut", text=CASTLE)))
    castle = run.until_chunks(4)
    ask(run, back(2, "forest", FOX))
    forest = run.until_chunks(1)[0]
    run.clock.now_s = forest.due_s[0]
    ask(
        run,
        requests.Rewind(view=1, word=3, seconds=1.5 * (castle[1].due_s[0] - castle[0].due_s[0]), at_s=forest.due_s[0]),
    )
    again = run.until_chunks(1)[0]
    assert again.prompt == CASTLE
    assert any(torch.equal(again.latents, chunk.latents) for chunk in castle)


def test_returning_often_leaves_what_can_be_rewound(run):
    bookmark(run, "forest")
    held = len(run.engine._history[1]._moments)
    for word in range(1, 20):
        ask(run, back(word, "forest"))
        run.outcomes += run.engine.tick(run.clock.now_s)
    assert len(run.engine._history[1]._moments) <= held + 1


def test_a_snapshot_keeps_bookmarks_and_a_return_that_waits(run, start):
    bookmark(run, "forest")
    bookmark(run, "same", word=101)
    run.until_chunks(3)
    ask(run, back(1, "forest", CASTLE))
    card = run.engine.world.card
    data = write_snapshot(run.engine.save_view(1, 5, at_s=run.clock.now_s).snapshot, card)
    assert len(data) < max_snapshot_bytes(card)
    other = start(world=run.engine.world)
    ask(other, requests.Restore(view=1, epoch=0, at_s=other.clock.now_s, snapshot=data))
    for word in (2, 3):
        for ours, theirs in zip(run.until_chunks(3), other.until_chunks(3), strict=True):
            assert torch.equal(ours.latents, theirs.latents)
            assert (ours.prompt, theirs.prompt) == (CASTLE, CASTLE)
        ask(run, back(word, "same"))
        ask(other, back(word, "same"))


def test_too_many_and_unknown_bookmarks_are_refused_with_what_there_is(run):
    ask(run, back(1, "forest"))
    assert run.told(1)[-1].note.reason == "'forest' is no bookmark of this view; it has none"
    names = [f"place {number}" for number in range(MAX_BOOKMARKS)]
    assert {bookmark(run, name)[0] for name in names} == {"applied"}
    assert bookmark(run, "one too many")[0] == "rejected"
    reason = run.told(100)[-1].note.reason
    assert f"{MAX_BOOKMARKS} places are bookmarked in this view, which is the limit: 'place 0', " in reason
    assert bookmark(run, names[0])[0] == "applied", "a name can be used again"
    assert set(run.engine._views[1].bookmarks) == set(names)


def test_what_was_not_seen_yet_cannot_be_bookmarked(lockstep):
    lockstep.engine.open_view(1, prompt=FOX, seed=7)
    assert bookmark(lockstep, "forest")[0] == "rejected"
    assert "ask again once it shows its first frame" in lockstep.told(100)[-1].note.reason
    (first,) = lockstep.until_chunks(1)
    lockstep.clock.now_s = first.due_s[0] - 0.01
    assert bookmark(lockstep, "forest", word=101)[0] == "rejected", "made, but not due"
    lockstep.clock.now_s = first.due_s[0]
    assert bookmark(lockstep, "forest", word=102)[0] == "applied"
