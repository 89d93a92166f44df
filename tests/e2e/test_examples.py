"""The small examples run as they are, on a scripted runtime: keys are pressed for them, and the window is closed.

A key is pressed once what it needs is there, in a folder for temporary files of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PLAYER = """
import runpy, sys
from pathlib import Path
from tempfile import gettempdir
import pygame
import eddyline
import eddyline.pygame

phrases = "the hero turns into a pig; the hero walks left; an alarm bell rings; it starts to rain; fireworks go off"
command = [sys.executable, "-m", "eddyline.testing", *(f"--phrase={phrase}" for phrase in phrases.split("; "))]
sys.modules["eddyline.launch"]._installed_runtime = lambda: command
example, *keys = sys.argv[1:]
shown, flip, draw = [], pygame.display.flip, eddyline.pygame.draw
restored, opened, restore_view = [], [], eddyline.Runtime.restore_view
needs = {"K_l": Path(gettempdir(), "what_if.eddyline")}

def restore_and_count(runtime, data):
    restored.append(restore_view(runtime, data))
    return restored[-1]

def draw_and_count(view, screen, rect):
    frame = draw(view, screen, rect)
    if frame is not None and frame.is_new:
        shown.append(frame)
    return frame

def flip_and_press():
    flip()
    if len(shown) < 5:
        return
    while keys and (keys[0] not in needs or needs[keys[0]].exists()):
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=getattr(pygame, keys.pop(0))))
    if not keys and len(shown) >= 10 and all(view.state != "opening" for view in restored):
        opened[:] = [view for view in restored if view.error is None]
        pygame.event.post(pygame.event.Event(pygame.QUIT))

eddyline.Runtime.restore_view = restore_and_count
eddyline.pygame.draw, pygame.display.flip = draw_and_count, flip_and_press
runpy.run_path(example, run_name="__main__")
print(len(opened))
"""


@pytest.mark.parametrize(
    ("example", "keys", "restored"),
    [
        ("hello_view.py", [], 0),
        ("steer.py", ["K_1", "K_2", "K_3", "K_4", "K_SPACE", "K_c", "K_p", "K_p"], 0),
        ("npc_views.py", ["K_SPACE", "K_b", "K_r", "K_f"], 0),
        ("what_if.py", ["K_f", "K_s", "K_l", "K_BACKSPACE", "K_f"], 1),
    ],
)
def test_an_example_runs_until_its_window_is_closed(
    example: str, keys: list[str], restored: int, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLAYER, str(EXAMPLES / example), *keys],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == restored


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere DISPLAY names no display")
@pytest.mark.parametrize(
    "example",
    [["examples/hello_view.py"], ["examples/npc_views.py"], ["-m", "examples.diorama"]],
    ids=["hello_view", "npc_views", "diorama"],
)
@pytest.mark.parametrize("display", ["", ":98765"], ids=["none", "stale"])
def test_an_example_without_a_display_ends_at_once_and_its_last_line_says_what_to_do(
    example: list[str], display: str
) -> None:
    hidden = ("SDL_VIDEODRIVER", "WAYLAND_DISPLAY")
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | {"DISPLAY": display}
    done = subprocess.run(
        [sys.executable, *example],
        cwd=EXAMPLES.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("; for a window, set DISPLAY to one that opens")
