"""Time for a game that nobody watches: it passes when the game waits, and at once.

A game that a robot plays need not last as long as what it shows. Waiting moves this clock by what was to be waited for;
the game's own work takes no time. So a recording takes what drawing takes, and a slow machine records the same pictures
as a quick one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

FREE_FPS = 60.0
"""The rate of a game that asks for none, as a screen's refresh would hold it up."""
MOST_PICTURES = 8
"""A game that shows more pictures than that without waiting is held up."""
GLANCE_MS = 0.01
"""What looking at the clock takes, so that a game that waits by looking at it all the time is done some day."""


@dataclass
class _Timer:
    period_ms: float
    due_ms: float
    left: float
    ring: Callable[[], object]


class GameTime:
    """A clock that its game moves; begins at 0. `on_change` is told the time in seconds whenever it was moved."""

    def __init__(self, on_change: Callable[[float], None] = lambda now_s: None) -> None:
        self.now_ms = 0.0
        self._on_change = on_change
        self._timers: dict[int, _Timer] = {}
        self._pictures = 0

    def look(self) -> float:
        """The time in milliseconds; looking takes `GLANCE_MS`."""
        self.now_ms += GLANCE_MS
        return self.now_ms

    def wait(self, ms: float) -> None:
        """Let `ms` milliseconds pass; timers that come due ring at their time, the earliest first."""
        self._pictures = 0
        self._pass(ms)

    def show(self) -> None:
        """The game shows a picture; one that does so again and again and never waits is held up to `FREE_FPS`."""
        self._pictures += 1
        if self._pictures > MOST_PICTURES:
            self._pass(1000.0 / FREE_FPS)

    def _pass(self, ms: float) -> None:
        end_ms = self.now_ms + max(0.0, ms)
        while self._timers:
            kind, timer = min(self._timers.items(), key=lambda item: item[1].due_ms)
            if timer.due_ms > end_ms:
                break
            self.now_ms = max(self.now_ms, timer.due_ms)
            timer.due_ms += timer.period_ms
            timer.left -= 1
            if not timer.left:
                del self._timers[kind]
            timer.ring()
        self.now_ms = end_ms
        self._on_change(self.now_ms / 1000.0)

    def set_timer(self, kind: int, period_ms: float, loops: int, ring: Callable[[], object]) -> None:
        """Ring every `period_ms` milliseconds, `loops` times (0: for ever), in place of an earlier timer of `kind`; a
        period of 0 only ends that one."""
        self._timers.pop(kind, None)
        if period_ms > 0:
            self._timers[kind] = _Timer(period_ms, self.now_ms + period_ms, loops or math.inf, ring)


class GameClock:
    """`pygame.time.Clock` on a GameTime."""

    def __init__(self, time: GameTime) -> None:
        self._time = time
        self._last_ms = time.now_ms
        self._took_ms = 0

    def tick(self, framerate: float = 0.0) -> int:
        """Wait until 1/framerate seconds have passed since the last tick; how many milliseconds have."""
        due_ms = self._last_ms + 1000.0 / (framerate if framerate > 0 else FREE_FPS)
        self._time.wait(due_ms - self._time.now_ms)
        self._took_ms = int(self._time.now_ms) - int(self._last_ms)
        self._last_ms = self._time.now_ms
        return self._took_ms

    tick_busy_loop = tick

    def get_time(self) -> int:
        """Milliseconds between the last two ticks."""
        return self._took_ms

    get_rawtime = get_time

    def get_fps(self) -> float:
        """Frames a second, by the last two ticks."""
        return 1000.0 / self._took_ms if self._took_ms else 0.0
