"""Receipts only ever go forward."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline.protocol import ReceiptUpdate, WordState
from eddyline.receipts import Receipt
from eddyline.view import View

STATES: list[WordState] = ["accepted", "applied", "rejected", "superseded", "cancelled"]


def receipt(cancelled: list[Receipt] | None = None) -> Receipt:
    asked = [] if cancelled is None else cancelled
    return Receipt(id=1, view=cast(View, None), kind="event", text="rain", sent_s=10.0, cancel=asked.append)


def update(
    state: WordState, *, influenced: int | None = None, full: int | None = None, reason: str = ""
) -> ReceiptUpdate:
    epoch = None if influenced is None else 0
    return ReceiptUpdate(
        id=1, view=1, state=state, epoch=epoch, first_influenced_frame=influenced, first_full_frame=full, reason=reason
    )


def test_a_receipt_follows_its_words_from_sent_to_both_dates() -> None:
    paper = receipt()
    assert paper.state == "sent"
    assert paper.update(update("accepted"))
    assert paper.update(update("applied", influenced=8))
    assert not paper.is_final
    assert paper.update(update("applied", influenced=8, full=32))
    assert (paper.state, paper.epoch, paper.first_influenced_frame, paper.first_full_frame) == ("applied", 0, 8, 32)
    assert paper.is_final


def test_what_was_not_read_of_the_words_stays_known() -> None:
    paper = receipt()
    paper.update(ReceiptUpdate(id=1, view=1, state="applied", first_influenced_frame=8, unread="and a lantern"))
    paper.update(update("applied", influenced=8, full=32))
    assert paper.unread == "and a lantern"


def test_a_late_copy_of_an_earlier_state_changes_nothing() -> None:
    paper = receipt()
    paper.update(update("applied", influenced=8, full=32))
    assert not paper.update(update("accepted"))
    assert paper.state == "applied"


@pytest.mark.parametrize("state", ["rejected", "superseded", "cancelled"])
def test_the_end_of_a_receipt_is_final_and_keeps_its_reason(state: WordState) -> None:
    paper = receipt()
    paper.update(update(state, reason="because"))
    paper.update(update("applied", influenced=8, full=32))
    assert (paper.state, paper.reason, paper.first_influenced_frame) == (state, "because", None)


def test_cancel_asks_once_it_makes_sense_and_not_after_the_end() -> None:
    asked: list[Receipt] = []
    paper = receipt(asked)
    paper.cancel()
    paper.update(update("cancelled"))
    paper.cancel()
    assert asked == [paper]


def test_steering_latency_is_known_when_a_frame_was_shown() -> None:
    paper = receipt()
    assert paper.steering_latency_s is None
    paper.shown_s = 10.75
    assert paper.steering_latency_s == 0.75


def test_a_receipt_shows_its_words_and_no_quotes_where_there_are_none() -> None:
    assert repr(receipt()) == "<Receipt 1: event 'rain' sent>"
    rewind = Receipt(id=10, view=cast(View, None), kind="rewind", text="", sent_s=0.0, cancel=lambda _: None)
    assert repr(rewind) == "<Receipt 10: rewind sent>"


@given(st.lists(st.tuples(st.sampled_from(STATES), st.none() | st.integers(0, 99), st.none() | st.integers(0, 99))))
def test_no_sequence_of_updates_takes_back_a_date_or_an_end(
    updates: list[tuple[WordState, int | None, int | None]],
) -> None:
    paper = receipt()
    for state, influenced, full in updates:
        before = (paper.state, paper.is_final, paper.first_influenced_frame, paper.first_full_frame)
        paper.update(update(state, influenced=influenced, full=full))
        if before[0] in ("rejected", "superseded", "cancelled"):
            assert paper.state == before[0]
        assert before[2] is None or paper.first_influenced_frame is not None
        assert before[3] is None or paper.first_full_frame is not None
