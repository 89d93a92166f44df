"""What a game with many viewpoints sees of a runtime: whether all of them come in time, and whether its own loop does.

`eddyline-runtime bench npcs` runs this as a process of its own: `python -m eddyline.measure_npcs --views 4 --stride 4`.
It reads the endpoint from stdin and prints one line of JSON.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from eddyline.client import Runtime, ViewPlan
from eddyline.errors import CapacityError
from eddyline.frames import Frame
from eddyline.measure import CALLS, EVENTS, LOOP_S, PATIENCE_S, count_frames, first_frame, peak_mb, tell
from eddyline.view import View

WORK_S = 0.004
"""What the game itself computes in each turn of its loop: a quarter of it."""
SETTLE_S = 2.0
"""Turns after the last view's first frame that do not count."""
EVENT_EVERY_S = 1.0
"""So often the next view is told something."""
LATE_S = 2 * LOOP_S
"""A frame that is handed out so long after it was due is late; one turn is what a loop of 60 Hz needs to see it."""
HELD = (["ArrowLeft"], ["ArrowRight"])
"""Keys that a view holds by turns, so that every timed call changes them."""
PROMPTS = (
    "a blue guard in a castle courtyard at night",
    "a yellow cat in a forest by day",
    "a white ghost in a castle hall at sunset",
    "a red fox in a snowy meadow",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(prog="python -m eddyline.measure_npcs", description=__doc__)
    parser.add_argument("--views", type=int, default=4, help="viewpoints")
    parser.add_argument("--stride", type=int, default=4, help="of each: 1, 2 or 4")
    parser.add_argument("--seconds", type=float, default=20.0, help="to watch")
    parser.add_argument("--unpaced", action="store_true", help="only count the frames of an unpaced runtime")
    options = parser.parse_args(arguments)
    plans = [
        ViewPlan(PROMPTS[seed % len(PROMPTS)], seed=seed, stride=options.stride, name=f"npc {seed + 1}")
        for seed in range(options.views)
    ]
    if options.unpaced:
        return tell(lambda runtime: count_frames(runtime, plans, options.seconds))
    return tell(lambda runtime: watch(runtime, plans, options.seconds))


@dataclass(frozen=True)
class Shown:
    """A frame that was handed out as new: when it was due, and when it was handed out, in seconds on one clock."""

    index: int
    due_s: float
    shown_s: float


@dataclass(frozen=True)
class Seen:
    """What one view showed in some time: the frames it takes to fill it (`wanted`, give or take one), those that were
    made and became due, and those that were handed out.

    late: handed out over LATE_S after they were due. stood_s: how long the picture stood still, all together, because
    the chunk that was due was not made yet.
    """

    name: str
    wanted: int
    made: int
    shown: int
    late: int
    stood_s: float


def seen(name: str, frames: Sequence[Shown], *, rate: float, begin_s: float, end_s: float) -> Seen:
    """Count the frames that a view handed out from `begin_s` to `end_s`, in one epoch.

    A chunk that comes late moves the due times of all later frames back: by as much as the video is too short.
    """
    wanted = int((end_s - begin_s) * rate)
    if not frames:
        return Seen(name, wanted=wanted, made=0, shown=0, late=0, stood_s=end_s - begin_s)
    first, last = frames[0], frames[-1]
    made = last.index - first.index + 1
    late = sum(frame.shown_s - frame.due_s > LATE_S for frame in frames)
    stood_s = max(0.0, last.due_s - first.due_s - (made - 1) / rate)
    return Seen(name, wanted=wanted, made=made, shown=len(frames), late=late, stood_s=stood_s)


def watch(runtime: Runtime, plans: Sequence[ViewPlan], seconds: float) -> dict[str, object]:
    """Open as many of the views as are let in, and turn beside them as a game does; all raw samples."""
    samples: dict[str, list[float]] = {name: [] for name in _SAMPLES}
    with ExitStack() as opened:
        views, refused = _let_in([opened.enter_context(view) for view in runtime.open_views(plans)])
        for view in views:
            first_frame(view)
        for _ in _turns(runtime, views, SETTLE_S, lambda view, frame: None, {}):
            pass
        begin_s = time.perf_counter()
        shown = _watch(runtime, views, seconds, samples)
        end_s = time.perf_counter()
        _time_calls(runtime, views, samples)
        found = [
            asdict(seen(view.name, shown[view.id], rate=view.rate, begin_s=begin_s, end_s=end_s)) for view in views
        ]
    assert runtime.world is not None, "it has answered"
    return {
        "profile": runtime.world.default_profile,
        "admitted": len(views),
        "refused": refused,
        "per_view": found,
        "sdk_peak_mb": peak_mb("self"),
        "samples": samples,
    }


_SAMPLES = ("turn_ms", "busy_ms", "frame_call_us", "event_call_us", "act_call_us")


def _let_in(views: Sequence[View]) -> tuple[list[View], str | None]:
    """The views that the runtime opened, and why it did not open all."""
    admitted, refused = [], None
    for view in views:
        try:
            view.wait_open(PATIENCE_S)
        except CapacityError as error:
            refused = refused or str(error)
        else:
            admitted.append(view)
    return admitted, refused


def _watch(
    runtime: Runtime, views: Sequence[View], seconds: float, samples: dict[str, list[float]]
) -> dict[int, list[Shown]]:
    """Turn for some seconds; every now and then the next view is told something. Every new frame of each view."""
    shown: dict[int, list[Shown]] = {view.id: [] for view in views}

    def see(view: View, frame: Frame) -> None:
        shown[view.id].append(Shown(frame.index, frame.due_s, time.perf_counter()))

    said, next_s = 0, time.perf_counter()
    for begin_s in _turns(runtime, views, seconds, see, samples):
        if begin_s >= next_s:
            views[said % len(views)].event(EVENTS[said % len(EVENTS)], hold_s=1.0)
            said, next_s = said + 1, next_s + EVENT_EVERY_S
    return shown


def _time_calls(runtime: Runtime, views: Sequence[View], samples: dict[str, list[float]]) -> None:
    """What it costs to say something and to hold other keys, each once a turn, in one view after the other. What a view
    cannot hold is rejected, which is no matter here."""
    turns = _turns(runtime, views, PATIENCE_S, lambda view, frame: None, {})
    for number, _ in zip(range(CALLS), turns, strict=False):
        view, held = views[number % len(views)], HELD[number // len(views) % len(HELD)]
        begin_s = time.perf_counter()
        view.event(EVENTS[number % len(EVENTS)], hold_s=0.5)
        between_s = time.perf_counter()
        view.act(held)
        end_s = time.perf_counter()
        samples["event_call_us"].append(1e6 * (between_s - begin_s))
        samples["act_call_us"].append(1e6 * (end_s - between_s))


def _turns(
    runtime: Runtime,
    views: Sequence[View],
    seconds: float,
    see: Callable[[View, Frame], None],
    samples: dict[str, list[float]],
) -> Iterator[float]:
    """A game's loop of 60 Hz: look at every view, do what the game does (the caller between two turns counts as that),
    wait for the next turn. Yields when each turn began; `see` is handed every new frame."""
    turn_ms, busy_ms, call_us = (samples.setdefault(name, []) for name in _SAMPLES[:3])
    begin_s = next_s = time.perf_counter()
    end_s = begin_s + seconds
    while begin_s < end_s:
        for view in views:
            call_s = time.perf_counter()
            frame = view.frame()
            call_us.append(1e6 * (time.perf_counter() - call_s))
            if frame is not None and frame.is_new:
                see(view, frame)
        runtime.poll()
        yield begin_s
        _compute(WORK_S)
        now_s = time.perf_counter()
        busy_ms.append(1e3 * (now_s - begin_s))
        next_s = max(next_s + LOOP_S, now_s)  # a turn that took too long delays those after it; none is caught up
        time.sleep(next_s - now_s)
        before_s, begin_s = begin_s, time.perf_counter()
        turn_ms.append(1e3 * (begin_s - before_s))


def _compute(seconds: float) -> None:
    """Keep this thread busy, as a game's own code does."""
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        pass


if __name__ == "__main__":
    sys.exit(main())
