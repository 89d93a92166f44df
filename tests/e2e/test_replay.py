"""A runtime that is killed leaves a journal that can be played again, by the command a player has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import pytest

import eddyline
from eddyline import cli
from eddyline.testing import wait_until

SERVE = [sys.executable, "-m", "eddyline_runtime.cli", "serve", "--model", "tiny", "--random-weights", "--threads", "1"]
SERVE += ["--max-load", "inf"]
PATIENCE_S = 120.0


def endpoint_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        told = json.loads(line)
        if told.get("ready"):
            return str(told["endpoint"])
    raise AssertionError("the runtime never was ready")


def test_what_a_killed_runtime_made_is_made_again_frame_for_frame_and_filmed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    journal, film = tmp_path / "a.journal", tmp_path / "film.mp4"
    arguments = [*SERVE, "--bind", "tcp://127.0.0.1:0", "--journal", str(journal)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            with eddyline.connect(endpoint_of(process), timeout_s=PATIENCE_S) as runtime:
                views = [runtime.open_view("a red knight", seed=7), runtime.open_view("a fox", seed=3, name="guard")]
                views[1].act({"ArrowRight"})
                wait_until(lambda: all(view.frame() is not None for view in views), PATIENCE_S)
                event = views[0].event("it starts to rain")
                wait_until(lambda: [view.frame() for view in views] and event.shown_s is not None, PATIENCE_S)
                process.kill()
        finally:
            process.kill()
    capfd.readouterr()
    assert cli.main(["replay", str(journal), "--verify", "--video", str(film), "--view", "guard"]) == 0
    said = capfd.readouterr().out
    assert "identical: all" in said
    assert "frames of 2 views" in said
    assert "the runtime was killed" in said
    with av.open(str(film)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    assert f"{frames} frames of view 2" in said
    journal.write_bytes(journal.read_bytes().replace(b'"ArrowRight"', b'"ArrowLeft" '))
    assert cli.main(["replay", str(journal), "--verify"]) == 2
    told = capfd.readouterr().err
    assert "was changed or taken out" in told
    assert told.startswith("eddyline: "), "it is signed by the command that was typed"


@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are POSIX's")
def test_a_journal_that_the_disk_takes_no_more_of_is_told_to_the_game_and_the_view_goes_on(tmp_path: Path) -> None:
    limited = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
    limited += "os.execv(sys.executable, [sys.executable, '-m', 'eddyline_runtime.cli', *sys.argv[1:]])"
    journal = tmp_path / "a.journal"
    command = [sys.executable, "-c", limited]
    with eddyline.launch(
        "tiny", random_weights=True, journal=journal, command=command, timeout_s=PATIENCE_S
    ) as runtime:
        view = runtime.open_view("a red knight")
        seen: list[eddyline.JournalEnded] = []

        def is_told() -> bool:
            view.event("it starts to rain")
            seen.extend(note for note in runtime.poll() if isinstance(note, eddyline.JournalEnded))
            return bool(seen)

        wait_until(is_told, PATIENCE_S)
        frame = view.frame()
        wait_until(lambda: (now := view.frame()) is not None and now.is_new and now != frame, PATIENCE_S)
    (note,) = seen
    assert note.path == journal
    assert note.reason.startswith("it cannot be written")
    assert str(journal) in str(note)
