"""Whether a window can be seen: by the environment, by the driver that SDL chose, and by trying."""

from __future__ import annotations

import os
import sys

import pygame
import pytest

from eddyline import display, doctor
from eddyline.display import why_no_display, why_no_window, why_unseen
from eddyline.errors import DisplayError
from eddyline.pygame import open_window

NOWHERE = ":98765"
"""No X server can be there: its port would be over 65535."""
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere DISPLAY names no display")


@pytest.mark.parametrize(
    ("environment", "platform", "reason"),
    [
        ({}, "linux", "neither DISPLAY nor WAYLAND_DISPLAY"),
        ({"DISPLAY": ""}, "linux", "neither DISPLAY nor WAYLAND_DISPLAY"),
        ({"DISPLAY": ":0"}, "linux", None),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", None),
        ({"DISPLAY": ":0", "SDL_VIDEODRIVER": "dummy"}, "linux", "dummy"),
        ({"SDL_VIDEODRIVER": "offscreen"}, "darwin", "offscreen"),
        ({"SDL_VIDEODRIVER": "kmsdrm"}, "linux", None),
        ({}, "darwin", None),
        ({}, "win32", None),
    ],
)
def test_whether_there_is_a_display_is_read_from_the_environment(
    environment: dict[str, str], platform: str, reason: str | None
) -> None:
    found = why_no_display(environment, platform)
    assert found is None if reason is None else found is not None and reason in found


@pytest.mark.parametrize(
    ("driver", "environment", "platform", "reason"),
    [
        ("x11", {"DISPLAY": ":0"}, "linux", None),
        ("offscreen", {"DISPLAY": ":99"}, "linux", "the display :99 does not open"),
        ("dummy", {"WAYLAND_DISPLAY": "wayland-7", "DISPLAY": ":99"}, "linux", "the display wayland-7 does not open"),
        ("offscreen", {}, "linux", "neither DISPLAY nor WAYLAND_DISPLAY is set"),
        ("dummy", {"DISPLAY": ":0"}, "win32", "SDL found no display, and its driver dummy shows nothing"),
        ("dummy", {"SDL_VIDEODRIVER": "dummy"}, "linux", None),
    ],
)
def test_a_driver_that_shows_nothing_is_no_window_unless_it_was_asked_for(
    driver: str, environment: dict[str, str], platform: str, reason: str | None
) -> None:
    assert why_unseen(driver, environment, platform) == reason


def stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a DISPLAY behind that nobody answers at."""
    for name in (display.DRIVER_VARIABLE, "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", NOWHERE)


@on_linux
def test_a_display_that_is_gone_is_found_out_by_trying_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stale(monkeypatch)
    assert why_no_display(os.environ, sys.platform) is None, "the environment alone does not tell"
    assert "does not open" in (why_no_window(os.environ, sys.platform) or "")
    finding = doctor.find_display(os.environ, sys.platform)
    assert (finding.well, finding.needed) == (False, False)
    assert "does not open" in finding.found
    assert "films a script" in finding.cure


@on_linux
def test_no_window_is_opened_that_nobody_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    stale(monkeypatch)
    with pytest.raises(DisplayError, match=r"does not open.*; for a window, set DISPLAY to one that opens"):
        open_window((40, 24))
    assert not pygame.display.get_init()


def test_a_driver_that_is_not_there_is_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "nosuchdriver")
    with pytest.raises(DisplayError, match=r"does not open.*; for a window, unset SDL_VIDEODRIVER, which is nosuch"):
        open_window((40, 24))
    assert "does not open" in (why_no_window(os.environ, sys.platform) or "")


def test_a_window_that_nobody_sees_is_opened_where_it_is_asked_for() -> None:
    assert os.environ["SDL_VIDEODRIVER"] == "dummy"
    assert open_window((40, 24)).get_size() == (40, 24)
    pygame.display.quit()


def test_a_display_that_opens_is_one_and_one_that_takes_too_long_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**os.environ, "SDL_VIDEODRIVER": "x11"}
    monkeypatch.setattr(display, "_TRIAL", "print('x11')")
    assert why_no_window(environment, "linux") is None
    assert doctor.find_display(environment, "linux").well
    monkeypatch.setattr(display, "_TRIAL", "import time; time.sleep(600)")
    monkeypatch.setattr(display, "TRIAL_S", 0.1)
    assert "does not open within" in (why_no_window(environment, "linux") or "")


def test_without_pygame_the_doctor_says_that_it_did_not_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    finding = doctor.find_display({"DISPLAY": NOWHERE}, "linux")
    assert (finding.found, finding.well) == (f"{NOWHERE}, not tried: no pygame", True)
