"""The engine's own thread: takes commands, ticks just in time, hands on what came of it.

Commands are functions of the engine; they run in order, between ticks. Nobody waits for a tick: outcomes are fetched
with `take_outcomes` after `wake` was called, and how far the thread is can be read at any time.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping

from eddyline_runtime.admission import BatchCosts
from eddyline_runtime.engine import Engine
from eddyline_runtime.journal import Journaled, JournalWriter
from eddyline_runtime.outcomes import Outcome
from eddyline_runtime.requests import Act, Close, Command

log = logging.getLogger(__name__)


class Runner:
    """Runs an engine in a thread of its own until it is stopped, or the engine fails."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], float],
        wake: Callable[[], None],
        journal: JournalWriter | None = None,
    ) -> None:
        """`clock` is the engine's. `wake` is called from the engine's thread when there are outcomes, or it ended.

        `journal` is written from now on, and ended with the thread.
        """
        self._engine = engine
        self._journaled = Journaled(engine, journal)
        self._clock = clock
        self._wake = wake
        self._news = threading.Condition()
        self._commands: deque[Command] = deque()
        self._outcomes: deque[Outcome] = deque()
        self._stopping = False
        self._turn_began_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.failure: Exception | None = None
        """Why the engine ended, if it failed."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """End after the tick at hand; returns whether it ended in time."""
        with self._news:
            self._stopping = True
            self._news.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def ticks(self) -> int:
        """Ticks done."""
        return self._engine.ticks

    @property
    def batch_costs(self) -> Mapping[Hashable, BatchCosts]:
        """What ticks of each profile took lately."""
        return self._engine.batch_costs

    def tick_age_s(self) -> float:
        """How long the turn at hand has been running, its tick, commands and texts included; 0 when there is none."""
        began_s = self._turn_began_s
        return 0.0 if began_s is None else max(0.0, self._clock() - began_s)

    def post(self, command: Command) -> None:
        """Run a command on the engine's thread, before the next tick."""
        with self._news:
            self._commands.append(command)
            self._news.notify()

    def act(self, view: int, keys: dict[str, float]) -> None:
        """Set a view's held keys before the next tick, in the order of commands; of those with nothing but keys in
        between only the latest count."""
        wanted = Act(view=view, keys=keys)
        with self._news:
            for place in reversed(range(len(self._commands))):
                last = self._commands[place]
                if not isinstance(last, Act):
                    break
                if last.view == view:
                    self._commands[place] = wanted
                    return
            self._commands.append(wanted)
            self._news.notify()

    def close_view(self, view: int) -> None:
        """Forget a view."""
        self.post(Close(view=view))

    def take_outcomes(self) -> list[Outcome]:
        """What came of commands and ticks since the last call, in order."""
        taken = []
        while self._outcomes:
            taken.append(self._outcomes.popleft())
        return taken

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except Exception as error:
            log.exception("the engine failed")
            self.failure = error
        self._journaled.end("the runtime ended" if self.failure is None else f"the engine failed: {self.failure}")
        self._wake()

    def _turn(self) -> bool:
        """Commands, a text if there is time for it, a tick if one is due, else a rest. Returns False to end."""
        with self._news:
            commands, self._commands = self._commands, deque()
            if self._stopping:
                return False
        self._turn_began_s = self._clock()
        for command in commands:
            self._hand_on(self._journaled.carry_out(command))
        more = self._engine.prepare()
        start_s, now_s = self._engine.next_start_s(), self._clock()
        if start_s is not None and start_s <= now_s:
            self._hand_on(self._journaled.tick(now_s))
            more = True
        self._turn_began_s = None
        if not more:
            with self._news:
                if not (self._commands or self._stopping):
                    self._news.wait(None if start_s is None else start_s - now_s)
        return True

    def _hand_on(self, outcomes: Iterable[Outcome]) -> None:
        new = list(outcomes)  # its length is counted here: the other thread may take outcomes at any moment
        if new:
            self._outcomes.extend(new)
            self._wake()
