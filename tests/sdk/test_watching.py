"""Watching a view that another client opened, and errors that say why a view is not there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

import eddyline
from eddyline import protocol
from eddyline.errors import (
    CapacityError,
    ClosedError,
    ConnectTimeoutError,
    OptionError,
    OwnerClosedError,
    SpectatorError,
    UnknownNameError,
    ViewError,
)
from eddyline.outbox import Outbox
from eddyline.testing import NoteLog, ScriptedRuntime, wait_until
from eddyline.view import View


@pytest.fixture
def guest(scripted: ScriptedRuntime) -> Iterator[eddyline.Runtime]:
    """Another game that is connected to the same runtime."""
    with eddyline.connect(scripted.endpoint) as connected:
        yield connected


@pytest.fixture
def watched(view: View, guest: eddyline.Runtime) -> View:
    """The first game's view, as the guest sees it."""
    seen = guest.watch_view("main")
    wait_until(lambda: seen.frame() is not None)
    return seen


def test_a_view_is_watched_by_its_name(view: View, watched: View) -> None:
    view.prompt("a green meadow")
    wait_until(lambda: (frame := watched.frame()) is not None and frame.prompt == "a green meadow")
    assert (watched.name, watched.rate, watched.state) == ("main", view.rate, "live")
    assert (watched.watches, view.watches) == (True, False)
    assert (watched.may_steer, view.may_steer) == (False, True)


def test_steering_what_is_not_shared_raises_at_once_and_says_who_may(watched: View) -> None:
    steering: tuple[Callable[[], object], ...] = (
        lambda: watched.event("rain"),
        lambda: watched.prompt("a hall"),
        lambda: watched.cut("a hall"),
        lambda: watched.rewind(1.0),
        lambda: watched.bookmark("hall"),
        lambda: watched.return_to("hall"),
        lambda: watched.act(["ArrowLeft"]),
    )
    for call in steering:
        with pytest.raises(SpectatorError, match=r"View\.share\(\)"):
            call()
    for its_owners in (watched.pause, watched.resume, watched.fork, watched.snapshot, watched.share):
        with pytest.raises(SpectatorError, match="another client's"):
            its_owners()


def test_while_a_view_is_shared_whoever_watches_steers_too(
    view: View, watched: View, scripted: ScriptedRuntime
) -> None:
    view.share()
    wait_until(lambda: watched.may_steer)
    watched.act(["ArrowLeft"])
    theirs, ours = watched.event("blue", hold_s=60.0), view.event("rain", hold_s=60.0)
    wait_until(lambda: theirs.is_final and ours.is_final)
    assert (theirs.state, ours.state) == ("applied", "applied")
    wait_until(lambda: (frame := view.frame()) is not None and set(frame.events) == {"blue", "rain"})
    scripted.wait_for(protocol.Act)
    view.share(False)
    wait_until(lambda: not watched.may_steer)
    view.share()
    wait_until(lambda: watched.may_steer)
    watched.act(["ArrowLeft"])  # the runtime has let it go in between
    assert [act.keys for act in scripted.wait_for(protocol.Act, 2)] == [{"ArrowLeft": 1.0}] * 2


def test_words_that_come_after_a_view_is_no_longer_shared_are_rejected_with_the_reason(
    view: View, watched: View, scripted: ScriptedRuntime
) -> None:
    view.share()
    wait_until(lambda: watched.may_steer)
    scripted._do(lambda: setattr(next(iter(scripted._clients.values())).views[view.id][0], "shared", False))
    receipt = watched.event("rain")
    wait_until(lambda: receipt.state == "rejected")
    assert "not shared" in receipt.reason


def test_a_name_that_no_view_has_is_a_typed_error(guest: eddyline.Runtime) -> None:
    seen = guest.watch_view("nobody")
    with pytest.raises(UnknownNameError, match="'nobody'"):
        seen.wait_open()
    assert isinstance(seen.error, UnknownNameError)
    assert NoteLog(guest).wait_kind(eddyline.ViewClosed).view is seen
    assert seen.event("rain").state in ("sent", "rejected")


@pytest.mark.parametrize("name", ["", "x" * 129])
def test_a_name_that_names_nothing_is_refused_at_once(guest: eddyline.Runtime, name: str) -> None:
    with pytest.raises(OptionError):
        guest.watch_view(name)


def test_a_view_that_its_owner_closed_ends_with_a_typed_error_and_keeps_its_last_frame(
    view: View, watched: View, guest: eddyline.Runtime
) -> None:
    view.close()
    note = NoteLog(guest).wait_kind(eddyline.ViewClosed)
    assert note.view is watched
    assert isinstance(watched.error, OwnerClosedError)
    assert "owner closed it" in watched.closed_reason
    assert watched.frame() is not None
    with pytest.raises(OwnerClosedError):
        watched.wait_open()


def test_closing_what_is_watched_leaves_it_to_its_owner(view: View, watched: View, guest: eddyline.Runtime) -> None:
    watched.close()
    last = view.frame()
    assert last is not None
    wait_until(lambda: (frame := view.frame()) is not None and frame.index > last.index + 20)
    assert watched.state == "closed"


def test_a_guest_that_reads_nothing_costs_the_owner_no_frame(view: View, guest: eddyline.Runtime) -> None:
    seen = guest.watch_view("main")
    seen.wait_open(30.0)
    first = view.frame()
    assert first is not None
    wait_until(lambda: (frame := view.frame()) is not None and frame.index > first.index + 200)
    wait_until(lambda: seen.status.dropped_frames > 0)


def test_what_is_watched_is_found_again_after_the_connection_was_lost(
    view: View, watched: View, scripted: ScriptedRuntime
) -> None:
    view.share()
    wait_until(lambda: watched.may_steer)
    last = watched.frame()
    assert last is not None
    scripted.drop_connections()
    wait_until(
        lambda: view.frame() is not None and (frame := watched.frame()) is not None and frame.index > last.index + 40
    )
    receipt = watched.event("rain")
    wait_until(lambda: receipt.state == "applied")


def test_a_watched_view_is_asked_for_again_and_nothing_of_its_owners_is_said() -> None:
    sent: list[protocol.ClientMessage] = []
    outbox = Outbox(lambda message, _: sent.append(message))
    outbox.welcome(())
    outbox.watch_view(protocol.WatchView(view=4, name="guard"))
    opened = protocol.ViewOpened(view=4, epoch=3, profile="smooth", fps=16.0, chunk_frames=8, height=2, width=2)
    assert outbox.view_opened(opened) == (True, False)
    for known, kinds in (((4,), [protocol.Credit]), ((), [protocol.WatchView])):
        outbox.lost()
        sent.clear()
        outbox.welcome(known)
        assert [type(message) for message in sent] == kinds


def test_whether_a_view_is_shared_is_said_again_after_a_reconnect() -> None:
    sent: list[protocol.ClientMessage] = []
    outbox = Outbox(lambda message, _: sent.append(message))
    outbox.open_view(protocol.OpenView(view=1, prompt="a room"))
    outbox.share_view(1, True)
    outbox.welcome(())
    assert sent[-1] == protocol.ShareView(view=1, shared=True)


@pytest.mark.parametrize("code", ["no_capacity", "too_many_views"])
def test_a_view_that_there_is_no_room_for_is_a_typed_error_with_what_would_fit(
    runtime: eddyline.Runtime, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def refuse(self: ScriptedRuntime, client: object, message: protocol.OpenView) -> None:
        text = "2 such views fit in real time here; open it with stride=2"
        self._send(client.route, protocol.ErrorMessage(code=code, message=text, view=message.view))  # type: ignore[attr-defined]

    monkeypatch.setattr(ScriptedRuntime, "_open_view", refuse)
    view = runtime.open_view("a red room")
    with pytest.raises(CapacityError, match="stride=2"):
        view.wait_open()
    assert isinstance(view.error, CapacityError)
    assert NoteLog(runtime).wait_kind(eddyline.ViewClosed).reason == str(view.error)


def test_waiting_for_a_view_ends_when_it_is_open_or_closed(view: View) -> None:
    view.wait_open()
    view.close()
    with pytest.raises(ClosedError):
        view.wait_open()


def test_waiting_for_a_view_of_a_runtime_that_does_not_answer_ends_when_the_time_is_over() -> None:
    with eddyline.launch(command=[sys.executable, "-c", "import time; time.sleep(600)"], wait=False) as runtime:
        late = runtime.open_view("a red room")
        with pytest.raises(ConnectTimeoutError, match=r"0\.05 s"):
            late.wait_open(0.05)


def test_a_fork_of_a_view_that_the_runtime_closed_is_closed_too(
    view: View, scripted: ScriptedRuntime, runtime: eddyline.Runtime
) -> None:
    scripted.send(protocol.ViewClosed(view=view.id, reason="no room"))
    wait_until(lambda: view.is_closed)
    fork = view.fork()
    with pytest.raises(ViewError, match="is closed"):
        fork.wait_open()
