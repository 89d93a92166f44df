"""What a view shows when, on a clock that the test moves by hand and without a socket."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import numpy as np

from eddyline import protocol
from eddyline.frames import CREDIT_FRAMES, Frame
from eddyline.link import Link, World
from eddyline.notes import Progress
from eddyline.receipts import Receipt
from eddyline.view import View

FPS = 16.0


@dataclass
class StillLink:
    """A link that sends nothing, and whose clock stands still."""

    now_s: float = 100.0
    world: World | None = None
    connected_now: bool = True
    progress: Progress = field(default_factory=lambda: Progress(0.0, ""))
    freed_frames: int = 0
    ids: int = 0

    def clock(self) -> float:
        return self.now_s

    def freed(self, view_id: int, frames: int) -> None:
        self.freed_frames += frames

    def next_id(self) -> int:
        self.ids += 1
        return self.ids

    def add_words(self, receipt: Receipt, how: dict[str, object]) -> None:
        pass

    def pause(self, view_id: int, paused: bool) -> None:
        pass


class Stage:
    """A view whose frame `index` is due at second 100 + index / 16."""

    def __init__(self) -> None:
        self.link = StillLink()
        self.view = View(cast(Link, self.link), 1, "", FPS, held={})

    def at(self, index: float) -> Stage:
        """Move the clock to the moment when frame `index` is due."""
        self.link.now_s = 100.0 + index / FPS
        return self

    def give(self, *indices: int, epoch: int = 0, credit_left: int = 8, origin_s: float = 100.0) -> None:
        for index in indices:
            frame = Frame(
                pixels=np.zeros((1, 1, 3), dtype=np.uint8),
                epoch=epoch,
                index=index,
                chunk=index // 8,
                due_s=origin_s + index / FPS,
                made_s=self.link.now_s,
                received_s=self.link.now_s,
            )
            self.view.receive_frame(frame, 0, credit_left)

    def shown(self) -> tuple[int, bool]:
        frame = self.view.frame()
        assert frame is not None
        return frame.index, frame.is_new


def test_each_frame_is_new_once_when_it_is_due() -> None:
    stage = Stage()
    stage.give(0, 1, 2, 3)
    assert stage.at(0).shown() == (0, True)
    assert stage.at(0.5).shown() == (0, False)
    assert stage.at(1).shown() == (1, True)
    assert stage.at(3).shown() == (3, True)
    assert stage.view.status.dropped_frames == 1
    assert stage.link.freed_frames == 4


def test_frames_go_on_after_a_pause_where_they_stopped() -> None:
    stage = Stage()
    stage.give(0, 1, 2, 3, 4)
    assert stage.at(1).shown() == (1, True)
    stage.view.pause()
    assert stage.at(50).shown() == (1, False)
    stage.view.resume()
    assert stage.shown() == (1, False)
    assert stage.at(51).shown() == (2, True)
    assert stage.at(52).shown() == (3, True)


def test_the_credit_of_frames_that_came_in_a_pause_for_nothing_is_given_back_at_its_end() -> None:
    stage = Stage()
    stage.give(0, 1, 2, 3)
    stage.at(3).shown()
    freed = stage.link.freed_frames
    stage.view.pause()
    stage.give(0, 1, 2, 3)
    stage.view.resume()
    assert stage.link.freed_frames == freed + 4
    assert stage.at(9).shown() == (3, False)


def test_a_frame_that_is_no_longer_new_is_the_same_one_in_all_else() -> None:
    stage = Stage()
    stage.give(0)
    new, again = stage.at(0).view.frame(), stage.view.frame()
    assert new is not None
    assert again is not None
    assert again is stage.view.frame()
    assert {**vars(new), "is_new": False} == vars(again)


def test_a_frame_that_comes_already_due_is_shown_though_a_later_one_waits() -> None:
    stage = Stage()
    stage.give(0, 8)
    assert stage.at(0).shown() == (0, True)
    assert stage.at(3).shown() == (0, False)
    stage.give(3)
    assert stage.shown() == (3, True)


def test_a_late_frame_delays_the_next_ones_so_that_they_play_evenly() -> None:
    stage = Stage()
    stage.give(0)
    stage.at(0).shown()
    stage.at(3).give(1, 2, 3, 4)
    assert stage.shown() == (1, True)
    assert stage.at(4).shown() == (2, True)
    assert stage.at(5).shown() == (3, True)
    assert stage.view.status.delay_s == 2 / FPS


def test_frames_that_are_late_because_the_game_did_not_read_cause_no_delay() -> None:
    stage = Stage()
    for index in range(CREDIT_FRAMES):
        stage.give(index, credit_left=CREDIT_FRAMES - 1 - index)
    assert stage.at(100).shown() == (CREDIT_FRAMES - 1, True)
    stage.give(94, 95, 96)
    assert stage.shown() == (96, True)
    stage.give(97, 98, 99, 100, 101)
    assert stage.shown() == (100, True)
    assert stage.view.status.delay_s == 0.0
    stage.at(110).give(108)
    assert stage.view.status.delay_s == 2 / FPS


def test_a_runtime_that_stays_late_after_a_starvation_is_believed() -> None:
    stage = Stage()
    for index in range(CREDIT_FRAMES):
        stage.give(index, credit_left=CREDIT_FRAMES - 1 - index)
    stage.at(100).shown()
    for index in range(96, 130):
        stage.at(index + 4).give(index)
        stage.shown()
    assert stage.view.status.delay_s == 4 / FPS


def test_the_first_frame_of_a_new_epoch_ends_the_old_one() -> None:
    stage = Stage()
    stage.give(0, 1, 2, 3)
    assert stage.at(1).shown() == (1, True)
    stage.give(0, 1, epoch=1, origin_s=100.0 + 2 / FPS)
    assert stage.at(2).shown() == (0, True)
    assert stage.at(3).shown() == (1, True)
    frame = stage.view.frame()
    assert frame is not None
    assert frame.epoch == 1


def test_steering_latency_runs_from_the_call_to_the_first_influenced_frame_on_the_screen() -> None:
    stage = Stage()
    stage.give(0, 1, 2, 3, 4, 5, 6)
    stage.at(1).shown()
    receipt = stage.view.event("rain")
    receipt.update(
        protocol.ReceiptUpdate(id=1, view=1, state="applied", epoch=0, first_influenced_frame=4, first_full_frame=6)
    )
    stage.at(3).shown()
    assert receipt.steering_latency_s is None
    stage.at(5).shown()
    assert receipt.steering_latency_s == 4 / FPS
    assert stage.view.status.steering_latency_s == 4 / FPS


def test_the_rate_shown_counts_new_frames_only() -> None:
    stage = Stage()
    stage.give(*range(16))
    for turn in range(64):
        stage.at(turn / 4).shown()
    assert stage.view.status.fps_shown == 8.0
