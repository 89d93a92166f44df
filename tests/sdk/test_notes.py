"""Notes: bounded, in order, and readable as sentences."""

from __future__ import annotations

from eddyline import notes
from eddyline.link import MAX_NOTES, NoteQueue
from eddyline.protocol import ReceiptUpdate
from eddyline.receipts import Receipt
from eddyline.view import View


def test_notes_come_out_in_order_and_once() -> None:
    queue = NoteQueue()
    for number in range(3):
        queue.put(notes.ConnectionLost(str(number)))
    assert [str(note) for note in queue.take()] == [f"connection lost: {number}" for number in range(3)]
    assert queue.take() == []


def test_a_game_that_does_not_poll_loses_the_oldest_notes_and_is_told_how_many() -> None:
    queue = NoteQueue()
    for number in range(MAX_NOTES + 5):
        queue.put(notes.ConnectionLost(str(number)))
    lost, oldest, *_ = queue.take()
    assert lost == notes.NotesLost(5)
    assert oldest == notes.ConnectionLost("5")
    assert queue.take() == []


def test_notes_read_as_sentences() -> None:
    assert str(notes.ConnectionRegained(same_runtime=True)) == "connection regained"
    assert str(notes.ConnectionRegained(same_runtime=False)) == "connection regained, to a new runtime process"
    assert str(notes.RuntimeStalled(7.25)) == "the runtime has been in one turn for 7.2 s"
    assert "2 restarts are left" in str(notes.RuntimeStopped("it was ended by signal 9", (), 2))
    assert "1 restart is left" in str(notes.RuntimeStopped("it was ended by signal 9", (), 1))
    assert str(notes.Progress(0.4, "loading weights")) == "40% loading weights"
    assert str(notes.ErrorReported("internal", "out of memory")) == "error: out of memory (internal)"
    assert "call poll()" in str(notes.NotesLost(5))


def test_a_note_of_a_receipt_says_nothing_that_came_later(view: View) -> None:
    receipt = Receipt(1, view, "event", "it rains", 0.0, lambda _: None)
    told = []
    for update in (
        ReceiptUpdate(id=1, view=1, state="accepted"),
        ReceiptUpdate(id=1, view=1, state="applied", epoch=0, first_influenced_frame=8),
        ReceiptUpdate(id=1, view=1, state="applied", epoch=0, first_influenced_frame=8, first_full_frame=16),
    ):
        receipt.update(update)
        told.append(notes.ReceiptChanged.of(receipt))
    assert [str(note) for note in told] == [
        "event 'it rains' accepted",
        "event 'it rains' applied: shows from frame 8",
        "event 'it rains' applied: shows from frame 8, fully from frame 16",
    ]


def test_the_tree_of_notes_is_drawn_whole() -> None:
    kinds = [
        value.__name__ for value in vars(notes).values() if isinstance(value, type) and issubclass(value, notes.Note)
    ]
    assert not [kind for kind in kinds if kind not in (notes.__doc__ or "")]
