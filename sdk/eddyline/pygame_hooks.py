"""pygame with hooks, for a game that is recorded unmodified: its pictures are seen, its keys and its time can be ours.

Each function returns replacements of attributes; `replaced` puts them in place and takes them out again. A game looks
`pygame.display.flip` up when it calls it, or when it is imported, which comes after the hooks.
"""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial

import pygame

from eddyline.game_time import GameClock, GameTime
from eddyline.pygame import CODES

Replacement = tuple[object, str, object]
"""A module, the name of something in it, and what takes its place."""

SCANCODES: dict[str, int] = {name: scancode for scancode, name in reversed(CODES.items())}
"""SDL's scancode of each key that pygame knows by its W3C name."""
_TURN_MS = 10.0
"""How often a game that waits for an event looks for one."""


@contextmanager
def replaced(replacements: Iterable[Replacement]) -> Iterator[None]:
    """Within it the replacements are in place; afterwards everything is as it was, whatever happened."""
    before: list[Replacement] = []
    try:
        for owner, name, value in replacements:
            before.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


def pictures(on_picture: Callable[[], None]) -> list[Replacement]:
    """`on_picture` is called whenever the game has drawn a picture, before it is shown."""
    flip = pygame.display.flip
    update: Callable[..., None] = pygame.display.update

    def seen_flip() -> None:
        on_picture()
        flip()

    def seen_update(*rectangles: object) -> None:
        on_picture()
        update(*rectangles)

    return [(pygame.display, "flip", seen_flip), (pygame.display, "update", seen_update)]


class HeldKeys:
    """Keys that are held without a keyboard: the game gets the events, and `pygame.key.get_pressed` says the same."""

    def __init__(self) -> None:
        self._held: frozenset[str] = frozenset()
        self._pressed: pygame.key.ScancodeWrapper | None = None

    def hold(self, names: frozenset[str]) -> None:
        """Hold just these keys from now on, W3C names; needs a pygame display, and does nothing before there is one."""
        if not pygame.display.get_init():
            return
        for name in sorted(self._held - names):
            pygame.event.post(_key_event(pygame.KEYUP, name))
        for name in sorted(names - self._held):
            pygame.event.post(_key_event(pygame.KEYDOWN, name))
        if names != self._held:
            self._held, self._pressed = names, None

    def hooks(self) -> list[Replacement]:
        """What makes pygame say that these keys are held, and no others."""
        get_pressed = pygame.key.get_pressed

        def pressed() -> pygame.key.ScancodeWrapper:
            nothing = get_pressed()
            if self._pressed is None:
                held = {SCANCODES[name] for name in self._held}
                self._pressed = type(nothing)(scancode in held for scancode in range(len(nothing)))
            return self._pressed

        return [(pygame.key, "get_pressed", pressed)]


def _key_event(kind: int, name: str) -> pygame.event.Event:
    key = _key_code(name)
    text = chr(key) if kind == pygame.KEYDOWN and 32 <= key < 127 else ""
    return pygame.event.Event(kind, key=key, mod=0, unicode=text, scancode=SCANCODES[name])


@cache
def _key_code(name: str) -> int:
    """The key code (`pygame.K_...`) that the keyboard's layout gives to a key."""
    pressed = pygame.key.get_pressed()
    alone = type(pressed)(scancode == SCANCODES[name] for scancode in range(len(pressed)))
    constants = (value for constant, value in vars(pygame).items() if constant.startswith("K_"))
    return next((key for key in constants if alone[key]), 0)


def clocks(game_time: GameTime) -> list[Replacement]:
    """All clocks and waits of pygame, of Python's `time` and of asyncio are `game_time`'s, for the thread that asks for
    it here."""
    real_sleep, real_time, here = time.sleep, time.time(), threading.current_thread()
    real_select = selectors.DefaultSelector.select

    def wait(milliseconds: int) -> int:
        game_time.wait(milliseconds)
        return max(0, milliseconds)

    def sleep(seconds: float) -> None:
        if threading.current_thread() is here:
            game_time.wait(1000.0 * seconds)
        else:
            real_sleep(seconds)

    def select(
        selector: selectors.DefaultSelector, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        if threading.current_thread() is not here or (timeout is not None and timeout <= 0):
            return real_select(selector, timeout)
        if timeout is None:  # only other threads and sockets can end that, whose time is not the game's
            game_time.wait(0.0)
            return real_select(selector)
        ready = real_select(selector, 0)
        if not ready:
            game_time.wait(1000.0 * timeout)
        return ready

    def set_timer(event: int | pygame.event.Event, millis: int, loops: int = 0) -> None:
        rung = pygame.event.Event(event) if isinstance(event, int) else event
        game_time.set_timer(rung.type, millis, loops, partial(pygame.event.post, rung))

    def wait_for_event(timeout: int = 0) -> pygame.event.Event:
        end_ms = game_time.now_ms + timeout
        while (event := pygame.event.poll()).type == pygame.NOEVENT:
            if timeout and game_time.now_ms >= end_ms:
                break
            game_time.wait(_TURN_MS)
        return event

    clock = partial(GameClock, game_time)
    return [
        *(
            (module, "Clock", clock) for module in (pygame, pygame.time) if hasattr(module, "Clock")
        ),  # pygame-ce has both
        (pygame.time, "wait", wait),
        (pygame.time, "delay", wait),
        (pygame.time, "get_ticks", lambda: int(game_time.look())),
        (pygame.time, "set_timer", set_timer),
        (pygame.event, "wait", wait_for_event),
        (time, "sleep", sleep),
        (time, "time", lambda: real_time + game_time.look() / 1000.0),
        (time, "monotonic", lambda: game_time.look() / 1000.0),
        (time, "perf_counter", lambda: game_time.look() / 1000.0),
        (time, "time_ns", lambda: int(1e9 * real_time + 1e6 * game_time.look())),
        (time, "monotonic_ns", lambda: int(1e6 * game_time.look())),
        (time, "perf_counter_ns", lambda: int(1e6 * game_time.look())),
        (selectors.DefaultSelector, "select", select),  # where asyncio's loop waits
    ]
