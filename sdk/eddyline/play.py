"""`eddyline play`: a window onto a world (`window.py`), or a film of a script (`reel.py`), without a display and for a
script of the user's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pygame

from eddyline.client import Runtime, connect
from eddyline.display import why_no_display
from eddyline.errors import DisplayError, EddylineError, JournalError, OptionError
from eddyline.film_files import check_folder, film_path
from eddyline.launch import launch
from eddyline.pygame import open_window
from eddyline.reel import FILM, film_script, summary
from eddyline.screenplay import read_script
from eddyline.view import check_text
from eddyline.window import PANEL_PX, PICTURE_PX, PlayOptions, Window

CONNECT_S = 20.0


def play(options: PlayOptions, *, say: Callable[[str], None] = print) -> int:
    """Play until the window is closed; without a display, or with a script of the user's own, film a script. Returns
    the exit status.

    Raises EddylineError when the runtime cannot be started or reached, or a film not be written; what can be told from
    the options alone, before anything is loaded.
    """
    _check(options)
    script = None if options.script is None else read_script(options.script)
    reason: str | None = None
    if script is not None:
        reason = "--script was given"
    elif options.headless:
        reason = "--headless was given"
    screen: pygame.Surface | None = None
    if reason is None:
        try:
            screen = _open_window()
        except DisplayError as error:
            reason = str(error)
    if screen is None:
        check_folder(options.out)
        film_path(options.out / FILM)
        seconds = options.seconds if script is None else script.seconds
        through = "a short script" if script is None else options.script
        say(f"no window ({reason}): playing {seconds:g} s of video through {through}, into {options.out}")
        with _runtime(options) as runtime:
            reel = film_script(
                runtime,
                out=options.out,
                seconds=seconds,
                script=None if script is None else script.lines,
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


def _check(options: PlayOptions) -> None:
    """Raise TextError, OptionError or JournalError for options that come to nothing later."""
    if options.prompt is not None:
        check_text(options.prompt)
    if options.journal is not None:
        if options.endpoint is not None:
            raise OptionError(
                "a runtime that is already there writes its own journal: start it by eddyline-runtime serve --journal"
            )
        if os.path.lexists(options.journal):
            raise JournalError(f"{options.journal} is there already; name another file, or remove it")


def _open_window() -> pygame.Surface:
    """Open the window. Raises DisplayError, with the reason."""
    reason = why_no_display(os.environ, sys.platform)
    if reason is not None:
        raise DisplayError(reason)
    width, height = PICTURE_PX
    screen = open_window((width, height + PANEL_PX), pygame.RESIZABLE)
    pygame.display.set_caption("Eddyline")
    pygame.key.set_repeat(400, 40)
    return screen


def _runtime(options: PlayOptions) -> Runtime:
    if options.endpoint is not None:
        return connect(options.endpoint, timeout_s=CONNECT_S)
    return launch(
        options.model,
        profile=options.profile,
        wait=False,
        random_weights=options.random_weights,
        journal=options.journal,
    )
