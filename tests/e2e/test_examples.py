"""The small examples run as they are, on a scripted runtime: keys are pressed for them, and the window is closed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PLAYER = """
import runpy, sys
import pygame
import eddyline
import eddyline.pygame

phrases = "the hero turns into a pig; the hero walks left; an alarm bell rings; it starts to rain; fireworks go off"
command = [sys.executable, "-m", "eddyline.testing", *(f"--phrase={phrase}" for phrase in phrases.split("; "))]
sys.modules["eddyline.launch"]._installed_runtime = lambda: command
example, *keys = sys.argv[1:]
shown, flip, draw = [], pygame.display.flip, eddyline.pygame.draw

def draw_and_count(view, screen, rect):
    frame = draw(view, screen, rect)
    if frame is not None and frame.is_new:
        shown.append(frame)
    return frame

def flip_and_press():
    flip()
    if len(shown) >= 5:
        while keys:
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=getattr(pygame, keys.pop(0))))
    if len(shown) >= 10:
        pygame.event.post(pygame.event.Event(pygame.QUIT))

eddyline.pygame.draw, pygame.display.flip = draw_and_count, flip_and_press
runpy.run_path(example, run_name="__main__")
print(len(shown) >= 10, len(keys))
"""


@pytest.mark.parametrize(
    ("example", "keys"),
    [
        ("hello_view.py", []),
        ("steer.py", ["K_1", "K_2", "K_3", "K_4", "K_SPACE", "K_c", "K_p", "K_p"]),
        ("npc_views.py", ["K_SPACE", "K_b", "K_r", "K_f"]),
        ("what_if.py", ["K_f", "K_s", "K_l", "K_BACKSPACE", "K_f"]),
    ],
)
def test_an_example_runs_until_its_window_is_closed(example: str, keys: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLAYER, str(EXAMPLES / example), *keys],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "0"]
