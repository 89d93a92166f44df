"""`eddyline.pygame`: pictures land where they belong, unchanged in proportion, and keys have the names of the web."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import numpy as np
import pygame
import pytest

import eddyline
import eddyline.pygame as eddyline_pygame
from eddyline import protocol, testing
from eddyline.keys import KEY_CODES
from eddyline.notes import Progress
from eddyline.testing import ScriptedRuntime
from eddyline.view import ViewState

RED = (200, 40, 40)
PATIENCE_S = 60.0
wait_until = partial(testing.wait_until, timeout_s=PATIENCE_S)


def colour_at(surface: pygame.Surface, position: tuple[int, int]) -> tuple[int, ...]:
    return tuple(surface.get_at(position))[:3]


@pytest.fixture
def screen() -> Iterator[pygame.Surface]:
    assert os.environ["SDL_VIDEODRIVER"] == "dummy"
    pygame.display.init()
    pygame.font.init()
    yield pygame.display.set_mode((400, 400))
    pygame.quit()


@pytest.fixture
def red_view() -> Iterator[eddyline.View]:
    with ScriptedRuntime() as scripted, eddyline.connect(scripted.endpoint, timeout_s=PATIENCE_S) as runtime:
        yield runtime.open_view("a red room")


def test_a_view_is_drawn_in_its_own_proportions_and_nowhere_else(
    screen: pygame.Surface, red_view: eddyline.View
) -> None:
    wait_until(lambda: red_view.frame() is not None)
    screen.fill((1, 2, 3))
    rect = pygame.Rect(100, 100, 200, 200)
    frame = eddyline_pygame.draw(red_view, screen, rect)
    assert frame is not None
    assert frame.pixels.shape == (24, 40, 3)
    assert colour_at(screen, (110, 150)) == RED, "the picture is 200 x 120 in the middle of the rectangle"
    assert colour_at(screen, (110, 250)) == RED
    assert colour_at(screen, (200, 120)) == eddyline_pygame.BACKGROUND, "bars above and below it"
    assert colour_at(screen, (200, 280)) == eddyline_pygame.BACKGROUND
    for outside in ((99, 150), (300, 150), (200, 99), (200, 300)):
        assert colour_at(screen, outside) == (1, 2, 3)
    assert screen.get_clip() == screen.get_rect()


def test_a_view_can_be_drawn_into_no_room_at_all(screen: pygame.Surface, red_view: eddyline.View) -> None:
    wait_until(lambda: red_view.frame() is not None)
    for size in ((0, 0), (0, 100), (1, 1), (3000, 2)):
        eddyline_pygame.draw(red_view, screen, pygame.Rect((10, 10), size))


def test_a_view_is_drawn_into_a_picture_without_any_display(red_view: eddyline.View) -> None:
    pygame.quit()
    picture = pygame.Surface((200, 120))
    eddyline_pygame.draw(red_view, picture, picture.get_rect())
    wait_until(lambda: red_view.frame() is not None)
    assert eddyline_pygame.draw(red_view, picture, picture.get_rect()) is not None
    assert colour_at(picture, (5, 5)) == RED
    assert not pygame.display.get_init()


def test_two_views_of_one_size_do_not_get_mixed_up(screen: pygame.Surface) -> None:
    with ScriptedRuntime() as scripted, eddyline.connect(scripted.endpoint, timeout_s=PATIENCE_S) as runtime:
        left, right = runtime.open_view("a red room"), runtime.open_view("a black room")
        wait_until(lambda: left.frame() is not None and right.frame() is not None)
        for _ in range(2):
            eddyline_pygame.draw(left, screen, pygame.Rect(0, 0, 200, 120))
            eddyline_pygame.draw(right, screen, pygame.Rect(200, 0, 200, 120))
        assert colour_at(screen, (5, 5)) == RED
        assert colour_at(screen, (205, 5)) == (15, 15, 20)


def test_before_the_first_frame_a_placeholder_is_drawn(screen: pygame.Surface) -> None:
    with ScriptedRuntime() as scripted, eddyline.connect(scripted.endpoint, timeout_s=PATIENCE_S) as runtime:
        scripted.hang()
        view = runtime.open_view("a red room")
        screen.fill((1, 2, 3))
        assert eddyline_pygame.draw(view, screen, pygame.Rect(0, 0, 200, 120)) is None
        assert colour_at(screen, (5, 5)) == eddyline_pygame.BACKGROUND
        assert colour_at(screen, (300, 5)) == (1, 2, 3)


@pytest.mark.parametrize(
    ("start", "state", "shown"),
    [
        (Progress(0.4, "loading"), "opening", Progress(0.4, "loading")),
        (Progress(0.4, "loading"), "lost", Progress(0.4, "loading")),
        (Progress(1.0, "ready"), "opening", Progress(0.0, "dreaming the first frames")),
        (Progress(1.0, "ready"), "live", Progress(0.0, "dreaming the first frames")),
        (Progress(0.0, ""), "live", Progress(0.0, "dreaming the first frames")),
        (Progress(1.0, "ready"), "lost", Progress(0.0, "connecting again")),
    ],
)
def test_before_the_first_frame_it_is_said_what_is_awaited_and_no_bar_is_full(
    start: Progress, state: ViewState, shown: Progress
) -> None:
    assert eddyline_pygame.awaited_of(start, state) == shown


def test_why_a_view_is_over_is_drawn_before_the_first_frame_and_over_the_last_one(screen: pygame.Surface) -> None:
    rect = pygame.Rect(0, 0, 300, 200)

    def warning_pixels(view: eddyline.View) -> int:
        eddyline_pygame.draw(view, screen, rect)
        alarm = eddyline_pygame._ALARM
        return sum(colour_at(screen, (x, y)) == alarm for x in range(300) for y in range(200))

    with ScriptedRuntime() as scripted, eddyline.connect(scripted.endpoint, timeout_s=PATIENCE_S) as runtime:
        shown = runtime.open_view("a red room")
        wait_until(lambda: shown.frame() is not None)
        assert warning_pixels(shown) == 0
        scripted.send(protocol.ViewClosed(view=shown.id, reason="the weights\0 are missing: put them there"))
        wait_until(lambda: shown.is_closed)
        assert warning_pixels(shown) > 50
        scripted.hang()
        never = runtime.open_view("a red room")
        pygame.font.quit()
        assert warning_pixels(never) == 0
    assert warning_pixels(never) > 50
    assert colour_at(screen, (310, 5)) != eddyline_pygame._ALARM


def test_the_placeholder_shows_how_far_the_start_is(screen: pygame.Surface) -> None:
    rect = pygame.Rect(0, 0, 300, 100)

    def bright_pixels(fraction: float) -> int:
        eddyline_pygame.draw_placeholder(screen, rect, fraction=fraction, doing="")
        row = [colour_at(screen, (x, 50)) for x in range(300)]
        return sum(sum(pixel) > 300 for pixel in row)

    assert bright_pixels(0.0) == 0
    assert 0 < bright_pixels(0.5) < bright_pixels(1.0)
    assert bright_pixels(7.0) == bright_pixels(1.0)


def test_pixels_become_a_surface_without_a_copy() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    surface = eddyline_pygame.surface_of(pixels)
    pixels[1, 2] = (10, 20, 30)
    assert surface.get_size() == (3, 2)
    assert colour_at(surface, (2, 1)) == (10, 20, 30)
    pixels.flags.writeable = False
    assert colour_at(eddyline_pygame.surface_of(pixels), (2, 1)) == (10, 20, 30)


@pytest.mark.parametrize(
    ("width", "height", "room", "expected"),
    [
        (160, 96, (0, 0, 960, 576), (0, 0, 960, 576)),
        (160, 96, (0, 0, 1000, 576), (20, 0, 960, 576)),
        (160, 96, (10, 20, 160, 200), (10, 72, 160, 96)),
        (1, 1, (0, 0, 0, 50), (0, 25, 0, 0)),
    ],
)
def test_fit_keeps_proportions_and_centres(
    width: int, height: int, room: tuple[int, int, int, int], expected: tuple[int, int, int, int]
) -> None:
    assert eddyline_pygame.fit(width, height, pygame.Rect(room)) == pygame.Rect(expected)


def test_held_keys_are_named_by_their_place_on_the_keyboard(screen: pygame.Surface) -> None:
    assert eddyline_pygame.held_keys() == []
    pressed = [False] * 512
    for scancode in (pygame.KSCAN_A, pygame.KSCAN_LEFT, pygame.KSCAN_SPACE, pygame.KSCAN_LSHIFT, pygame.KSCAN_7):
        pressed[scancode] = True
    assert set(eddyline_pygame.codes_of(tuple(pressed))) == {"KeyA", "ArrowLeft", "Space", "ShiftLeft", "Digit7"}


@pytest.mark.parametrize(
    ("scancode", "code"),
    [
        (pygame.KSCAN_Z, "KeyZ"),
        (pygame.KSCAN_0, "Digit0"),
        (pygame.KSCAN_RETURN, "Enter"),
        (pygame.KSCAN_GRAVE, "Backquote"),
        (pygame.KSCAN_SLASH, "Slash"),
        (pygame.KSCAN_F1, "F1"),
        (pygame.KSCAN_F12, "F12"),
        (pygame.KSCAN_PAUSE, "Pause"),
        (pygame.KSCAN_PAGEDOWN, "PageDown"),
        (pygame.KSCAN_UP, "ArrowUp"),
        (pygame.KSCAN_KP_ENTER, "NumpadEnter"),
        (pygame.KSCAN_KP0, "Numpad0"),
        (pygame.KSCAN_KP_PERIOD, "NumpadDecimal"),
        (pygame.KSCAN_F13, "F13"),
        (pygame.KSCAN_RALT, "AltRight"),
    ],
)
def test_scancodes_have_their_w3c_names(scancode: int, code: str) -> None:
    assert eddyline_pygame.CODES[scancode] == code


def test_every_name_is_one_that_act_takes() -> None:
    assert set(eddyline_pygame.CODES.values()) <= KEY_CODES
