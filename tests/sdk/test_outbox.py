"""The outbox: what is sent, and what is sent again after a reconnect."""

from __future__ import annotations

from typing import cast

import pytest
from msgspec.structs import replace

from eddyline import protocol
from eddyline.frames import CREDIT_FRAMES
from eddyline.outbox import Outbox
from eddyline.protocol import ReceiptUpdate, Words
from eddyline.receipts import Receipt
from eddyline.view import View

OPEN = protocol.OpenView(view=1, prompt="a room", seed=7)
OPENED = protocol.ViewOpened(view=1, epoch=0, profile="smooth", fps=16.0, chunk_frames=8, height=2, width=2)


class Wire:
    """An outbox whose messages land in a list."""

    def __init__(self) -> None:
        self.sent: list[protocol.ClientMessage] = []
        self.outbox = Outbox(lambda message, _: self.sent.append(message))

    def words(self, message: Words) -> Receipt:
        paper = Receipt(id=message.id, view=cast(View, None), kind="event", text="", sent_s=0.0, cancel=lambda _: None)
        self.outbox.add_words(message, paper)
        return paper

    def reconnect(self, *open_views: int) -> list[protocol.ClientMessage]:
        self.outbox.lost()
        self.sent.clear()
        self.outbox.welcome(open_views)
        return self.sent


@pytest.fixture
def wire() -> Wire:
    """A connected outbox with one open view."""
    wire = Wire()
    wire.outbox.welcome([])
    wire.outbox.open_view(OPEN)
    wire.outbox.view_opened(OPENED)
    wire.sent.clear()
    return wire


def test_a_lost_view_is_opened_again_under_the_prompt_that_a_return_brought(wire: Wire) -> None:
    for number, prompt in enumerate(("a courtyard", None), start=2):
        message = protocol.ReturnTo(id=number, view=1, name="here", prompt=prompt)
        paper = Receipt(number, cast(View, None), "return_to", "here", 0.0, lambda _: None)
        wire.outbox.add_words(message, paper)
        wire.outbox.receipt(ReceiptUpdate(id=number, view=1, state="applied", epoch=1, first_full_frame=0))
    opened = wire.reconnect()[0]
    assert isinstance(opened, protocol.OpenView)
    assert (opened.prompt, opened.seed) == ("a courtyard", OPEN.seed)


def event(word_id: int, at: protocol.At = "now") -> protocol.Event:
    return protocol.Event(id=word_id, view=1, text=f"event {word_id}", at=at)


def test_what_is_asked_before_there_is_a_connection_is_sent_when_there_is_one() -> None:
    wire = Wire()
    wire.outbox.open_view(OPEN)
    wire.words(event(2))
    wire.outbox.act(1, {"KeyA": 1.0})
    assert wire.sent == []
    wire.outbox.welcome([])
    assert [type(message) for message in wire.sent] == [protocol.OpenView, protocol.Act, protocol.Event]


def test_a_view_is_opened_with_its_credit(wire: Wire) -> None:
    wire.outbox.open_view(protocol.OpenView(view=2, prompt="a hall"))
    assert wire.sent == [protocol.OpenView(view=2, prompt="a hall", credits=CREDIT_FRAMES)]


def test_words_without_an_answer_are_sent_again_to_the_same_runtime(wire: Wire) -> None:
    wire.words(event(2, at=640))
    assert event(2, at=640) in wire.reconnect(1)


def test_words_with_a_final_receipt_are_not_sent_again(wire: Wire) -> None:
    for word_id, state in ((2, "rejected"), (3, "superseded"), (4, "cancelled")):
        wire.words(event(word_id))
        wire.outbox.receipt(ReceiptUpdate(id=word_id, view=1, state=cast(protocol.WordState, state)))
    wire.words(event(5))
    applied = ReceiptUpdate(id=5, view=1, state="applied", epoch=0, first_influenced_frame=8, first_full_frame=32)
    wire.outbox.receipt(applied)
    assert not [message for message in wire.reconnect(1) if isinstance(message, protocol.Event)]


def test_a_view_that_is_still_open_gets_its_credit_again_but_is_not_opened_again(wire: Wire) -> None:
    sent = wire.reconnect(1)
    assert protocol.Credit(view=1, frames=CREDIT_FRAMES) in sent
    assert not [message for message in sent if isinstance(message, protocol.OpenView)]


def test_frames_that_wait_here_are_not_granted_a_second_time(wire: Wire) -> None:
    for _ in range(5):
        assert wire.outbox.frame(1, 0) is not None
    assert protocol.Credit(view=1, frames=CREDIT_FRAMES - 5) in wire.reconnect(1)


def test_a_frame_beyond_its_credit_is_refused(wire: Wire) -> None:
    for left in reversed(range(CREDIT_FRAMES)):
        assert wire.outbox.frame(1, 0) == left
    assert wire.outbox.frame(1, 0) is None
    wire.outbox.freed(1, 2)
    assert wire.sent == [protocol.Credit(view=1, frames=2)]
    assert wire.outbox.frame(1, 0) == 1


def test_a_new_runtime_opens_the_view_in_a_new_epoch_under_its_last_prompt(wire: Wire) -> None:
    wire.words(protocol.Prompt(id=2, view=1, text="a garden"))
    wire.outbox.receipt(ReceiptUpdate(id=2, view=1, state="applied", epoch=0, first_influenced_frame=8))
    wire.outbox.frame(1, 4)
    opening = wire.reconnect()[0]
    assert isinstance(opening, protocol.OpenView)
    assert (opening.prompt, opening.epoch, opening.seed) == ("a garden", 5, 7)
    assert wire.outbox.view_opened(protocol.ViewOpened(
        view=1, epoch=5, profile="smooth", fps=16.0, chunk_frames=8, height=2, width=2
    )) == (True, True)  # fmt: skip


def test_the_last_prompt_is_the_one_that_shows_last_whatever_its_id(wire: Wire) -> None:
    for word_id, text, epoch, frame in ((3, "a garden", 0, 8), (2, "a tower", 0, 640), (4, "a cave", 0, 16)):
        wire.words(protocol.Prompt(id=word_id, view=1, text=text))
        wire.outbox.receipt(
            ReceiptUpdate(id=word_id, view=1, state="applied", epoch=epoch, first_influenced_frame=frame)
        )
    opening = wire.reconnect()[0]
    assert isinstance(opening, protocol.OpenView)
    assert opening.prompt == "a tower", "said before the garden, for a later frame"
    wire.words(protocol.Cut(id=1, view=1, text="a beach"))
    wire.outbox.receipt(ReceiptUpdate(id=1, view=1, state="applied", epoch=1, first_influenced_frame=0))
    opening = wire.reconnect()[0]
    assert isinstance(opening, protocol.OpenView)
    assert opening.prompt == "a beach", "frames count anew in each epoch"


def test_a_cut_with_a_seed_is_where_a_new_runtime_begins(wire: Wire) -> None:
    wire.words(protocol.Cut(id=2, view=1, text="a tower", seed=99))
    wire.outbox.receipt(
        ReceiptUpdate(id=2, view=1, state="applied", epoch=1, first_influenced_frame=0, first_full_frame=0)
    )
    opening = wire.reconnect()[0]
    assert isinstance(opening, protocol.OpenView)
    assert (opening.prompt, opening.epoch, opening.seed) == ("a tower", 2, 99)


def test_a_lost_view_is_opened_again_under_the_prompt_that_a_rewind_put_back(wire: Wire) -> None:
    def applied(message: Words, epoch: int, frame: int) -> None:
        wire.words(message)
        wire.outbox.receipt(
            ReceiptUpdate(id=message.id, view=1, state="applied", epoch=epoch, first_influenced_frame=frame)
        )

    def prompt_after_a_loss() -> str:
        opening = wire.reconnect()[0]
        assert isinstance(opening, protocol.OpenView)
        wire.outbox.view_opened(replace(OPENED, epoch=opening.epoch))
        return opening.prompt

    applied(protocol.Prompt(id=3, view=1, text="a garden"), 0, 8)
    wire.outbox.frame(1, 0, "a garden")
    applied(protocol.Rewind(id=4, view=1, seconds=2.0), 1, 0)
    wire.outbox.frame(1, 0, "a garden")  # on its way when the view was rewound
    wire.outbox.frame(1, 1, "a room")
    assert prompt_after_a_loss() == "a room"
    applied(protocol.Rewind(id=5, view=1, seconds=2.0), 3, 0)
    wire.outbox.frame(1, 3, "a cave")
    applied(protocol.Prompt(id=2, view=1, text="a tower"), 3, 0)  # said before the rewind, and waited
    wire.outbox.frame(1, 3, "a cave")
    assert prompt_after_a_loss() == "a tower"


def test_a_new_runtime_gets_accepted_words_again_and_applied_ones_not(wire: Wire) -> None:
    for word_id in (2, 3):
        wire.words(event(word_id, at=640))
        wire.outbox.receipt(ReceiptUpdate(id=word_id, view=1, state="accepted"))
    wire.outbox.receipt(ReceiptUpdate(id=2, view=1, state="applied", epoch=0, first_influenced_frame=8))
    events = [message for message in wire.reconnect() if isinstance(message, protocol.Event)]
    assert events == [event(3, at="now")]


def test_held_keys_and_a_pause_are_told_again(wire: Wire) -> None:
    wire.outbox.act(1, {"KeyA": 1.0})
    wire.outbox.pause(1, True)
    for views in ([1], []):
        sent = wire.reconnect(*views)
        assert protocol.Act(view=1, keys={"KeyA": 1.0}) in sent
        assert protocol.Pause(view=1) in sent


def test_a_cancel_is_asked_again(wire: Wire) -> None:
    wire.words(event(2))
    wire.outbox.cancel(1, 2)
    sent = wire.reconnect(1)
    assert sent.index(event(2)) < sent.index(protocol.Cancel(id=2, view=1))


def test_a_view_that_was_closed_meanwhile_is_closed_at_the_runtime_as_well(wire: Wire) -> None:
    wire.outbox.lost()
    wire.outbox.close_view(1)
    assert wire.reconnect(1) == [protocol.CloseView(view=1)]


def test_closing_a_view_hands_back_the_receipts_that_nobody_answers(wire: Wire) -> None:
    paper = wire.words(event(2))
    assert wire.outbox.close_view(1) == [paper]
    assert not wire.outbox.add_words(event(3), paper)
