"""Whether a window can be seen: from the environment alone, from the driver that SDL chose, or by trying."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

UNSEEN_DRIVERS = ("dummy", "offscreen")
"""SDL's drivers that show nothing. It falls back to them without a word where no display opens."""
DRIVER_VARIABLE = "SDL_VIDEODRIVER"
"""Where a user asks SDL for a driver."""
NO_DISPLAY = "neither DISPLAY nor WAYLAND_DISPLAY is set"
TRIAL_S = 20.0
"""A display that does not open within this time is none."""
_TRIAL = "import pygame; pygame.display.init(); print(pygame.display.get_driver())"


def asked_driver(environment: Mapping[str, str]) -> str:
    """The driver that the user asked SDL for; empty when SDL is to choose."""
    return environment.get(DRIVER_VARIABLE) or ""


def why_no_display(environment: Mapping[str, str], platform_name: str) -> str | None:
    """Why no window can be opened, from the environment alone; None when it is worth trying."""
    driver = asked_driver(environment)
    if driver in UNSEEN_DRIVERS:
        return f"{DRIVER_VARIABLE} is {driver}"
    if platform_name == "linux" and not driver and not _display(environment):
        return NO_DISPLAY
    return None


def why_unseen(driver: str, environment: Mapping[str, str], platform_name: str) -> str | None:
    """Why nobody sees a window that SDL opened by `driver`; None when it is seen, or the user asked for no other."""
    if driver not in UNSEEN_DRIVERS or asked_driver(environment) in UNSEEN_DRIVERS:
        return None
    if platform_name != "linux":
        return f"SDL found no display, and its driver {driver} shows nothing"
    display = _display(environment)
    return f"the display {display} does not open" if display else NO_DISPLAY


def cure(environment: Mapping[str, str], platform_name: str) -> str:
    """What a user can do about a window that does not open."""
    driver = asked_driver(environment)
    if driver:
        return f"unset {DRIVER_VARIABLE}, which is {driver}"
    return "set DISPLAY to one that opens" if platform_name == "linux" else "run it where windows can be shown"


def why_no_window(environment: Mapping[str, str], platform_name: str) -> str | None:
    """As `why_no_display`, and then by trying: another process opens the display, and ends. Needs pygame."""
    reason = why_no_display(environment, platform_name)
    if reason is not None:
        return reason
    try:
        trial = subprocess.run(
            [sys.executable, "-P", "-c", _TRIAL],
            env={**environment, "PYGAME_HIDE_SUPPORT_PROMPT": "1"},
            capture_output=True,
            text=True,
            timeout=TRIAL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"the display does not open within {TRIAL_S:.0f} s"
    if trial.returncode != 0:
        last = (trial.stderr.strip().splitlines() or ["no reason was given"])[-1]
        return f"the display does not open: {last}"
    driver = trial.stdout.split()[-1:]
    return why_unseen(driver[0] if driver else "", environment, platform_name)


def _display(environment: Mapping[str, str]) -> str:
    return environment.get("WAYLAND_DISPLAY") or environment.get("DISPLAY") or ""
