"""What a game sees of a runtime, in numbers: how soon the first frame, how soon the words, what a call costs.

`eddyline-runtime bench` runs this as a process of its own: `python -m eddyline.measure --seconds 30`. It reads the
endpoint from stdin and prints one line of JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from eddyline.client import Runtime, ViewPlan, connect
from eddyline.errors import EddylineError
from eddyline.frames import Frame
from eddyline.receipts import Receipt
from eddyline.view import View

LOOP_S = 1 / 60
"""A turn of the game's loop."""
OPENINGS = 5
"""Views opened and closed to time the first frame of a warm runtime."""
MAX_PAUSE_S = 0.5
"""An event comes at most this long after the last one first showed: somewhere in a chunk."""
CALLS = 200
"""Events sent one after the other to time the call."""
PATIENCE_S = 120.0
PROMPT = "a fox walks through a forest"
EVENTS = ("it starts to rain", "lightning flashes", "it starts to snow", "night falls")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(prog="python -m eddyline.measure", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of stream to watch")
    parser.add_argument("--unpaced", action="store_true", help="only count the frames of an unpaced runtime")
    options = parser.parse_args(arguments)
    if options.unpaced:
        return tell(lambda runtime: count_frames(runtime, [ViewPlan(PROMPT, seed=1)], options.seconds))
    return tell(lambda runtime: watch(runtime, options.seconds))


def tell(measure: Callable[[Runtime], Mapping[str, object]]) -> int:
    """Measure the runtime whose endpoint stdin says, and print what was found; returns the exit status."""
    endpoint = sys.stdin.readline().strip()
    try:
        with connect(endpoint, timeout_s=PATIENCE_S) as runtime:
            result = measure(runtime)
    except EddylineError as error:
        print(f"eddyline.measure: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result), flush=True)
    return 0


def count_frames(runtime: Runtime, plans: Sequence[ViewPlan], seconds: float) -> dict[str, float]:
    """How many times faster than it is shown an unpaced runtime makes the slowest of some views, by its own clock.

    Raises EddylineError when it makes nothing for PATIENCE_S.
    """
    with ExitStack() as opened:
        views = [opened.enter_context(view) for view in runtime.open_views(plans)]
        first = {view.id: first_frame(view) for view in views}
        last = dict(first)
        came_s = dict.fromkeys(first, time.perf_counter())
        while any(last[view.id].made_s - first[view.id].made_s < seconds for view in views):
            for view in views:
                frame = view.frame()
                if frame is not None and frame.is_new:
                    last[view.id], came_s[view.id] = frame, time.perf_counter()
            _check_patience(min(came_s.values()), "a further frame")
            runtime.poll()
            time.sleep(LOOP_S)
        factors = [_made_per_s(first[view.id], last[view.id]) / view.rate for view in views]
    return {"real_time_factor": min(factors)}


def _made_per_s(first: Frame, last: Frame) -> float:
    return (last.index - first.index) / (last.made_s - first.made_s)


def watch(runtime: Runtime, seconds: float) -> dict[str, object]:
    """Open, steer and watch views as a game does; all raw samples."""
    samples: dict[str, list[float]] = {name: [] for name in _SAMPLES}
    with runtime.open_view(PROMPT, seed=0) as view:
        first_frame(view)
        first_frame_s = time.monotonic()
    for seed in range(OPENINGS):
        begin_s = time.perf_counter()
        with runtime.open_view(PROMPT, seed=seed) as view:
            first_frame(view)
            samples["time_to_first_frame_warm_s"].append(time.perf_counter() - begin_s)
    with runtime.open_view(PROMPT, seed=1) as view:
        _steer(runtime, view, seconds, samples)
        _time_events(runtime, view, samples)
    return {"first_frame_s": first_frame_s, "sdk_peak_mb": peak_mb("self"), "samples": samples}


_SAMPLES = (
    "time_to_first_frame_warm_s",
    "chunk_interval_s",
    "event_to_first_influenced_s",
    "event_to_first_full_s",
    "denoise_ms",
    "decode_ms",
    "frame_call_us",
    "event_call_us",
)


def first_frame(view: View) -> Frame:
    """Wait for the first frame of a view. Raises EddylineError when it does not come."""
    found: list[Frame] = []

    def came() -> bool:
        frame = view.frame()
        found.extend([frame] if frame is not None else [])
        return frame is not None

    _wait(came, "a first frame")
    return found[0]


def _wait(done: Callable[[], bool], what: str) -> None:
    begin_s = time.perf_counter()
    while not done():
        _check_patience(begin_s, what)
        time.sleep(0.001)


def _check_patience(since_s: float, what: str) -> None:
    if time.perf_counter() - since_s > PATIENCE_S:
        raise EddylineError(f"{what} did not come within {PATIENCE_S:g} s; the runtime is stuck or far too slow")


def _steer(runtime: Runtime, view: View, seconds: float, samples: dict[str, list[float]]) -> None:
    """A game's loop: a frame each turn; an event at a random moment after the last one first showed."""
    chance = random.Random(0)
    first_frame(view)
    end_s = time.perf_counter() + seconds
    made_s: dict[tuple[int, int], float] = {}
    waiting: list[Receipt] = []  # until their first full frame is on the screen
    last: Receipt | None = None
    next_s, tick_ms, said = time.perf_counter() + 1.0, -1.0, 0
    while (now_s := time.perf_counter()) < end_s:
        frame = view.frame()
        samples["frame_call_us"].append(1e6 * (time.perf_counter() - now_s))
        if frame is not None and frame.is_new:
            made_s[(frame.epoch, frame.chunk)] = frame.made_s
        if last is None and now_s >= next_s:
            last = view.event(EVENTS[said % len(EVENTS)], hold_s=1.0)
            waiting.append(last)
            said += 1
        elif last is not None and (last.shown_s is not None or _came_to_nothing(last)):
            samples["event_to_first_influenced_s"] += [] if last.shown_s is None else [last.shown_s - last.sent_s]
            last, next_s = None, now_s + MAX_PAUSE_S * chance.random()
        full = [receipt for receipt in waiting if frame is not None and _is_full(receipt, frame)]
        samples["event_to_first_full_s"] += [now_s - receipt.sent_s for receipt in full]
        waiting = [receipt for receipt in waiting if receipt not in full and not _came_to_nothing(receipt)]
        status = view.status
        if status.tick_ms != tick_ms and status.denoise_ms > 0:
            tick_ms = status.tick_ms
            samples["denoise_ms"].append(status.denoise_ms)
            samples["decode_ms"].append(status.decode_ms)
        runtime.poll()
        time.sleep(max(0.0, LOOP_S - (time.perf_counter() - now_s)))
    moments = [made_s[key] for key in sorted(made_s)]
    samples["chunk_interval_s"] += [after - before for before, after in itertools.pairwise(moments)]


def _came_to_nothing(receipt: Receipt) -> bool:
    return receipt.is_final and receipt.state != "applied"


def _is_full(receipt: Receipt, frame: Frame) -> bool:
    shown = receipt.steering_latency_s is not None and receipt.first_full_frame is not None
    return shown and frame.order >= (receipt.epoch or 0, receipt.first_full_frame or 0)


def _time_events(runtime: Runtime, view: View, samples: dict[str, list[float]]) -> None:
    """What the call costs; one per turn of the loop. What a view cannot hold is rejected, which is no matter here."""
    for number in range(CALLS):
        begin_s = time.perf_counter()
        view.event(EVENTS[number % len(EVENTS)], hold_s=0.5)
        samples["event_call_us"].append(1e6 * (time.perf_counter() - begin_s))
        view.frame()
        runtime.poll()
        time.sleep(LOOP_S)


def peak_mb(process: int | str) -> float:
    """The most memory a process has held so far, in MB; of this one (`"self"`) also where there is no /proc."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        lines = []
    peaks = [float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")]
    if peaks:
        return peaks[0]
    if process != "self" or sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024


if __name__ == "__main__":
    sys.exit(main())
