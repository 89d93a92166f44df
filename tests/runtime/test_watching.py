"""Several clients see one view: who may steer it, whose frames are whose, and what ends it for whom."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.runtime.serving import QUICK, RawClient, Serving, event, serving

from eddyline import protocol
from eddyline_runtime.view import Chunk
from eddyline_runtime.weights import World

OWNER, GUEST, ANOTHER = (f"{name}-0123456789abcdef" for name in ("owner", "guest", "another"))
PATIENT = replace(QUICK, park_s=600.0, silence_s=600.0)
"""Nobody parks, and who listens to somebody else for long is not taken for lost."""


@pytest.fixture
def served(tiny: World) -> Iterator[Serving]:
    with serving(tiny, PATIENT) as running:
        yield running


def joined(served: Serving, token: str) -> RawClient:
    client = served.client(token)
    client.hello()
    return client


def opened(served: Serving, **fields: Any) -> RawClient:
    """The owner of a view called "guard"."""
    owner = joined(served, OWNER)
    owner.open(1, name="guard", **fields)
    return owner


def watching(served: Serving, token: str = GUEST, *, view: int = 5, credits: int = protocol.MAX_CREDITS) -> RawClient:
    guest = joined(served, token)
    guest.send(protocol.WatchView(view=view, name="guard", credits=credits))
    guest.wait(protocol.ViewOpened)
    return guest


def test_who_watches_sees_the_same_frames_under_the_words_of_the_owner(served: Serving) -> None:
    owner = opened(served)
    owner.frame(7)
    guest = watching(served)
    assert not guest.wait(protocol.ViewShared).shared
    owner.send(event(1, "it rains", hold_s=60.0))
    applied = owner.receipt(1, "applied")
    seen = guest.frame(applied.first_full_frame)
    theirs = owner.frame(seen.index)
    assert (seen.view, theirs.view) == (5, 1)
    assert (seen.events, seen.epoch, seen.due_s) == (theirs.events, theirs.epoch, theirs.due_s)
    assert not any(isinstance(message, protocol.ReceiptUpdate) for message in guest.heard)


def test_a_name_that_no_view_has_or_that_two_have_is_refused_with_the_cure(served: Serving) -> None:
    guest = joined(served, GUEST)
    guest.send(protocol.WatchView(view=5, name="guard"))
    assert "no view is called 'guard'" in guest.error("unknown_name").message
    owner = opened(served)
    owner.open(2, name="guard")
    guest.send(protocol.WatchView(view=6, name="guard"))
    error = guest.error("unknown_name")
    assert (error.view, "2 views are called" in error.message) == (6, True)
    owner.send(protocol.CloseView(view=2))
    owner.wait(protocol.ViewClosed)
    guest.send(protocol.WatchView(view=7, name="guard", credits=9))
    guest.wait(protocol.FrameHeader)


def test_who_watches_may_not_steer_pause_save_or_fork_what_is_not_shared(served: Serving) -> None:
    owner = opened(served)
    owner.frame(0)
    guest = watching(served)
    forbidden = [
        protocol.Event(id=1, view=5, text="a"),
        protocol.Prompt(id=2, view=5, text="a"),
        protocol.Cut(id=3, view=5, text="a"),
        protocol.Rewind(id=4, view=5, seconds=0.1),
        protocol.Cancel(id=5, view=5),
        protocol.SaveView(id=6, view=5),
        protocol.Act(view=5, keys={"ArrowLeft": 1.0}),
        protocol.Pause(view=5),
        protocol.Resume(view=5),
        protocol.ShareView(view=5, shared=True),
    ]
    for message in forbidden:
        guest.send(message)
        error = guest.error("not_allowed")
        assert (error.view, error.id) == (5, getattr(message, "id", None))
    guest.send(protocol.ForkView(view=8, source=5))
    assert guest.error("not_allowed").view == 8
    (view,) = served.server._desk._views.values()
    assert (view.paused, view.shared, view.held_by) == (False, False, view.owner)
    owner.frame(24)


def test_while_a_view_is_shared_both_steer_and_each_gets_its_own_receipts_for_equal_ids(served: Serving) -> None:
    owner = opened(served)
    owner.frame(0)
    guest = watching(served)
    owner.send(protocol.ShareView(view=1, shared=True))
    guest.wait(protocol.ViewShared, lambda told: told.shared)
    owner.send(event(1, "it rains", hold_s=60.0))
    guest.send(replace_view(event(1, "it snows", hold_s=60.0), 5), replace_view(event(2, "later", at=10_000), 5))
    assert owner.receipt(1, "applied").view == 1
    assert guest.receipt(1, "applied").view == 5
    guest.send(protocol.Cancel(id=2, view=5))
    guest.receipt(2, "cancelled")
    owner.wait(protocol.FrameHeader, lambda frame: set(frame.events) == {"it rains", "it snows"})
    guest.send(protocol.Rewind(id=3, view=5, seconds=3600.0))
    assert "cannot be rewound" in guest.receipt(3, "rejected").reason
    guest.send(protocol.Pause(view=5))
    guest.error("not_allowed")
    owner.send(protocol.ShareView(view=1, shared=False))
    guest.wait(protocol.ViewShared, lambda told: not told.shared)
    guest.send(replace_view(event(4), 5))
    assert guest.error("not_allowed").id == 4
    (view,) = served.server._desk._views.values()
    assert view.words == {}


def replace_view(message: protocol.Event, view: int) -> protocol.Event:
    return protocol.Event(id=message.id, view=view, text=message.text, hold_s=message.hold_s, at=message.at)


def test_keys_of_whoever_held_them_last_count_until_that_one_leaves(served: Serving) -> None:
    owner = opened(served)
    owner.frame(0)
    guest = watching(served)
    owner.send(protocol.ShareView(view=1, shared=True), protocol.Act(view=1, keys={"ArrowRight": 1.0}))
    guest.wait(protocol.ViewShared, lambda told: told.shared)
    state = next(iter(served.engine._views.values()))

    def held_within_a_while(expected: dict[str, float]) -> bool:
        for index in range(8, 4000, 8):
            actions = dict(zip(served.engine.world.card.action_names, state.actions, strict=True))
            if {name: value for name, value in actions.items() if value} == expected:
                return True
            owner.send(protocol.Credit(view=1, frames=64))
            owner.frame(index)
        return False

    assert held_within_a_while({"ArrowRight": 1.0})
    guest.send(protocol.Act(view=5, keys={"ArrowLeft": 1.0}))
    assert held_within_a_while({"ArrowLeft": 1.0})
    guest.send(protocol.CloseView(view=5))
    guest.wait(protocol.ViewClosed)
    assert held_within_a_while({})


def test_a_slow_spectator_loses_its_own_frames_counted_and_nobody_elses(served: Serving) -> None:
    owner = opened(served)
    guest = watching(served, credits=1)
    guest.frame(0)
    owner.frame(40)
    frames = [message for message in owner.heard if isinstance(message, protocol.FrameHeader)]
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert frames[-1].dropped == 0
    (view,) = served.server._desk._views.values()
    assert [len(seat.ring) <= seat.ring.capacity == 16 for seat in view.seats] == [True, True]
    guest.send(protocol.Credit(view=5, frames=9))
    later = guest.wait(protocol.FrameHeader, lambda frame: frame.index > 8)
    first = min(message.index for message in guest.heard if isinstance(message, protocol.FrameHeader))
    assert later.dropped >= later.index - first - 16 > 0
    assert guest.wait(protocol.StatusUpdate).dropped > 0
    assert owner.wait(protocol.StatusUpdate).dropped == 0


def test_the_view_ends_for_all_when_its_owner_closes_it_and_goes_on_when_a_guest_leaves(served: Serving) -> None:
    owner = opened(served)
    leaving, staying = watching(served), watching(served, ANOTHER, view=1)
    leaving.send(protocol.Bye())
    staying.frame(16)
    owner.send(protocol.CloseView(view=1))
    closed = staying.wait(protocol.ViewClosed)
    assert (closed.view, closed.reason) == (1, "its owner closed it")
    assert owner.wait(protocol.ViewClosed).reason == ""
    staying.send(protocol.Credit(view=1, frames=1))
    staying.error("unknown_view")
    assert staying.welcome_views() == ()


def test_a_client_that_watches_its_own_view_leaves_nothing_behind(served: Serving) -> None:
    owner = opened(served)
    owner.send(protocol.WatchView(view=2, name="guard"), protocol.Bye(), protocol.Ping(sent_s=0.0))
    owner.error("hello_first")
    assert served.server._desk._views == {}
    assert owner.hello().views == ()
    owner.open(3, name="guard")
    owner.frame(0)


def test_words_of_a_guest_who_leaves_before_they_are_applied_are_withdrawn_as_it_is_told(served: Serving) -> None:
    owner = opened(served)
    owner.frame(0)
    guest = watching(served)
    owner.send(protocol.ShareView(view=1, shared=True))
    guest.wait(protocol.ViewShared, lambda told: told.shared)
    guest.send(replace_view(event(1, "it snows", hold_s=60.0, at=40), 5), protocol.CloseView(view=5))
    assert guest.wait(protocol.ReceiptUpdate, lambda receipt: receipt.state == "cancelled").id == 1
    owner.frame(64)
    assert not any(isinstance(message, protocol.FrameHeader) and message.events for message in owner.heard)
    assert not any(isinstance(message, protocol.ReceiptUpdate) for message in owner.heard)


def test_a_view_that_only_a_guest_reads_goes_on_and_parks_when_nobody_does(tiny: World) -> None:
    with serving(tiny, replace(PATIENT, park_s=0.3)) as served:
        owner = opened(served, credits=3)
        guest = watching(served)
        guest.frame(24)
        assert not any(getattr(message, "state", "") == "parked" for message in guest.heard)
        guest.send(protocol.CloseView(view=5))
        owner.wait(protocol.StatusUpdate, lambda status: status.state == "parked")
        again = watching(served, ANOTHER)
        again.frame(0)
        again.wait(protocol.StatusUpdate, lambda status: status.state == "live")


def test_a_guest_that_comes_back_finds_what_it_watched_and_whether_it_is_shared(served: Serving) -> None:
    owner = opened(served)
    owner.frame(0)
    guest = watching(served)
    guest.close()
    owner.send(protocol.ShareView(view=1, shared=True))
    again = served.client(GUEST)
    assert again.hello().views == (5,)
    assert again.wait(protocol.ViewShared, lambda told: told.view == 5)
    again.send(protocol.WatchView(view=5, name="guard"), protocol.Credit(view=5, frames=64))
    assert again.wait(protocol.ViewOpened).view == 5
    again.frame(0)


def test_more_who_watch_than_are_served_are_refused_with_the_limit(tiny: World) -> None:
    with serving(tiny, replace(PATIENT, max_watchers=1)) as served:
        opened(served)
        watching(served)
        late = joined(served, ANOTHER)
        late.send(protocol.WatchView(view=5, name="guard"))
        assert "watched 1 times already" in late.error("too_many_watchers").message


def test_no_tick_includes_a_view_that_nobody_reads_until_it_is_read_again(tiny: World) -> None:
    with serving(tiny, replace(PATIENT, park_s=0.3)) as served:
        batches: list[set[int]] = []
        make_chunks = served.engine._make_chunks
        parked = threading.Event()

        def note(batch: Any) -> Any:
            if parked.is_set():
                batches.append({state.view for state in batch})
            return make_chunks(batch)

        served.engine._make_chunks = note  # type: ignore[method-assign]
        client = joined(served, OWNER)
        client.open(1, credits=3)
        client.open(2)
        unread, read = served.server._desk._views
        client.wait(protocol.StatusUpdate, lambda status: (status.view, status.state) == (1, "parked"))
        parked.set()

        def read_on(chunks: int) -> None:
            for _ in range(chunks):
                client.send(protocol.Credit(view=2, frames=64))
                client.wait(protocol.FrameHeader, lambda frame: frame.view == 2 and frame.index % 8 == 7)

        read_on(3)
        assert len(batches) >= 3
        assert set.union(*batches) == {read}
        client.send(protocol.Credit(view=1, frames=200))
        client.wait(protocol.FrameHeader, lambda frame: frame.view == 1 and frame.index >= 24)
        assert unread in set.union(*batches)


def test_chunks_are_kept_once_however_many_watch(served: Serving) -> None:
    owner = opened(served)
    watching(served, credits=0)
    watching(served, ANOTHER, credits=0)
    owner.frame(40)
    (view,) = served.server._desk._views.values()
    first, second = ([waiting.chunk for waiting in seat.ring._frames] for seat in view.seats[1:])
    assert len(first) == len(second) > 0
    assert all(isinstance(chunk, Chunk) for chunk in first)
    assert {id(chunk.frames) for chunk in first} & {id(chunk.frames) for chunk in second}
