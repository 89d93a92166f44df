"""The two lines that every pygame game needs: `draw(view, screen, rect)` and `held_keys()`; and `open_window(size)`.

    view.act(eddyline.pygame.held_keys())
    eddyline.pygame.draw(view, screen, screen.get_rect())

Works with pygame and with pygame-ce; both are imported as `pygame`. Call it from the thread that draws.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import pygame
from numpy.typing import NDArray

from eddyline.display import cure, why_unseen
from eddyline.errors import DisplayError
from eddyline.frames import Frame
from eddyline.notes import Progress
from eddyline.view import View, ViewState

__all__ = ["draw", "draw_placeholder", "fit", "held_keys", "open_window", "surface_of"]

BACKGROUND = (12, 13, 17)
_TRACK, _BAR, _TEXT, _ALARM = (36, 40, 49), (122, 168, 214), (150, 157, 170), (224, 122, 110)
_FONT_PX = 22
_LINES_OVER_A_FRAME = 3


def _run(first: int, names: str) -> dict[int, str]:
    return dict(enumerate(names.split(), first))


CODES: dict[int, str] = {
    **{4 + number: f"Key{letter}" for number, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")},
    **{30 + number: f"Digit{digit}" for number, digit in enumerate("1234567890")},
    **_run(40, "Enter Escape Backspace Tab Space Minus Equal BracketLeft BracketRight"),
    **_run(49, "Backslash Backslash Semicolon Quote Backquote Comma Period Slash CapsLock"),
    **{58 + number: f"F{number + 1}" for number in range(12)},
    **_run(70, "PrintScreen ScrollLock Pause Insert Home PageUp Delete End PageDown"),
    **_run(79, "ArrowRight ArrowLeft ArrowDown ArrowUp NumLock"),
    **_run(84, "NumpadDivide NumpadMultiply NumpadSubtract NumpadAdd NumpadEnter"),
    **{89 + number: f"Numpad{digit}" for number, digit in enumerate("1234567890")},
    **{99: "NumpadDecimal", 100: "IntlBackslash", 101: "ContextMenu", 103: "NumpadEqual"},
    **{104 + number: f"F{number + 13}" for number in range(12)},
    **_run(224, "ControlLeft ShiftLeft AltLeft MetaLeft ControlRight ShiftRight AltRight MetaRight"),
}
"""SDL's scancodes (the usage ids of USB keyboards) and the W3C `event.code` names of the same physical keys."""


def open_window(size: tuple[int, int], flags: int = 0) -> pygame.Surface:
    """Open a window as `pygame.display.set_mode(size, flags)` does, and make sure that it can be seen.

    Where no display opens, SDL falls back to a driver that shows nothing, and says nothing of it; whoever wants that
    sets `SDL_VIDEODRIVER=dummy`. No sound is asked for, so none can be missing.

    Raises DisplayError, with the reason.
    """
    try:
        pygame.display.init()
        pygame.font.init()
        reason = why_unseen(pygame.display.get_driver(), os.environ, sys.platform)
        if reason is None:
            return pygame.display.set_mode(size, flags)
    except pygame.error as error:
        reason = f"the display does not open: {error}"
    pygame.display.quit()
    raise DisplayError(f"{reason}; for a window, {cure(os.environ, sys.platform)}")


def held_keys() -> list[str]:
    """The keys that are held down now, as W3C `event.code` names ("KeyA", "ArrowLeft"): what `View.act` takes.

    The names are those of places on the keyboard: "KeyA" is the key right of CapsLock on every layout. Needs a pygame
    display, and pygame's events to be pumped (`pygame.event.get()`); raises pygame.error without one.
    """
    return codes_of(pygame.key.get_pressed())


def codes_of(pressed: tuple[bool, ...]) -> list[str]:
    """The W3C names of the keys that are down; `pressed` says for each of SDL's scancodes whether its key is."""
    # pygame's own sequence looks a key up by its key code, which depends on the layout; the tuple beneath does not.
    return [name for scancode, name in CODES.items() if tuple.__getitem__(pressed, scancode)]


def draw(view: View, screen: pygame.Surface, rect: pygame.Rect) -> Frame | None:
    """Draw the frame that is due into `rect` of `screen`: as large as fits, in its own proportions, centred.

    What is left of `rect` is filled with near-black. Returns the frame; None before the first one, when a quiet
    placeholder says what is awaited, with the progress of the start. When the runtime closed the view, why is written
    there, or over its last frame. Never waits, and never changes what lies outside `rect`.
    """
    frame = view.frame()
    reason = view.closed_reason
    with _clipped(screen, rect):
        if frame is None:
            if reason:
                screen.fill(BACKGROUND, rect)
                _draw_end(screen, rect, reason, most_lines=max(1, rect.height // _FONT_PX))
                return None
            awaited = awaited_of(view.progress, view.state)
            draw_placeholder(screen, rect, fraction=awaited.fraction, doing=awaited.doing)
            return None
        height, width = frame.pixels.shape[:2]
        area = fit(width, height, rect)
        if area.size != rect.size:
            screen.fill(BACKGROUND, rect)
        if area.width and area.height:
            screen.blit(_scaled_frame(view, frame, area.size, screen), area)
        if reason:
            _draw_end(screen, rect, reason, most_lines=_LINES_OVER_A_FRAME)
    return frame


def fit(width: int, height: int, rect: pygame.Rect) -> pygame.Rect:
    """The largest rectangle of the proportions `width` : `height` in the middle of `rect`."""
    scale = min(rect.width / width, rect.height / height)
    area = pygame.Rect(0, 0, round(width * scale), round(height * scale))
    area.center = rect.center
    return area


def surface_of(pixels: NDArray[np.uint8]) -> pygame.Surface:
    """A surface over pixels, uint8 [height, width, 3], C-contiguous, without copying them; nobody may draw on it."""
    height, width = pixels.shape[:2]
    return pygame.image.frombuffer(pixels.data, (width, height), "RGB")


@dataclass
class _Scaled:
    """A view's frame as it was last drawn: a frame is scaled once, however often the screen is redrawn meanwhile."""

    order: tuple[int, int]
    surface: pygame.Surface


_scaled: WeakKeyDictionary[View, _Scaled] = WeakKeyDictionary()


def _scaled_frame(view: View, frame: Frame, size: tuple[int, int], screen: pygame.Surface) -> pygame.Surface:
    kept = _scaled.get(view)
    if kept is None or kept.order != frame.order or kept.surface.get_size() != size:
        surface = pygame.transform.smoothscale(surface_of(frame.pixels), size)
        if pygame.display.get_init():  # pygame converts nothing without a display, but draws what was not converted
            surface = surface.convert(screen)
        kept = _scaled[view] = _Scaled(frame.order, surface)
    return kept.surface


def awaited_of(start: Progress, state: ViewState) -> Progress:
    """What a view without a frame waits for: the start of its runtime, and once that is there, its opening scene, of
    which nobody knows how far it is."""
    if start.fraction < 1.0 and state in ("opening", "lost"):
        return start
    return Progress(0.0, "connecting again" if state == "lost" else "dreaming the first frames")


def draw_placeholder(screen: pygame.Surface, rect: pygame.Rect, *, fraction: float, doing: str) -> None:
    """Draw what stands in for a picture that is not there yet: `fraction` (0 to 1) as a bar, and what is being done."""
    screen.fill(BACKGROUND, rect)
    track = pygame.Rect(0, 0, min(320, rect.width * 2 // 3), 4)
    track.center = rect.center
    pygame.draw.rect(screen, _TRACK, track, border_radius=2)
    done = track.copy()
    done.width = round(track.width * min(max(fraction, 0.0), 1.0))
    if done.width:
        pygame.draw.rect(screen, _BAR, done, border_radius=2)
    if doing:
        text = rendered(_font(), doing, _TEXT)
        screen.blit(text, text.get_rect(midbottom=(rect.centerx, track.top - 10)))


def _draw_end(screen: pygame.Surface, rect: pygame.Rect, reason: str, *, most_lines: int) -> None:
    """Write why a view is over, from the top left of `rect` on, broken into lines as wide as it is."""
    font = _font()
    lines: list[str] = []
    for paragraph in ("nothing more will come: " + reason).splitlines():
        line = ""
        for word in _legible(paragraph).split():
            longer = f"{line} {word}" if line else word
            if line and font.size(longer)[0] > rect.width - 16:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    for place, line in enumerate(lines[:most_lines]):
        screen.blit(rendered(font, line, _ALARM, BACKGROUND), (rect.left + 8, rect.top + 8 + place * _FONT_PX))


def rendered(
    font: pygame.font.Font,
    text: str,
    colour: tuple[int, int, int],
    ground: tuple[int, int, int] | None = None,
) -> pygame.Surface:
    """One line of any text as a surface; what ends a line or a string elsewhere becomes a space."""
    try:
        return font.render(_legible(text), True, colour, ground)
    except pygame.error:  # letters without a width, such as a variation selector alone
        return font.render("", True, colour, ground)


def _legible(text: str) -> str:
    """A text as fonts take it: a path may hold what is no character."""
    return text.replace("\0", " ").replace("\n", " ").encode(errors="replace").decode()


def _font() -> pygame.font.Font:
    if not pygame.font.get_init():
        pygame.font.init()
    return pygame.font.Font(None, _FONT_PX)


@contextmanager
def _clipped(screen: pygame.Surface, rect: pygame.Rect) -> Iterator[None]:
    """Within it, nothing is drawn outside of `rect`."""
    before = screen.get_clip()
    screen.set_clip(rect.clip(before))
    try:
        yield
    finally:
        screen.set_clip(before)
