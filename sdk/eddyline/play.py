"""`eddyline play`: a window onto a world (`window.py`), or without a display a film of a short script (`reel.py`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pygame

from eddyline.client import Runtime, connect
from eddyline.doctor import why_no_display
from eddyline.errors import DisplayError, EddylineError, OptionError
from eddyline.launch import launch
from eddyline.reel import film_script, summary
from eddyline.window import PANEL_PX, PICTURE_PX, PlayOptions, Window

CONNECT_S = 20.0


def play(options: PlayOptions, *, say: Callable[[str], None] = print) -> int:
    """Play until the window is closed, or without a display film a script. Returns the exit status.

    Raises EddylineError when the runtime cannot be started or reached, or a file not be written.
    """
    reason = "--headless was given" if options.headless else None
    screen: pygame.Surface | None = None
    if reason is None:
        try:
            screen = open_window()
        except DisplayError as error:
            reason = str(error)
    if screen is None:
        say(f"no window ({reason}): playing {options.seconds:g} s of video through a short script, into {options.out}")
        with _runtime(options) as runtime:
            reel = film_script(
                runtime,
                out=options.out,
                seconds=options.seconds,
                opening=options.prompt,
                profile=options.profile,
                seed=options.seed,
                say=say,
            )
        say(summary(reel))
        return 0
    try:
        with _runtime(options) as runtime:
            window = Window(screen, runtime, options)
            window.run()
            if window.failure:
                raise EddylineError(window.failure)
    finally:
        pygame.quit()
    return 0


def open_window() -> pygame.Surface:
    """Open the window. No sound is asked for, so none can be missing. Raises DisplayError, with the reason."""
    reason = why_no_display(os.environ, sys.platform)
    if reason is not None:
        raise DisplayError(reason)
    try:
        pygame.display.init()
        pygame.font.init()
        width, height = PICTURE_PX
        screen = pygame.display.set_mode((width, height + PANEL_PX), pygame.RESIZABLE)
    except pygame.error as error:
        pygame.quit()
        raise DisplayError(f"the display does not open: {error}") from error
    pygame.display.set_caption("Eddyline")
    pygame.key.set_repeat(400, 40)
    return screen


def _runtime(options: PlayOptions) -> Runtime:
    if options.endpoint is not None:
        if options.journal is not None:
            raise OptionError(
                "a runtime that is already there writes its own journal: start it by eddyline-runtime serve --journal"
            )
        return connect(options.endpoint, timeout_s=CONNECT_S)
    return launch(
        options.model,
        profile=options.profile,
        wait=False,
        random_weights=options.random_weights,
        journal=options.journal,
    )
