"""Faults, injected for real: a runtime that hangs up, dies, hangs, stalls, or sends nonsense."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from msgspec.structs import replace

import eddyline
from eddyline import protocol
from eddyline.errors import BindError, ConnectTimeoutError, ProtocolError, VersionError, ViewError
from eddyline.frames import CREDIT_FRAMES
from eddyline.link import Link
from eddyline.notes import ConnectionLost, ConnectionRegained, ErrorReported, RuntimeGone, RuntimeStalled, ViewOpened
from eddyline.testing import NoteLog, ScriptedRuntime, wait_until
from eddyline.view import View


def wait_closed(notes: NoteLog, view: View) -> eddyline.Note:
    return notes.wait(lambda note: isinstance(note, eddyline.ViewClosed) and note.view is view)


def test_a_runtime_that_hangs_up_is_noticed_and_found_again_with_its_views(
    view: View, scripted: ScriptedRuntime, notes: NoteLog
) -> None:
    scripted.drop_connections()
    notes.wait_kind(ConnectionLost)
    regained = notes.wait_kind(ConnectionRegained)
    assert regained.same_runtime
    frame = view.frame()
    assert frame is not None
    wait_until(lambda: (now := view.frame()) is not None and now.index > frame.index + 20)
    assert frame.epoch == 0


def test_words_sent_while_the_runtime_hangs_are_applied_once_afterwards(
    view: View, scripted: ScriptedRuntime, notes: NoteLog
) -> None:
    scripted.hang()
    receipt = view.event("blue", hold_s=60.0)
    notes.wait_kind(ConnectionLost)
    assert view.state == "lost"
    assert view.frame() is not None
    with pytest.raises(ConnectTimeoutError, match="did not come back"):
        view.wait_open(0.05)
    scripted.recover()
    view.wait_open()
    wait_until(lambda: receipt.is_final)
    assert receipt.state == "applied"
    wait_until(lambda: (frame := view.frame()) is not None and "blue" in frame.events)
    frame = view.frame()
    assert frame is not None
    assert frame.events == ("blue",)


def test_words_that_cross_a_dropped_connection_are_applied(view: View, scripted: ScriptedRuntime) -> None:
    receipts = []
    for turn in range(30):
        receipts.append(view.event(f"event {turn}"))
        if turn % 10 == 5:
            scripted.drop_connections()
    wait_until(lambda: all(receipt.is_final for receipt in receipts))
    assert {receipt.state for receipt in receipts} == {"applied"}


def test_a_runtime_process_that_was_replaced_opens_the_views_anew_under_their_last_prompt(
    view: View, scripted: ScriptedRuntime, notes: NoteLog
) -> None:
    receipt = view.prompt("a green meadow")
    view.act(["ArrowRight"])
    wait_until(lambda: receipt.is_final)
    scripted.kill()
    notes.wait_kind(ConnectionLost)
    waiting = view.event("blue", at=10**6)
    scripted.restart()
    regained = notes.wait_kind(ConnectionRegained)
    assert not regained.same_runtime
    view.wait_open()
    notes.wait(lambda note: isinstance(note, ViewOpened) and note.again)
    wait_until(lambda: (frame := view.frame()) is not None and frame.epoch == 1)
    frame = view.frame()
    assert frame is not None
    assert frame.prompt == "a green meadow"
    wait_until(lambda: waiting.state == "applied")
    assert scripted.wait_for(protocol.Act, 2)


def test_a_view_that_a_new_runtime_does_not_have_is_opening_until_it_has(
    view: View, scripted: ScriptedRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[str] = []
    opened = View.receive_opened

    def receive_opened(view: View, message: protocol.ViewOpened) -> None:
        states.append(view.state)
        opened(view, message)

    monkeypatch.setattr(View, "receive_opened", receive_opened)
    scripted.kill()
    scripted.restart()
    wait_until(lambda: bool(states))
    view.wait_open()
    assert (states, view.state) == (["opening"], "live")


def test_a_stall_is_told_once_though_the_runtime_answers(view: View, scripted: ScriptedRuntime, notes: NoteLog) -> None:
    scripted.stall()
    notes.wait_kind(RuntimeStalled)
    scripted.recover()
    last = view.frame()
    assert last is not None
    wait_until(lambda: (frame := view.frame()) is not None and frame.index > last.index + 20)
    notes.seen += notes.runtime.poll()
    assert sum(isinstance(note, RuntimeStalled) for note in notes.seen) == 1
    assert not any(isinstance(note, ConnectionLost) for note in notes.seen)


def test_late_frames_are_shown_when_they_come(view: View, scripted: ScriptedRuntime) -> None:
    scripted.slow(3.0)
    last = view.frame()
    assert last is not None
    wait_until(lambda: (frame := view.frame()) is not None and frame.index > last.index + 30)
    assert view.status.delay_s > 0.0


@pytest.mark.parametrize(
    "parts",
    [
        (b"\xc1 no MessagePack",),
        (b"",),
        (msgpack.packb({"kind": "pong", "sent_s": float("nan"), "runtime_s": 1.0}),),
        (msgpack.packb({"kind": "receipt", "id": 1}),),
        (b"\x81" * (protocol.MAX_HEADER_BYTES + 1),),
        (protocol.encode(protocol.Pong(sent_s=0.0, runtime_s=0.0)), b"", b"a part too many"),
    ],
)
def test_a_bad_message_of_the_runtime_becomes_a_note_and_harms_nothing(
    view: View, scripted: ScriptedRuntime, notes: NoteLog, parts: tuple[bytes, ...]
) -> None:
    scripted.send_raw(*parts)
    notes.wait_kind(ErrorReported)
    last = view.frame()
    assert last is not None
    wait_until(lambda: (frame := view.frame()) is not None and frame.index > last.index + 8)
    assert not any(isinstance(note, ConnectionLost) for note in notes.seen)


def test_a_frame_with_too_few_pixels_becomes_a_note(view: View, scripted: ScriptedRuntime, notes: NoteLog) -> None:
    header = protocol.FrameHeader(view=view.id, epoch=9, index=0, chunk=0, height=100, width=100, due_s=0.0, made_s=0.0)
    scripted.send_raw(protocol.encode(header), b"short")
    note = notes.wait_kind(ErrorReported)
    assert "30000 bytes" in note.message
    assert note.view is view


def test_frames_with_too_few_pixels_use_up_no_credit(
    view: View, scripted: ScriptedRuntime, notes: NoteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, cut = ScriptedRuntime._send, []

    def send_cut(
        self: ScriptedRuntime, route: bytes, message: protocol.RuntimeMessage, payload: bytes | None = None
    ) -> None:
        if isinstance(message, protocol.FrameHeader) and len(cut) < 2 * CREDIT_FRAMES:
            cut.append(message.index)
            payload = b"short"
        send(self, route, message, payload)

    monkeypatch.setattr(ScriptedRuntime, "_send", send_cut)
    wait_until(lambda: len(cut) == 2 * CREDIT_FRAMES)
    last = view.frame()
    assert last is not None
    wait_until(lambda: (frame := view.frame()) is not None and frame.index > last.index)
    notes.wait_kind(ErrorReported)


def test_a_connection_that_is_lost_while_it_is_welcomed_is_not_regained(monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link(None)
    welcome = protocol.Welcome(
        version=protocol.VERSION, runtime="", instance="one", model="", fps=16.0, height=2, width=2
    )
    link.connected(welcome)
    link.lost("it hung up")
    monkeypatch.setattr(link._transport, "send", lambda *_: link.lost("it takes no more messages"))
    link.connected(replace(welcome, instance="two", views=(9,)))
    assert not link.connected_now
    assert [type(note) for note in link.notes.take()] == [ConnectionLost, ConnectionLost]
    monkeypatch.setattr(link._transport, "send", lambda *_: None)
    link.connected(replace(welcome, instance="two", views=(9,)))
    assert link.connected_now
    assert link.notes.take() == [ConnectionRegained(same_runtime=False)]
    link.close()


def test_an_answer_to_what_a_closed_view_had_asked_for_is_no_error() -> None:
    link = Link(None)
    link.received(protocol.ErrorMessage(code="not_yet", message="the scene is beginning", view=9, id=4), None, 0.0)
    assert link.notes.take() == []
    link.close()


def test_messages_of_a_later_minor_version_are_ignored_and_counted(
    view: View, scripted: ScriptedRuntime, runtime: eddyline.Runtime
) -> None:
    scripted.send_raw(msgpack.packb({"kind": "from_the_future"}))
    wait_until(lambda: runtime.unknown_messages == 1)
    assert not [note for note in runtime.poll() if isinstance(note, ErrorReported)]


def test_messages_for_views_and_words_nobody_knows_are_ignored(view: View, scripted: ScriptedRuntime) -> None:
    scripted.send(protocol.ReceiptUpdate(id=999, view=view.id, state="applied"))
    scripted.send(protocol.ReceiptUpdate(id=1, view=999, state="applied"))
    scripted.send(protocol.ViewClosed(view=999))
    scripted.send(protocol.StatusUpdate(view=999, state="live"))
    receipt = view.event("rain")
    wait_until(lambda: receipt.is_final)


def test_a_view_that_the_runtime_closes_ends_with_a_reason_and_its_words_are_rejected(
    view: View, scripted: ScriptedRuntime, notes: NoteLog
) -> None:
    scripted.send(protocol.ViewClosed(view=view.id, reason="no room"))
    note = notes.wait_kind(eddyline.ViewClosed)
    assert note.reason == "no room"
    assert view.frame() is not None
    receipt = view.event("rain")
    wait_until(lambda: receipt.state == "rejected")
    assert "no room" in receipt.reason


def test_a_view_beyond_what_the_runtime_serves_is_closed_with_a_reason(
    runtime: eddyline.Runtime, notes: NoteLog
) -> None:
    assert runtime.world is not None
    views = [runtime.open_view("a red room") for _ in range(runtime.world.max_views + 1)]
    note = notes.wait_kind(eddyline.ViewClosed)
    assert note.view is views[-1]


def test_a_second_client_does_not_disturb_the_first(view: View, scripted: ScriptedRuntime) -> None:
    with eddyline.connect(scripted.endpoint) as other:
        theirs = other.open_view("a blue night")
        wait_until(lambda: theirs.frame() is not None)
    last = view.frame()
    assert last is not None
    wait_until(lambda: (frame := view.frame()) is not None and frame.index > last.index + 20)


def test_another_major_version_is_refused_and_both_are_named() -> None:
    with ScriptedRuntime(version=(2, 0)) as scripted, pytest.raises(VersionError, match=r"1\.0.*2\.0"):
        eddyline.connect(scripted.endpoint)


def test_a_client_that_is_refused_later_ends_with_a_note_and_rejected_words(
    view: View, scripted: ScriptedRuntime, notes: NoteLog, runtime: eddyline.Runtime
) -> None:
    receipt = view.event("far away", at=10**6)
    scripted.send(protocol.ErrorMessage(code="replaced", message="another client came"))
    notes.wait_kind(RuntimeGone)
    wait_until(lambda: receipt.state == "rejected")
    assert runtime.gone
    assert view.event("rain").state in ("sent", "rejected")
    for late in (runtime.open_view("a red room"), runtime.watch_view("main"), view.fork()):
        note = wait_closed(notes, late)
        assert "another client came" in str(note)
        with pytest.raises(ProtocolError):
            late.wait_open(30.0)


def test_a_fork_of_a_view_that_the_runtime_closed_ends_with_a_note(
    view: View, scripted: ScriptedRuntime, notes: NoteLog
) -> None:
    scripted.send(protocol.ViewClosed(view=view.id, reason="no room"))
    wait_closed(notes, view)
    fork = view.fork("what if")
    note = wait_closed(notes, fork)
    assert "which it was to go on from, is closed" in str(note)
    with pytest.raises(ViewError):
        fork.wait_open(30.0)


def test_a_snapshot_on_which_the_connection_is_lost_each_time_is_given_up_and_all_else_goes_on(
    view: View, runtime: eddyline.Runtime, scripted: ScriptedRuntime, notes: NoteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = view.snapshot()
    wait_until(lambda: snapshot.state == "taken")
    assert snapshot.data is not None
    restore, too_large = ScriptedRuntime._restore_view, len(snapshot.data) + 1

    def hang_up_on_what_is_too_large(self: ScriptedRuntime, client: Any, message: Any, data: bytes) -> None:
        if len(data) >= too_large:
            self._rebind()
        else:
            restore(self, client, message, data)

    monkeypatch.setattr(ScriptedRuntime, "_restore_view", hang_up_on_what_is_too_large)
    hopeless = runtime.restore_view(snapshot.data + b"\0")
    good = runtime.restore_view(snapshot.data)
    note = notes.wait_kind(eddyline.ViewClosed)
    assert note.view is hopeless
    assert f"{too_large} bytes" in note.reason
    with pytest.raises(ViewError, match="too large for this runtime"):
        hopeless.wait_open(30.0)
    wait_until(lambda: good.frame() is not None)
    asked = [message.view for message in scripted.received if isinstance(message, protocol.RestoreView)]
    assert asked == [hopeless.id, hopeless.id, good.id]
    last = view.frame()
    assert last is not None
    wait_until(lambda: (frame := view.frame()) is not None and frame.index > last.index + 20)


def test_nobody_at_the_port_is_a_typed_error_that_names_the_cure() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        port = taken.getsockname()[1]
        with pytest.raises(ConnectTimeoutError, match="eddyline-runtime serve"):
            eddyline.connect(f"tcp://127.0.0.1:{port}", timeout_s=0.3)


def test_something_else_at_the_port_is_a_typed_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20)
                connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConnectTimeoutError):
            eddyline.connect(f"tcp://127.0.0.1:{server.getsockname()[1]}", timeout_s=0.5)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_localhost_is_this_machine(scripted: ScriptedRuntime) -> None:
    with eddyline.connect(scripted.endpoint.replace("127.0.0.1", "localhost")) as runtime:
        assert runtime.ready


def test_a_port_that_is_taken_is_a_typed_error(scripted: ScriptedRuntime) -> None:
    port = int(scripted.endpoint.rpartition(":")[2])
    with pytest.raises(BindError, match=str(port)):
        ScriptedRuntime(port=port)


def test_closing_the_runtime_says_goodbye_and_cancels_what_is_unanswered(scripted: ScriptedRuntime) -> None:
    runtime = eddyline.connect(scripted.endpoint)
    view = runtime.open_view("a red room")
    receipt = view.event("far away", at=10**6)
    runtime.close()
    runtime.close()
    assert receipt.state == "cancelled"
    assert view.is_closed
    scripted.wait_for(protocol.Bye)


def test_words_after_the_runtime_was_closed_are_rejected_at_once_and_nothing_piles_up(
    scripted: ScriptedRuntime,
) -> None:
    runtime = eddyline.connect(scripted.endpoint)
    view = runtime.open_view("a red room")
    wait_until(lambda: view.frame() is not None)
    runtime.close()
    receipt = view.event("rain")
    assert receipt.state == "rejected"
    assert "the runtime was closed" in receipt.reason
    view.act(["ArrowLeft"])
    view.pause()
    view.resume()
    receipt.cancel()
    assert view.frame() is not None
    view.close()
    assert not runtime._link._transport._commands


def test_words_after_the_socket_thread_failed_are_rejected_at_once_with_the_reason(
    view: View, runtime: eddyline.Runtime, notes: NoteLog
) -> None:
    waiting = view.event("far away", at=10**6)
    transport = runtime._link._transport

    def fail() -> None:
        raise RuntimeError("a mistake")

    transport.post(fail)
    notes.wait_kind(RuntimeGone)
    transport._thread.join()
    assert waiting.state == "rejected"
    receipt = view.event("rain")
    assert receipt.state == "rejected"
    assert "a mistake" in receipt.reason
    assert runtime.open_view("a red room").is_closed
    assert not transport._commands


def test_runtimes_are_closed_at_the_end_though_the_game_dropped_them(scripted: ScriptedRuntime) -> None:
    program = f"import eddyline\nview = eddyline.connect({scripted.endpoint!r}).open_view('a red room')\n"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    scripted.wait_for(protocol.Bye)


def test_why_hello_was_not_taken_is_said_and_the_client_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    welcome, full = ScriptedRuntime._welcome, threading.Event()

    def welcome_when_there_is_room(self: ScriptedRuntime, route: bytes, hello: protocol.Hello) -> None:
        if full.is_set():
            text = "64 clients are connected, the limit is 64"
            self._send(route, protocol.ErrorMessage(code="too_many_clients", message=text))
        else:
            welcome(self, route, hello)

    monkeypatch.setattr(ScriptedRuntime, "_welcome", welcome_when_there_is_room)
    full.set()
    with ScriptedRuntime() as scripted:
        with pytest.raises(ConnectTimeoutError, match="64 clients are connected"):
            eddyline.connect(scripted.endpoint, timeout_s=3.0)
        link = Link(scripted.endpoint)
        scripted.wait_for(protocol.Hello, 4)
        full.clear()
        wait_until(lambda: link.connected_now)
        link.close()
