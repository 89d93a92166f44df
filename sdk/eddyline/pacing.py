"""Which frame belongs on the screen at time t: pure arithmetic, no clocks, no threads.

Every frame says when it is due on the runtime's clock. `ClockMap` carries that moment over to the local clock;
`Playout` adds just enough delay that frames which come late, one after the other, still play evenly; `newest_due` says
which frame of an ordered store is the one to show. All times are seconds; `..._s` on the local clock unless said
otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DRIFT = 1e-4
"""Seconds of doubt that each second adds to an old measurement: two computers' clocks differ by up to 100 ppm."""
MAX_DELAY_S = 0.5
"""The most that late frames delay the picture; what comes later still is shown when it comes."""
HOLD_S = 4.0
"""How long the delay stays after the last frame that needed it."""
CATCH_UP = 0.05
"""How fast the delay shrinks afterwards: seconds per second, so the picture runs at most 5 % too fast."""
SLACK_S = 0.005
"""A frame that comes this close to its moment still counts as needing the delay."""


@dataclass(frozen=True)
class ClockMap:
    """The runtime's clock as seen from here: `local = runtime - offset_s`, right to `error_s` at `measured_s`."""

    offset_s: float
    error_s: float
    measured_s: float

    def doubt_s(self, now_s: float) -> float:
        """How wrong the offset may be at local time `now_s`."""
        return self.error_s + DRIFT * max(0.0, now_s - self.measured_s)

    def to_local(self, runtime_s: float) -> float:
        """The local time of a moment on the runtime's clock."""
        return runtime_s - self.offset_s


def measure_clock(old: ClockMap | None, *, sent_s: float, received_s: float, runtime_s: float) -> ClockMap:
    """Return the better of `old` and a new measurement: asked at `sent_s`, answered with `runtime_s`, at `received_s`.

    The answer was written somewhere between; half the round trip is the error. A measurement that contradicts the old
    one beyond both errors replaces it: one of the clocks was set, or this is another runtime.
    """
    error_s = max(0.0, received_s - sent_s) / 2
    new = ClockMap(offset_s=runtime_s - (sent_s + received_s) / 2, error_s=error_s, measured_s=received_s)
    if old is None:
        return new
    doubt_s = old.doubt_s(received_s)
    contradicts = abs(new.offset_s - old.offset_s) > new.error_s + doubt_s + 1e-6
    return new if contradicts or new.error_s <= doubt_s else old


@dataclass(frozen=True)
class Playout:
    """How much later than due frames are shown: `delay_s` as of `since_s`, the last moment it was needed."""

    delay_s: float = 0.0
    since_s: float = 0.0


def delay_at(playout: Playout, now_s: float) -> float:
    """The delay in force at `now_s`: held for HOLD_S after it was last needed, then shrinking by CATCH_UP to 0."""
    return max(0.0, playout.delay_s - CATCH_UP * max(0.0, now_s - playout.since_s - HOLD_S))


def observe_arrival(playout: Playout, *, due_s: float, received_s: float) -> Playout:
    """Return the playout after a frame that was due at `due_s` came at `received_s`.

    A frame later than the delay raises it at once (up to MAX_DELAY_S), so the next ones are shown evenly; one that just
    made it keeps the delay where it is.
    """
    late_s = received_s - due_s
    delay_s = delay_at(playout, received_s)
    if late_s > delay_s:
        return Playout(delay_s=min(late_s, MAX_DELAY_S), since_s=received_s)
    if delay_s > 0.0 and late_s > delay_s - SLACK_S:
        return Playout(delay_s=delay_s, since_s=received_s)
    return playout


def newest_due(due_s: Sequence[float], *, now_s: float, delay_s: float = 0.0) -> int | None:
    """Return the position of the frame to show at `now_s`, or None when none is due yet.

    `due_s` is in the order of play (epoch, then index). The newest frame that is due wins and all before it are over,
    also those due later than it: after a cut the frames of the old epoch are.
    """
    for position in range(len(due_s) - 1, -1, -1):
        if due_s[position] + delay_s <= now_s:
            return position
    return None
