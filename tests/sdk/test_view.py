"""Views over a real socket: words, dates, frames, keys, pauses."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import eddyline
from eddyline import protocol
from eddyline.errors import BackpressureError, SnapshotError
from eddyline.frames import CREDIT_BATCH, CREDIT_FRAMES
from eddyline.scripted import ScriptedView, colour_of
from eddyline.testing import NoteLog, ScriptedRuntime, wait_until
from eddyline.view import MAX_UNANSWERED, View


def shown(view: View) -> eddyline.Frame:
    frame = view.frame()
    assert frame is not None
    return frame


def test_a_view_shows_frames_of_the_world_in_order_and_says_which_are_new(view: View) -> None:
    orders: list[tuple[int, int]] = []

    def collect() -> bool:
        frame = shown(view)
        if frame.is_new:
            orders.append(frame.order)
            again = shown(view)
            if not again.is_new:
                assert again.order == frame.order
                assert again.pixels is frame.pixels
        return len(orders) >= 20

    wait_until(collect)
    assert orders == sorted(set(orders))


def test_pixels_are_rgb_read_only_and_coloured_by_the_words_in_force(view: View) -> None:
    frame = shown(view)
    assert frame.pixels.shape == (24, 40, 3)
    assert frame.pixels.dtype == np.uint8
    assert not frame.pixels.flags.writeable
    assert tuple(frame.pixels[0, 0]) == colour_of("a red room")
    assert frame.words == "a red room"


def test_before_the_first_frame_there_is_none(runtime: eddyline.Runtime) -> None:
    assert runtime.open_view("a red room").frame() is None


def test_an_event_gets_both_dates_and_shows_on_exactly_those_frames(view: View) -> None:
    receipt = view.event("blue", hold_s=3.0)
    assert receipt.state in ("sent", "accepted", "applied")
    influenced: list[bool] = []

    def seen() -> bool:
        frame = shown(view)
        if frame.is_new and receipt.first_influenced_frame is not None:
            influenced.append(("blue" in frame.events) == (frame.index >= receipt.first_influenced_frame))
        return receipt.shown_s is not None and len(influenced) > 3

    wait_until(seen)
    assert receipt.is_final
    assert receipt.first_full_frame is not None
    assert receipt.first_influenced_frame is not None
    assert receipt.first_full_frame > receipt.first_influenced_frame
    assert all(influenced)
    assert receipt.steering_latency_s is not None
    assert view.status.steering_latency_s == receipt.steering_latency_s


def test_an_event_ends_after_its_hold(view: View) -> None:
    view.event("blue", hold_s=2.0)
    wait_until(lambda: "blue" in shown(view).events)
    wait_until(lambda: "blue" not in shown(view).events)


def test_a_prompt_stays(view: View) -> None:
    view.prompt("a green meadow")
    wait_until(lambda: shown(view).prompt == "a green meadow")


def test_a_cut_begins_a_new_epoch_at_frame_zero(view: View) -> None:
    receipt = view.cut("a blue night", seed=3)
    wait_until(lambda: shown(view).epoch == 1)
    assert (receipt.epoch, receipt.first_influenced_frame) == (1, 0)
    assert shown(view).prompt == "a blue night"


def test_words_for_a_later_frame_wait_for_it(view: View) -> None:
    target = shown(view).index + 240
    receipt = view.event("blue", at=target, hold_s=5.0)
    wait_until(lambda: "blue" in shown(view).events)
    assert shown(view).index // 4 >= target // 4
    assert receipt.first_full_frame is not None


def test_a_receipt_says_how_well_the_world_knows_the_words(view: View) -> None:
    known, unknown = view.event("thunder and lightning"), view.event("spreadsheet")
    wait_until(lambda: known.understood is not None and unknown.understood is not None)
    assert (known.understood, known.nearest) == (1.0, "thunder and lightning")
    assert unknown.understood == 0.0


def test_the_status_says_how_well_the_world_knows_the_prompt_in_force(runtime: eddyline.Runtime) -> None:
    with runtime.open_view("a spreadsheet and lightning") as view:
        wait_until(lambda: view.status.understood is not None)
        assert (view.status.understood, view.status.nearest) == (0.5, "thunder and lightning")
        view.prompt("thunder and lightning")
        wait_until(lambda: view.status.understood == 1.0)


def test_what_is_not_read_of_a_text_is_told_by_its_receipt_and_by_the_status_of_its_view() -> None:
    with ScriptedRuntime(max_words=3) as scripted, eddyline.connect(scripted.endpoint, timeout_s=30.0) as runtime:
        view = runtime.open_view("a red room with a lamp")
        short, long = view.event("it rains"), view.event("it rains and then it snows")
        wait_until(lambda: short.state == long.state == "applied")
        assert (short.unread, long.unread) == ("", "then it snows")
        wait_until(lambda: view.status.unread == "with a lamp")


def test_text_in_any_script_arrives_as_it_was_written(view: View, scripted: ScriptedRuntime) -> None:
    text = "雪が降る، ثلج, снег, 🦊\u200d❄️"
    view.event(text)
    event = scripted.wait_for(protocol.Event)[0]
    assert isinstance(event, protocol.Event)
    assert event.text == text


def test_cancel_takes_words_back_that_are_not_applied_yet(view: View) -> None:
    receipt = view.event("far away", at=10**6)
    receipt.cancel()
    wait_until(lambda: receipt.state == "cancelled")


def test_a_rejection_says_why_on_the_receipt(view: View, scripted: ScriptedRuntime) -> None:
    scripted.reject_next("not in the mood")
    receipt = view.event("rain")
    wait_until(lambda: receipt.state == "rejected")
    assert receipt.reason == "not in the mood"


def test_held_keys_are_sent_when_they_change_and_only_then(view: View, scripted: ScriptedRuntime) -> None:
    for _ in range(5):
        view.act(["ArrowRight"])
    for _ in range(5):
        view.act({"ArrowRight": 0.5, "ArrowLeft": 0.0})
    view.act(())
    view.event("mark")
    scripted.wait_for(protocol.Event)
    acts = [message.keys for message in scripted.received if isinstance(message, protocol.Act)]
    assert acts == [{"ArrowRight": 1.0}, {"ArrowRight": 0.5}, {}]


@pytest.mark.parametrize(
    ("verb", "first", "then"),
    [
        ("pause", lambda view: view.pause(), lambda view: view.resume()),
        ("act", lambda view: view.act(["ArrowLeft"]), lambda view: view.act([])),
    ],
)
def test_what_two_threads_ask_for_goes_out_in_the_order_in_which_it_is_kept(
    view: View, monkeypatch: pytest.MonkeyPatch, verb: str, first: Callable[[View], None], then: Callable[[View], None]
) -> None:
    """Otherwise the runtime pauses what the view takes for live, or holds a key that no call lets go."""
    real, sent = getattr(view._link, verb), []
    other = threading.Thread(target=then, args=(view,))

    def send(view_id: int, what: object) -> None:
        if not sent and not other.ident:
            other.start()
            other.join(0.2)  # it comes to nothing before the first call is done
        sent.append(what)
        real(view_id, what)

    monkeypatch.setattr(view._link, verb, send)
    first(view)
    other.join()
    assert sent == ([True, False] if verb == "pause" else [{"ArrowLeft": 1.0}, {}])


def test_a_pause_freezes_the_picture_and_resume_lets_it_go_on(view: View) -> None:
    view.pause()
    frozen = shown(view)
    wait_until(lambda: view.state == "paused")
    assert shown(view).order == frozen.order
    view.resume()
    wait_until(lambda: shown(view).index > frozen.index + 20)
    assert view.state == "live"


def test_a_game_that_does_not_read_gets_no_more_frames_than_its_credit(view: View, scripted: ScriptedRuntime) -> None:
    wait_until(lambda: view.status.waiting_frames > CREDIT_FRAMES - CREDIT_BATCH)
    before = len(scripted.received)
    wait_until(lambda: len(scripted.received) > before + 5)  # five more heartbeats
    assert view.status.waiting_frames <= CREDIT_FRAMES
    last = shown(view).index
    wait_until(lambda: shown(view).index > last + 8)
    assert view.status.dropped_frames > 0


def test_the_status_tells_of_both_sides(view: View) -> None:
    wait_until(lambda: shown(view).index > 90 and view.status.fps_made > 0)
    status = view.status
    assert status.state == "live"
    assert status.epoch == 0
    assert status.playhead > 0
    assert status.fps_shown > 0
    assert view.rate == 80.0


def test_a_view_with_a_stride_runs_at_a_lower_rate(runtime: eddyline.Runtime) -> None:
    view = runtime.open_view("a red room", stride=4)
    wait_until(lambda: view.frame() is not None)
    assert view.rate == 20.0


def test_two_views_are_steered_apart(runtime: eddyline.Runtime) -> None:
    one, two = runtime.open_view("a red room"), runtime.open_view("a red room")
    wait_until(lambda: one.frame() is not None and two.frame() is not None)
    one.prompt("a blue night")
    wait_until(lambda: shown(one).prompt == "a blue night")
    assert shown(two).prompt == "a red room"


def test_closing_a_view_cancels_its_words_and_keeps_its_last_frame(view: View) -> None:
    receipt = view.event("far away", at=10**6)
    view.close()
    view.close()
    wait_until(lambda: receipt.state == "cancelled")
    assert view.frame() is not None
    assert view.state == "closed"


def test_a_view_is_a_context_manager(runtime: eddyline.Runtime, scripted: ScriptedRuntime) -> None:
    with runtime.open_view("a red room"):
        pass
    scripted.wait_for(protocol.CloseView)


def test_poll_tells_what_happened_in_order(runtime: eddyline.Runtime) -> None:
    view = runtime.open_view("a red room", name="main")
    receipt = view.event("rain")
    notes: list[eddyline.Note] = []

    def finished() -> bool:
        notes.extend(runtime.poll())
        return receipt.is_final

    wait_until(finished)
    notes += runtime.poll()
    assert isinstance(notes[0], eddyline.ViewOpened)
    states = [note.state for note in notes if isinstance(note, eddyline.ReceiptChanged) and note.receipt is receipt]
    assert states[0] == "accepted"
    assert states[-1] == "applied"
    assert str(notes[0]) == "view 'main' is open"


def test_words_from_many_threads_all_arrive_once(view: View, scripted: ScriptedRuntime) -> None:
    receipts: list[eddyline.Receipt] = []

    def speak(number: int) -> None:
        receipts.extend(view.event(f"event {number} {turn}") for turn in range(20))

    threads = [threading.Thread(target=speak, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: all(receipt.state == "applied" for receipt in receipts))
    texts = [message.text for message in scripted.received if isinstance(message, protocol.Event)]
    assert sorted(texts) == sorted(receipt.text for receipt in receipts)
    assert len({receipt.id for receipt in receipts}) == 80


def test_too_many_words_without_an_answer_are_refused_with_a_typed_error(view: View, scripted: ScriptedRuntime) -> None:
    scripted.hang()
    for number in range(MAX_UNANSWERED):
        view.event(f"event {number}")
    with pytest.raises(BackpressureError, match="without an answer"):
        view.event("one more")
    scripted.recover()


def test_of_ten_thousand_scheduled_events_those_beyond_the_limit_are_refused_until_some_are_taken_back(
    view: View,
) -> None:
    taken, refused = [], 0
    for number in range(10_000):
        try:
            taken.append(view.event(f"event {number}", at=10**6 + number))
        except BackpressureError:
            refused += 1
    assert (len(taken), refused) == (MAX_UNANSWERED, 10_000 - MAX_UNANSWERED)
    wait_until(lambda: all(receipt.state == "accepted" for receipt in taken))
    taken[0].cancel()
    wait_until(lambda: taken[0].state == "cancelled")
    assert view.event("rain").state in ("sent", "accepted", "applied")


@pytest.mark.parametrize(
    ("at", "chunks"),
    [("now", range(0, 5)), ("next", range(3, 5)), (13, range(3, 5)), (17, range(4, 6)), (5, range(0, 5))],
)
def test_the_scripted_runtime_holds_events_as_the_protocol_says(at: protocol.At, chunks: range) -> None:
    """Chunks of a second, four in the buffer: at the first tick chunk 0 leaves and chunk 3 enters. An event of 2 s is
    on the two chunks that enter from its tick on; due "now", or late, it is on all unfinished chunks as well."""
    opening = protocol.OpenView(view=1, prompt="a room", credits=256)
    view = ScriptedView(opening, fps=4.0, chunk_frames=4, num_chunks=4, height=4, width=6, phrases=(), now_s=0.0)
    view.take(view.owner, protocol.Event(id=1, view=1, text="rain", hold_s=2.0, at=at), 0.0)
    rainy = set()
    for second in range(12):
        view.advance(float(second), slowness=1.0)
        for message, _ in view.leave(view.owner, float(second)):
            if isinstance(message, protocol.FrameHeader) and message.events:
                rainy.add(message.chunk)
    assert rainy == set(chunks)


def test_a_rewind_goes_on_in_a_new_epoch_and_its_receipt_says_so(view: View, notes: NoteLog) -> None:
    wait_until(lambda: (frame := view.frame()) is not None and frame.index >= 10)
    receipt = view.rewind(8 / view.rate)
    wait_until(lambda: receipt.is_final)
    assert (receipt.state, receipt.first_influenced_frame, receipt.text) == ("applied", 0, "")
    wait_until(lambda: (frame := view.frame()) is not None and frame.epoch == receipt.epoch)
    assert receipt.steering_latency_s is not None
    assert notes.wait(lambda note: isinstance(note, eddyline.ReceiptChanged) and note.receipt is receipt)


def test_after_a_rewind_frames_are_named_as_they_count_anew_before_the_first_of_them_came(view: View) -> None:
    wait_until(lambda: (frame := view.frame()) is not None and frame.index >= 30)
    view.pause()  # so that no frame of the new epoch is made
    receipt = view.rewind(8 / view.rate)
    wait_until(lambda: receipt.is_final)
    assert (receipt.state, receipt.epoch) == ("applied", 1)
    assert view.event("blue", at=8).state in ("sent", "accepted")


def test_a_rewind_beyond_what_is_remembered_is_rejected_with_the_reason(view: View) -> None:
    wait_until(lambda: view.frame() is not None)
    receipt = view.rewind(3600.0)
    wait_until(lambda: receipt.is_final)
    assert receipt.state == "rejected"
    assert receipt.reason


def test_a_view_returns_to_a_bookmark_in_a_new_epoch(view: View, notes: NoteLog) -> None:
    wait_until(lambda: view.frame() is not None)
    marked = view.bookmark("courtyard")
    wait_until(lambda: marked.is_final)
    assert (marked.state, marked.text) == ("applied", "courtyard")
    assert notes.wait(lambda note: str(note) == "bookmark 'courtyard' applied")
    view.prompt("a green meadow")
    wait_until(lambda: shown(view).prompt == "a green meadow")
    assert marked.shown_s is None, "a bookmark is nothing that shows"
    back = view.return_to("courtyard", prompt="a red room")
    wait_until(lambda: shown(view).epoch == back.epoch)
    assert (shown(view).prompt, back.first_influenced_frame) == ("a red room", 0)
    stays = view.return_to("courtyard")
    wait_until(lambda: shown(view).epoch == stays.epoch)
    assert shown(view).prompt == "a red room"
    unknown = view.return_to("cellar")
    wait_until(lambda: unknown.is_final)
    assert (unknown.state, "courtyard" in unknown.reason) == ("rejected", True)


def test_a_fork_goes_on_from_its_source_and_both_are_open(runtime: eddyline.Runtime, view: View) -> None:
    wait_until(lambda: view.frame() is not None)
    view.act(["ArrowLeft"])
    fork = view.fork("what if")
    wait_until(lambda: fork.frame() is not None)
    assert (shown(fork).prompt, fork.name) == (shown(view).prompt, "what if")
    fork.prompt("a green meadow")
    wait_until(lambda: shown(fork).prompt == "a green meadow")
    assert shown(view).prompt != "a green meadow"


def test_the_keys_that_a_fork_holds_are_let_go_when_it_holds_none(
    scripted: ScriptedRuntime, runtime: eddyline.Runtime, view: View
) -> None:
    wait_until(lambda: view.frame() is not None)
    view.act(["ArrowLeft"])
    fork = view.fork()
    fork.act([])
    acts = [message for message in scripted.wait_for(protocol.Act, 2) if isinstance(message, protocol.Act)]
    assert [(act.view == fork.id, act.keys) for act in acts] == [(False, {"ArrowLeft": 1.0}), (True, {})]


def test_a_view_forked_and_closed_at_once_is_no_trouble(runtime: eddyline.Runtime, view: View) -> None:
    fork = view.fork()
    view.close()
    with pytest.raises(eddyline.errors.ClosedError):
        view.fork()
    wait_until(lambda: fork.frame() is not None)
    with pytest.raises(eddyline.errors.OptionError, match="129 characters"):
        fork.fork("x" * 129)


def test_a_snapshot_comes_with_a_note_and_another_view_goes_on_from_its_file(
    runtime: eddyline.Runtime, view: View, notes: NoteLog, scripted: ScriptedRuntime, tmp_path: Path
) -> None:
    wait_until(lambda: view.frame() is not None)
    snapshot = view.snapshot()
    with pytest.raises(SnapshotError, match="has not come yet"):
        eddyline.Snapshot(1, view).save(tmp_path / "none")
    note = notes.wait(lambda note: isinstance(note, eddyline.SnapshotTaken))
    assert str(note) == f"the snapshot of {view} was taken"
    snapshot.save(tmp_path / "courtyard.eddyline")
    restored = runtime.restore_view((tmp_path / "courtyard.eddyline").read_bytes(), name="again")
    wait_until(lambda: restored.frame() is not None)
    assert (shown(restored).prompt, restored.name) == (shown(view).prompt, "again")
    restored.act([])  # what was held when it was taken is let go
    assert [(act.view, act.keys) for act in scripted.wait_for(protocol.Act)] == [(restored.id, {})]
    assert list(tmp_path.iterdir()) == [tmp_path / "courtyard.eddyline"]


def test_a_closed_view_gives_no_snapshot(view: View) -> None:
    wait_until(lambda: view.frame() is not None)
    view.close()
    with pytest.raises(eddyline.errors.ClosedError):
        view.snapshot()


@pytest.mark.parametrize("data", [b"", b"x" * 7, b"\xff" * 100, b"\x02\x00\x00\x00\x00\x00\x00\x00{}"])
def test_what_is_no_snapshot_is_refused_before_it_is_sent(runtime: eddyline.Runtime, data: bytes) -> None:
    with pytest.raises(SnapshotError, match=r"Snapshot\.save"):
        runtime.restore_view(data)


@pytest.mark.parametrize(("prompt", "seed"), [("", 0), ("é" * 2049, 0), ("a red room", 2**63), ("a red room", -1)])
def test_a_snapshot_of_what_the_wire_cannot_say_is_refused_before_it_is_sent(
    runtime: eddyline.Runtime, prompt: str, seed: int
) -> None:
    moment = {"world": "diorama", "stride": 1, "noise": {"seed": seed}, "words": {"prompt": prompt}}
    metadata = {"format": "eddyline-snapshot", "moment": json.dumps(moment)}
    header = json.dumps({"__metadata__": metadata}).encode()
    with pytest.raises(SnapshotError, match=r"Snapshot\.save"):
        runtime.restore_view(len(header).to_bytes(8, "little") + header)


def test_a_snapshot_over_the_limit_is_refused_before_it_is_sent(runtime: eddyline.Runtime) -> None:
    with pytest.raises(SnapshotError, match=f"over the limit of {protocol.MAX_PAYLOAD_BYTES}"):
        runtime.restore_view(bytes(protocol.MAX_PAYLOAD_BYTES + 1))


def test_a_snapshot_asked_for_before_the_connection_was_lost_comes_after_it(
    scripted: ScriptedRuntime, view: View, notes: NoteLog
) -> None:
    wait_until(lambda: view.frame() is not None)
    scripted.hang()
    snapshot = view.snapshot()
    scripted.drop_connections()
    scripted.recover()
    wait_until(lambda: snapshot.state == "taken")


def test_snapshots_of_a_runtime_that_was_lost_fail(scripted: ScriptedRuntime, view: View, notes: NoteLog) -> None:
    wait_until(lambda: view.frame() is not None)
    scripted.kill()
    snapshot = view.snapshot()
    scripted.restart()
    notes.wait(lambda note: isinstance(note, eddyline.SnapshotTaken) and note.snapshot is snapshot)
    assert snapshot.state == "failed"
    assert "lost" in snapshot.reason


def test_a_snapshot_of_a_view_that_is_closed_before_it_comes_fails_with_a_note(
    scripted: ScriptedRuntime, view: View, notes: NoteLog
) -> None:
    wait_until(lambda: view.frame() is not None)
    scripted.hang()
    snapshot = view.snapshot()
    view.close()
    notes.wait(lambda note: isinstance(note, eddyline.SnapshotTaken) and note.snapshot is snapshot)
    assert (snapshot.state, snapshot.reason) == ("failed", "the view was closed")
