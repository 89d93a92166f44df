"""launch(): a child process that starts, dies, hangs, is started again, and never outlives the game."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

import eddyline
from eddyline.errors import LaunchError, OptionError
from eddyline.install import install_hint
from eddyline.launch import _Launcher
from eddyline.link import Link
from eddyline.notes import ConnectionLost, ConnectionRegained, Progress, RuntimeGone, RuntimeStopped
from eddyline.testing import NoteLog, ScriptedRuntime, wait_until

SCRIPTED = [sys.executable, "-m", "eddyline.testing"]
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def child_pid(runtime: eddyline.Runtime) -> int:
    """The scripted runtime says its process id in the name of its instance."""
    instance = runtime._link._instance
    assert instance is not None
    return int(instance.partition("-")[0])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def test_launch_waits_until_the_runtime_is_ready_and_tells_its_progress() -> None:
    told: list[tuple[float, str]] = []
    with eddyline.launch(command=SCRIPTED, on_progress=lambda *progress: told.append(progress)) as runtime:
        assert runtime.ready
        assert runtime.world is not None
        assert runtime.world.model == "scripted"
        view = runtime.open_view("a red room")
        wait_until(lambda: view.frame() is not None)
        pid = child_pid(runtime)
    assert told[-1] == (1.0, "ready")
    assert not is_alive(pid)


def test_launch_returns_at_once_when_asked_and_views_may_be_opened_right_away() -> None:
    with eddyline.launch(command=SCRIPTED, wait=False) as runtime:
        view = runtime.open_view("a red room")
        receipt = view.event("rain")
        progress: list[eddyline.Note] = []

        def shows() -> bool:
            progress.extend(note for note in runtime.poll() if isinstance(note, Progress))
            return view.frame() is not None and receipt.state == "applied"

        wait_until(shows, 30.0)
        assert progress
        assert runtime.progress.fraction == 1.0


def test_a_child_that_says_why_it_cannot_start_is_a_launch_error_with_its_words() -> None:
    with pytest.raises(LaunchError, match="the weights are missing"):
        eddyline.launch(command=[*SCRIPTED, "--fail", "the weights are missing"])


def test_a_child_that_dies_at_the_start_is_a_launch_error_with_its_last_lines() -> None:
    with pytest.raises(LaunchError, match=r"(?s)exit code 7.*its last lines.*line 999") as caught:
        eddyline.launch(command=[sys.executable, "-c", "import sys; [print('line', i, file=sys.stderr) for i in range(1000)]; sys.exit(7)"])  # fmt: skip  # noqa: E501
    assert "line 5\n" not in str(caught.value)


def test_what_a_child_says_on_both_its_outputs_is_told_once_and_the_rest_of_its_lines_after_it() -> None:
    error = "no world called 'nope';\nuse 'diorama'"
    program = (
        f"import json, sys; print(json.dumps(dict(error={error!r}))); print({('runtime: ' + error)!r}, file=sys.stderr)"
    )
    with pytest.raises(LaunchError) as alone:
        eddyline.launch(command=[sys.executable, "-c", program])
    assert str(alone.value) == f"the runtime could not be started: {error}"
    with pytest.raises(LaunchError) as with_more:
        eddyline.launch(command=[sys.executable, "-c", f"print('an old driver'); {program}"])
    assert str(with_more.value) == f"the runtime could not be started: {error}; its last lines:\n    an old driver"


def test_no_line_is_lost_because_it_ends_as_the_error_does() -> None:
    program = "import json; print('CUDA driver too old (535)\\n12x34x'); print(json.dumps(dict(error='x\\n)')))"
    with pytest.raises(LaunchError) as caught:
        eddyline.launch(command=[sys.executable, "-c", program])
    assert "CUDA driver too old (535)" in str(caught.value)
    assert "12x34x" in str(caught.value)


def test_a_program_that_is_not_there_is_a_launch_error() -> None:
    with pytest.raises(LaunchError, match="no-such-program"):
        eddyline.launch(command=["no-such-program"])


def test_a_child_that_is_never_ready_is_a_launch_error_after_the_time_given() -> None:
    with pytest.raises(LaunchError, match=r"not ready in time.*0\.5 s.*timeout_s") as caught:
        eddyline.launch(command=[sys.executable, "-c", "import time; time.sleep(600)"], timeout_s=0.5)
    assert "eddyline-runtime serve" not in str(caught.value), "that is advice for connect()"


def test_a_child_of_another_version_is_a_launch_error_that_does_not_speak_of_time() -> None:
    with ScriptedRuntime(version=(2, 0)) as scripted:
        line = f'{{"ready": true, "endpoint": "{scripted.endpoint}"}}'
        program = f"import time; print({line!r}, flush=True); time.sleep(600)"
        with pytest.raises(LaunchError, match=r"cannot be used.*2\.0") as caught:
            eddyline.launch(command=[sys.executable, "-c", program])
    assert "in time" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"restarts": -1},
        {"hang_s": 0.0},
        {"timeout_s": 0.0},
        {"hang_s": math.nan},
        {"restarts": "3"},
        {"restarts": 1.5},
        {"restarts": math.nan},
    ],
)
def test_numbers_out_of_range_are_refused_with_the_range_of_each(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="restarts 0 or more and whole, the others above 0"):
        eddyline.launch(command=SCRIPTED, **wrong)


def test_a_child_that_listens_elsewhere_is_a_launch_error() -> None:
    line = '{"ready": true, "endpoint": "tcp://10.0.0.1:7860"}'
    with pytest.raises(LaunchError, match="not on this machine"):
        eddyline.launch(command=[sys.executable, "-c", f"import time; print('{line}', flush=True); time.sleep(600)"])


@pytest.mark.parametrize(
    "wrong", [{"profile": 5}, {"profile": "a\0b"}, {"model": None}, {"model": "\0"}, {"model": "\ud800"}]
)
def test_what_is_no_name_of_a_world_or_profile_is_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="give its name, a str"):
        eddyline.launch(command=SCRIPTED, **wrong)


@pytest.mark.parametrize("journal", ["a\0b", Path("a\0b"), "\ud800", 5, b"a"])
def test_what_is_no_name_of_a_journal_is_refused_at_once(journal: Any) -> None:
    with pytest.raises(OptionError, match="give the path of a new file"):
        eddyline.launch(command=SCRIPTED, journal=journal)


@pytest.mark.parametrize("command", [sys.executable, b"x", [5], ["a\0b"], ["\ud800"]])
def test_what_is_no_command_is_refused_at_once(command: Any) -> None:
    with pytest.raises(OptionError, match="give a list of str"):
        eddyline.launch(command=command)


def test_a_profile_that_looks_like_an_option_is_one_all_the_same() -> None:
    with pytest.raises(LaunchError, match="--profile"):
        eddyline.launch(command=SCRIPTED, profile="-x")


def test_an_unknown_profile_is_a_launch_error_that_names_those_there_are() -> None:
    with pytest.raises(LaunchError, match="smooth"):
        eddyline.launch(command=SCRIPTED, profile="fast")


@posix
def test_a_child_that_is_killed_is_started_again_and_its_views_go_on() -> None:
    with eddyline.launch(command=SCRIPTED) as runtime:
        notes = NoteLog(runtime)
        view = runtime.open_view("a red room")
        wait_until(lambda: view.frame() is not None)
        os.kill(child_pid(runtime), signal.SIGKILL)
        notes.wait_kind(ConnectionLost)
        receipt = view.event("blue")
        stopped = notes.wait_kind(RuntimeStopped)
        assert "signal 9" in stopped.reason
        assert stopped.restarts_left == 2
        notes.wait_kind(ConnectionRegained)
        wait_until(lambda: (frame := view.frame()) is not None and frame.epoch == 1)
        wait_until(lambda: receipt.state == "applied")


@posix
def test_a_journal_in_a_folder_that_is_gone_is_refused_and_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    before = set(threading.enumerate())
    with pytest.raises(OptionError, match="there is no working directory; give a whole path"):
        eddyline.launch(command=SCRIPTED, journal="a.journal")
    assert set(threading.enumerate()) <= before


@posix
def test_each_start_of_a_runtime_has_a_journal_of_its_own(tmp_path: Path) -> None:
    note = "import runpy, sys; open(sys.argv.pop(1), 'a').write(sys.argv[-1] + '\\n')"
    run = "runpy.run_module('eddyline.testing', run_name='__main__')"
    starts = tmp_path / "starts"
    command = [sys.executable, "-c", f"{note}; {run}", str(starts)]
    (tmp_path / "a-2.journal").write_text("of a launch before")
    with eddyline.launch(command=command, journal=tmp_path / "a.journal") as runtime:
        os.kill(child_pid(runtime), signal.SIGKILL)
        NoteLog(runtime).wait_kind(ConnectionRegained)
    assert starts.read_text().splitlines() == [str(tmp_path / "a.journal"), str(tmp_path / "a-3.journal")]


def test_a_child_that_dies_too_often_is_given_up() -> None:
    with eddyline.launch(command=[*SCRIPTED, "--crash-after", "0.2"], restarts=1) as runtime:
        notes = NoteLog(runtime)
        assert "exit code 3" in str(notes.wait_kind(RuntimeGone, 30.0))
        assert sum(isinstance(note, RuntimeStopped) for note in notes.seen) == 1


def test_when_no_runtime_comes_any_more_words_are_rejected_and_views_are_closed() -> None:
    with eddyline.launch(command=[*SCRIPTED, "--crash-after", "0.2"], restarts=0) as runtime:
        view = runtime.open_view("a red room")
        receipt = view.event("far away", at=10**6)
        NoteLog(runtime).wait_kind(RuntimeGone, 30.0)
        assert receipt.state == "rejected"
        assert view.is_closed
        late = view.event("rain")
        wait_until(lambda: late.state == "rejected")
        assert "exit code 3" in late.reason


@posix
def test_a_child_that_hangs_is_ended_and_started_again() -> None:
    with eddyline.launch(command=SCRIPTED, hang_s=0.3) as runtime:
        notes = NoteLog(runtime)
        os.kill(child_pid(runtime), signal.SIGSTOP)
        stopped = notes.wait_kind(RuntimeStopped)
        assert "hung" in str(stopped)
        notes.wait_kind(ConnectionRegained)


@posix
@pytest.mark.parametrize("end", ["pass", "raise SystemExit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_the_child_ends_with_the_game_however_that_ends(end: str) -> None:
    program = (
        "import os, signal, sys, eddyline\n"
        f"runtime = eddyline.launch(command={SCRIPTED!r})\n"
        "print(runtime._link._instance.partition('-')[0], flush=True)\n"
        f"{end}\n"
    )
    game = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    pid = int(game.stdout)
    wait_until(lambda: not is_alive(pid))


@pytest.mark.parametrize("package", ["eddyline_runtime", "torch"])
def test_without_what_the_runtime_needs_launch_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    import importlib.util

    find: Callable[[str], object] = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(LaunchError, match=rf"no {package}.*{re.escape(install_hint('runtime'))}"):
        eddyline.launch()


class TroubledLink:
    """A link to a runtime that is never well, and that has not got on for as long as the test says."""

    def __init__(self) -> None:
        self.on_trouble: Callable[[str], None] | None = None
        self.healthy = False
        self.answer_s = 0.0
        self.asked = 0

    @property
    def stuck_s(self) -> float:
        self.asked += 1
        return self.answer_s


class Child:
    """A process that runs until it is killed."""

    killed = False

    def poll(self) -> int | None:
        return -9 if self.killed else None

    def kill(self) -> None:
        self.killed = True


def watched(link: TroubledLink) -> tuple[Child, Callable[[str], None]]:
    launcher = _Launcher(cast(Link, link), ["unused"], restarts=0, hang_s=0.01)
    child = Child()
    launcher._child = cast("subprocess.Popen[str]", child)
    assert link.on_trouble is not None
    return child, link.on_trouble


def test_a_runtime_whose_ticks_take_long_but_end_is_not_killed_and_one_that_gets_stuck_is() -> None:
    link = TroubledLink()
    child, trouble = watched(link)
    trouble("one turn took 6 s")
    trouble("one turn took 9 s")
    wait_until(lambda: link.asked > 20)
    assert not child.killed
    link.answer_s = 100.0
    wait_until(lambda: child.killed)


def test_trouble_that_is_over_is_forgotten_and_new_trouble_is_watched_again() -> None:
    link = TroubledLink()
    child, trouble = watched(link)
    trouble("no sign of life for 3 s")
    link.healthy = True

    def quiet() -> bool:
        before = link.asked
        return not threading.Event().wait(0.2) and link.asked == before

    wait_until(quiet)
    link.healthy, link.answer_s = False, 100.0
    assert not child.killed
    trouble("no sign of life for 3 s")
    wait_until(lambda: child.killed)


def test_a_runtime_gets_on_as_long_as_its_ticks_end() -> None:
    with ScriptedRuntime(heartbeat_s=0.05) as scripted, eddyline.connect(scripted.endpoint) as runtime:
        link = runtime._link
        scripted.stall()
        wait_until(lambda: not link.healthy and link.stuck_s > 0.3)
        scripted.recover()
        wait_until(lambda: link.healthy and link.stuck_s < 0.3)


@posix
def test_a_command_ends_with_the_program_that_runs_it_when_that_is_asked_to() -> None:
    sleeps = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    program = (
        "import sys, eddyline; launch = sys.modules['eddyline.launch']; "
        f"launch._installed_runtime = lambda: [sys.executable, '-c', {sleeps!r}]; "
        "sys.exit(launch.run_command([]))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as runs:
        assert runs.stdout is not None
        command = int(runs.stdout.readline())
        runs.terminate()
        assert runs.wait() == 128 + signal.SIGTERM
    assert not is_alive(command)
