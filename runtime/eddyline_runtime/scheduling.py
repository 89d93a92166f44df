"""When to make the next chunk: pure arithmetic on seconds.

A view's frames are counted from its opening, across epochs (its timeline). The playhead moves at the view's rate; a
tick starts just in time, so that its chunk is done a margin before the playhead needs it. A chunk that comes late moves
the timeline back: the playhead waits at the last frame.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Where a view's playhead is: frame `i` of the timeline is due at `start_s + i / fps`."""

    fps: float
    start_s: float
    made: int = 0
    """Frames made so far."""
    stopped_s: float | None = None
    """Since when the playhead stands still (paused or parked); None while it moves."""

    def due_s(self, frame: int) -> float:
        """When a frame belongs on the screen."""
        return self.start_s + frame / self.fps

    @property
    def deadline_s(self) -> float:
        """When the first frame that is not made yet is due."""
        return self.due_s(self.made)

    def playhead(self, now_s: float) -> int:
        """The frame that is due now: never below 0 nor beyond what was made."""
        moment = now_s if self.stopped_s is None else min(self.stopped_s, now_s)
        return max(0, min(int((moment - self.start_s) * self.fps), self.made - 1))

    def lead_s(self, now_s: float) -> float:
        """How far made frames run ahead of the playhead, in seconds; negative while it waits for one."""
        return self.deadline_s - (now_s if self.stopped_s is None else self.stopped_s)


def extend(timeline: Timeline, frames: int, *, ready_s: float) -> Timeline:
    """A chunk of `frames` frames is ready; if its first one was due before `ready_s`, the timeline moves back."""
    late = max(0.0, ready_s - timeline.deadline_s)
    return replace(timeline, start_s=timeline.start_s + late, made=timeline.made + frames)


def hurry(timeline: Timeline, now_s: float) -> Timeline:
    """What is made next is due now, however far ahead of its time it is (unpaced)."""
    return replace(timeline, start_s=min(timeline.start_s, now_s - timeline.made / timeline.fps))


def take_back(timeline: Timeline, now_s: float) -> Timeline:
    """What was made and is not due yet counts as not made."""
    return replace(timeline, made=min(timeline.made, timeline.playhead(now_s) + 1))


def stop(timeline: Timeline, now_s: float) -> Timeline:
    """The playhead stands still from now on (again: no change)."""
    return timeline if timeline.stopped_s is not None else replace(timeline, stopped_s=now_s)


def go(timeline: Timeline, now_s: float) -> Timeline:
    """The playhead moves again; what was not shown yet is due later by the time it stood still."""
    if timeline.stopped_s is None:
        return timeline
    stood = max(0.0, now_s - timeline.stopped_s)
    return replace(timeline, start_s=timeline.start_s + stood, stopped_s=None)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A view that could be ticked: when it needs its chunk, and with whom it shares a batch."""

    view: int
    deadline_s: float
    chunk_s: float
    group: Hashable
    """Views of one group are one batch: equal partition, shape and guidance."""


def start_s(
    candidates: Iterable[Candidate], cost_s: dict[Hashable, float], *, margin_s: float, max_batch: int
) -> float | None:
    """The last moment at which the next tick can start so that nobody waits; None without candidates.

    Every group may have to be ticked before the most urgent one is done, one of more than `max_batch` views several
    times, so all their costs count.
    """
    pool = list(candidates)
    if not pool:
        return None
    views = Counter(candidate.group for candidate in pool)
    total = sum(cost_s.get(group, 0.0) * math.ceil(count / max_batch) for group, count in views.items())
    return min(candidate.deadline_s for candidate in pool) - total - margin_s


def joining(candidates: Sequence[Candidate], *, slack_s: float = 0.0) -> list[Candidate]:
    """Those whose chunks are made together with that of the most urgent, most urgent first.

    A view joins when its own start is less than a quarter of its chunk away: it runs ahead by that much at most, and
    saves a tick of its own. `slack_s` is how late the most urgent one is.
    """
    first = min((candidate.deadline_s for candidate in candidates), default=0.0)
    due = (c for c in candidates if c.deadline_s - first <= slack_s + c.chunk_s / 4)
    return sorted(due, key=lambda c: c.deadline_s)


def choose(
    candidates: Sequence[Candidate], cost_s: dict[Hashable, float], *, now_s: float, margin_s: float, max_batch: int
) -> list[list[int]]:
    """The batches to tick now, most urgent first; empty while there is still time."""
    begin = start_s(candidates, cost_s, margin_s=margin_s, max_batch=max_batch)
    if begin is None or now_s < begin:
        return []
    groups: dict[Hashable, list[Candidate]] = {}
    for candidate in joining(candidates, slack_s=now_s - begin):
        groups.setdefault(candidate.group, []).append(candidate)
    return [
        [candidate.view for candidate in members[first : first + max_batch]]
        for members in groups.values()
        for first in range(0, len(members), max_batch)
    ]
