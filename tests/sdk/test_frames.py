"""The frame store: play order, one credit back for each frame that leaves it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eddyline.frames import Frame, FrameStore


def frame(index: int, *, epoch: int = 0, due_s: float | None = None) -> Frame:
    pixels = np.zeros((2, 3, 3), dtype=np.uint8)
    due_s = index / 16 if due_s is None else due_s
    return Frame(pixels=pixels, epoch=epoch, index=index, chunk=index // 8, due_s=due_s, made_s=0.0, received_s=0.0)


def test_a_frame_is_shown_when_it_is_due_and_not_before() -> None:
    store = FrameStore()
    store.add(frame(16))
    assert store.take(0.99, 0.0) == 0
    assert store.shown is None
    assert store.take(1.0, 0.0) == 1
    assert store.shown is not None
    assert store.shown.index == 16


def test_delay_holds_a_frame_back() -> None:
    store = FrameStore()
    store.add(frame(16))
    assert store.take(1.05, 0.1) == 0
    assert store.take(1.1, 0.1) == 1


def test_overtaken_frames_are_skipped_counted_and_give_back_their_credit() -> None:
    store = FrameStore()
    for index in range(5):
        store.add(frame(index))
    assert store.take(4 / 16, 0.0) == 5
    assert store.shown is not None
    assert store.shown.index == 4
    assert store.skipped == 4


def test_a_frame_that_comes_too_late_or_twice_gives_its_credit_back_at_once() -> None:
    store = FrameStore()
    store.add(frame(5))
    assert store.add(frame(5)) == 1
    store.take(1.0, 0.0)
    assert store.add(frame(4)) == 1
    assert store.skipped == 1


def test_a_frame_of_a_new_epoch_ends_the_old_epoch_even_if_that_was_due_later() -> None:
    store = FrameStore()
    store.add(frame(100, due_s=2.0))
    store.add(frame(0, epoch=1, due_s=1.0))
    assert store.take(1.0, 0.0) == 2
    assert store.shown is not None
    assert store.shown.order == (1, 0)


def test_waiting_frames_shift_by_the_length_of_a_pause() -> None:
    store = FrameStore()
    store.add(frame(16))
    store.shift(3.0)
    assert store.take(3.9, 0.0) == 0
    assert store.take(4.0, 0.0) == 1


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), max_size=60), st.floats(0.0, 0.3))
def test_every_frame_frees_exactly_one_credit_and_order_never_goes_back(
    orders: list[tuple[int, int]], delay_s: float
) -> None:
    store, freed, shown = FrameStore(), 0, []
    for turn, (epoch, index) in enumerate(orders):
        freed += store.add(frame(index, epoch=epoch))
        freed += store.take(turn / 20, delay_s)
        if store.shown is not None:
            shown.append(store.shown.order)
    assert freed + len(store.frames) == len(orders)
    assert shown == sorted(shown)


def test_words_are_the_prompt_and_the_events() -> None:
    assert Frame(
        pixels=np.zeros((1, 1, 3), dtype=np.uint8), epoch=0, index=0, chunk=0, due_s=0.0, made_s=0.0, received_s=0.0,
        prompt="a room", events=("rain", "thunder"),
    ).words == "a room; rain; thunder"  # fmt: skip
