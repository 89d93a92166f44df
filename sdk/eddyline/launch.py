"""`launch()`: start a runtime as a child process, watch it, start it again when it dies or hangs, stop it at the end.

The child says on stdout, in lines of JSON, how far it is and where it listens:

    {"progress": 0.4, "doing": "loading weights"}
    {"ready": true, "endpoint": "tcp://127.0.0.1:40123"}
    {"error": "what is wrong and what to do"}
    {"journal_ended": "a.journal", "reason": "why it ended before the runtime did"}

What it writes to stderr is kept, the last lines of it, for the error message.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eddyline.client import Runtime
from eddyline.errors import ConnectTimeoutError, EddylineError, LaunchError, OptionError
from eddyline.install import install_hint
from eddyline.link import Link
from eddyline.notes import JournalEnded, Progress, RuntimeStopped
from eddyline.transport import check_endpoint

STOP_GRACE_S = 5.0
"""How long a child may take to end after it was asked to; then it is killed."""
LAST_LINES = 40
"""Lines of the child's output that are kept."""
GOOD_RUN_S = 600.0
"""A child that ran so long earns back all restarts."""
FIRST_BACKOFF_S = 0.2
LAST_BACKOFF_S = 5.0


def launch(
    model: str = "diorama",
    *,
    profile: str | None = None,
    wait: bool = True,
    timeout_s: float = 300.0,
    on_progress: Callable[[float, str], None] | None = None,
    restarts: int = 3,
    hang_s: float = 20.0,
    random_weights: bool = False,
    journal: str | os.PathLike[str] | None = None,
    command: Sequence[str] | None = None,
) -> Runtime:
    """Start a runtime on this machine and return the connection to it; closing that stops the runtime.

    model: the name of a world, or the path of one. profile: what views use when they name none. wait: return when the
    runtime is ready, at most `timeout_s` seconds later; otherwise at once, and views may be opened at once as well.
    on_progress: called with a fraction, 0 to 1, and what is being done; on the calling thread, while waiting and in
    `poll()`. restarts: how often a runtime that died, or was silent or stuck for `hang_s` seconds, is started again.
    Silence is noticed after 3 s, unless the runtime asks for another patience, and a turn that is stuck after 5 s: a
    smaller `hang_s` ends neither sooner. random_weights: let a model without weights dream noise. journal: a new file
    that everything asked and made is written into, for `eddyline replay`; a runtime that is started again writes into
    the first of `NAME-2`, `NAME-3` and so on that is not there yet, and `poll()` tells of one that had to end early
    (JournalEnded). command: what to run in place of the installed runtime, as a list; `serve` is appended, with
    --model, --bind, --parent-pid and, where they are asked for, --profile, --random-weights and --journal. It must
    become the runtime, not start it as a child of its own: the runtime ends when its parent is not this process.

    Raises OptionError, or LaunchError with the last lines that the child wrote, also for a profile that the world does
    not have; without `wait`, what goes wrong later is told by `poll()` (RuntimeGone).
    """
    numbers = isinstance(restarts, int) and isinstance(hang_s, int | float) and isinstance(timeout_s, int | float)
    if not numbers or restarts < 0 or not hang_s > 0 or not timeout_s > 0:
        raise OptionError(
            f"restarts={restarts}, hang_s={hang_s}, timeout_s={timeout_s}; give restarts 0 or more and whole, "
            "the others above 0"
        )
    for name, value in (("model", model), ("profile", profile or "")):
        if not _can_be_given(value):
            raise OptionError(f"{name}={value!r}; give its name, a str")
    if journal is not None and not _can_be_given(journal):
        raise OptionError(f"journal={journal!r}; give the path of a new file")
    try:
        log = None if journal is None else Path(journal).absolute()
    except OSError as error:
        raise OptionError(f"journal={journal!r}: there is no working directory; give a whole path") from error
    listed = isinstance(command, Sequence) and not isinstance(command, str | bytes)
    if command is not None and not (listed and all(map(_can_be_given, command))):
        raise OptionError(f"command={command!r}; give a list of str, the program first")
    arguments = [*(command or _installed_runtime()), "serve", f"--model={model}", "--bind=tcp://127.0.0.1:0"]
    arguments += ["--parent-pid", str(os.getpid())]
    if profile is not None:
        arguments.append(f"--profile={profile}")
    if random_weights:
        arguments.append("--random-weights")
    link = Link(None)
    launcher = _Launcher(link, arguments, restarts=restarts, hang_s=hang_s, journal=log)
    runtime = Runtime(link, profile=profile, on_progress=on_progress, on_close=launcher.stop)
    try:
        launcher.start()
        if wait:
            runtime.wait_ready(timeout_s)
    except EddylineError as error:
        runtime.close()
        if isinstance(error, LaunchError):
            raise
        if isinstance(error, ConnectTimeoutError):
            reached = str(link.progress).strip()
            what = f"was not ready in time ({reached} after {timeout_s:g} s); give a longer timeout_s, or wait=False"
        else:
            what = f"was started, and cannot be used: {error}"
        raise LaunchError(f"the runtime {what}\n{launcher.last_words()}") from error
    except BaseException:
        runtime.close()
        raise
    return runtime


def _can_be_given(value: object) -> bool:
    """Whether a value can be an argument of a program."""
    try:
        return isinstance(value, str | os.PathLike) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _installed_runtime() -> list[str]:
    """The command that runs the runtime's own command line. Raises LaunchError where it is not installed."""
    # The runtime's own package comes with the SDK's; what it needs beyond that may not be there.
    missing = [name for name in ("eddyline_runtime", "torch") if importlib.util.find_spec(name) is None]
    if missing:
        raise LaunchError(f"the runtime is not installed (no {missing[0]}); run: {install_hint('runtime')}")
    return [sys.executable, "-P", "-m", "eddyline_runtime.cli"]


def _child_environment() -> dict[str, str]:
    """The child finds our packages where this process found them, also in a checkout that is not installed."""
    folders: list[str] = []
    for package in ("eddyline", "eddyline_runtime", "eddyline_kernels"):
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or []) if spec is not None else []:
            folders.append(str(Path(location).parent))
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([*dict.fromkeys(folders), *([inherited] if inherited else [])])
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


def run_command(arguments: Sequence[str]) -> int:
    """Run a command of the installed `eddyline-runtime` to its end, on this terminal, as one of `eddyline`; who asks
    this process to end asks the command. Returns its exit status. To be called by the main thread.

    Raises LaunchError where the runtime is not installed.
    """
    command = [*_installed_runtime(), "--called=eddyline", *arguments]
    asked = threading.Event()
    children: list[subprocess.Popen[bytes]] = []

    def end(*_: object) -> None:
        asked.set()
        for child in children:
            child.terminate()

    before = signal.signal(signal.SIGTERM, end)  # before there is a child, so that none is left alone
    try:
        with subprocess.Popen(command, env=_child_environment()) as child:
            children.append(child)
            if asked.is_set():
                child.terminate()
            try:
                code = child.wait()
            except BaseException:
                child.kill()
                raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
    return code if code >= 0 else 128 - code


class _Launcher:
    """A thread that starts the child, reads what it says, and starts it again."""

    def __init__(
        self,
        link: Link,
        arguments: Sequence[str],
        *,
        restarts: int,
        hang_s: float,
        journal: Path | None = None,
    ) -> None:
        """`journal`: a whole path."""
        self._link = link
        self._arguments = list(arguments)
        self._journal = journal
        self._starts = 0
        self._restarts = self._restarts_left = restarts
        self._hang_s = hang_s
        self._lock = threading.Lock()  # holds `_child` and `_stopping` together: no child starts after stop()
        self._child: subprocess.Popen[str] | None = None
        self._stopping = threading.Event()
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._error = ""
        self._killed_for = ""
        self._watched: subprocess.Popen[str] | None = None  # the child that a timer looks after
        self._was_ready = False
        # The child ends with the thread that started it (Linux counts the thread, not the process), so one thread
        # starts it and stays with it.
        self._thread = threading.Thread(target=self._run, name="eddyline-launch", daemon=True)
        link.on_trouble = self._watch_trouble

    def start(self) -> None:
        """Start the child, on the thread that stays with it."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the child to end, wait STOP_GRACE_S, kill it; then end the thread."""
        with self._lock:
            self._stopping.set()
            child = self._child
        self._end(child)
        if self._thread.is_alive():
            self._thread.join()

    def last_words(self, *, told: str = "") -> str:
        """The last lines that the child wrote, without those that repeat what was told already; they may stand behind
        its name there."""
        parts = [line for line in told.splitlines() if line.strip()]
        named = tuple(f": {part}" for part in parts[:1])
        lines = [f"    {line}" for line in tuple(self._lines) if line not in parts and not line.endswith(named)]
        if not lines:
            return "" if told else "it wrote nothing"
        return "its last lines:\n" + "\n".join(lines)

    def _run(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            started_s = time.monotonic()
            reason = self._run_child()
            if self._stopping.is_set():
                return
            if time.monotonic() - started_s > GOOD_RUN_S:
                self._restarts_left, backoff_s = self._restarts, FIRST_BACKOFF_S
            self._link.set_endpoint(None, f"the runtime stopped: {reason}")
            if not self._was_ready or self._restarts_left == 0:
                again = f"the runtime stopped ({reason}) and has been started again often enough"
                message = again if self._was_ready else f"the runtime could not be started: {reason}"
                words = self.last_words(told=self._error if reason == self._error else "")
                self._link.give_up(LaunchError("; ".join(filter(None, (message, words)))))
                return
            self._restarts_left -= 1
            self._link.note(RuntimeStopped(reason, tuple(self._lines)[-5:], self._restarts_left))
            if self._stopping.wait(backoff_s):
                return
            backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)

    def _run_child(self) -> str:
        """Run one child to its end. Returns why it ended."""
        self._error = self._killed_for = ""
        self._lines.clear()
        try:
            with self._lock:
                if self._stopping.is_set():
                    return "stopped"
                self._starts += 1
                child = self._child = subprocess.Popen(
                    [*self._arguments, *self._journal_option()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    encoding="utf-8",
                    errors="replace",
                    env=_child_environment(),
                    # Ctrl+C at the terminal is for the game; the game then stops the child.
                    start_new_session=sys.platform != "win32",
                )
        except OSError as error:
            return f"{self._arguments[0]}: {error.strerror}"
        stderr = threading.Thread(target=self._read_stderr, args=(child,), name="eddyline-launch-stderr", daemon=True)
        stderr.start()
        assert child.stdout is not None
        with child.stdout:
            for line in child.stdout:
                self._read_line(line.rstrip())
        code = child.wait()
        stderr.join()
        return self._killed_for or self._error or _describe_exit(code)

    def _journal_option(self) -> list[str]:
        """Each start has a journal of its own: another process does not remember what the last one did. Those that
        other launches left are passed over, for no journal is written over."""
        first = self._journal
        if first is None:
            return []
        if self._starts == 1:
            return ["--journal", str(first)]
        names = (first.with_stem(f"{first.stem}-{number}") for number in itertools.count(self._starts))
        return ["--journal", str(next(name for name in names if not os.path.lexists(name)))]

    def _read_stderr(self, child: subprocess.Popen[str]) -> None:
        assert child.stderr is not None
        with child.stderr:
            for line in child.stderr:
                self._lines.append(line.rstrip())

    def _read_line(self, line: str) -> None:
        try:
            fields: Any = json.loads(line)
        except ValueError:
            fields = None
        match fields:
            case {"ready": True, "endpoint": str(endpoint)}:
                self._listen_to(endpoint)
            case {"progress": int() | float() as fraction, "doing": str(doing)}:
                self._link.set_progress(Progress(min(1.0, max(0.0, float(fraction))), doing))
            case {"journal_ended": str(path), "reason": str(reason)}:
                self._link.note(JournalEnded(Path(path), reason))
            case {"error": str(error)}:
                self._error = error
            case _:
                self._lines.append(line)

    def _listen_to(self, endpoint: str) -> None:
        try:
            checked = check_endpoint(endpoint)
        except EddylineError as error:
            self._error = str(error)
            self._end(self._child)
            return
        self._was_ready = True
        self._link.set_progress(Progress(1.0, "ready"))
        self._link.set_endpoint(checked, "the runtime was started again")

    @staticmethod
    def _end(child: subprocess.Popen[str] | None) -> None:
        if child is not None and child.poll() is None:
            child.terminate()
            try:
                child.wait(STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                child.kill()

    def _watch_trouble(self, reason: str) -> None:
        """The connection was lost or a turn takes long: kill the child once it has not got on for `hang_s`.

        Looks again and again until all is well: a slow runtime, each of whose turns takes long, does get on.
        """
        with self._lock:
            child = self._child
            if child is None or child is self._watched:
                return
            self._watched = child
        self._look_again(child, reason)

    def _look_again(self, child: subprocess.Popen[str], reason: str) -> None:
        def look() -> None:
            with self._lock:
                if child is not self._child or child.poll() is not None or self._link.healthy:
                    if self._watched is child:
                        self._watched = None
                    return
            if self._link.stuck_s >= self._hang_s:
                self._killed_for = f"it hung: {reason}"
                child.kill()
            else:
                self._look_again(child, reason)

        timer = threading.Timer(max(0.0, self._hang_s - self._link.stuck_s), look)
        timer.daemon = True
        timer.start()


def _describe_exit(code: int) -> str:
    return f"it ended with exit code {code}" if code >= 0 else f"it was ended by signal {-code}"
