"""Play the diorama: a small world in which everything can be changed while it runs.

    python -m examples.diorama [--record FOLDER]

Left, Right   walk                      A, D   look to the left, to the right
Up            jump                      Esc    leave
1  next place        4  next hero       L  lightning      B  alarm bell
2  next time of day  5  next colour     F  fireworks      M  transform into the next hero, as 4
3  next weather      6  next thing by the way
(with Shift: the previous one instead of the next)

The words under the picture are the caption that a recording of this moment carries; `--record` writes one.
"""

from __future__ import annotations

import argparse
import random
from contextlib import ExitStack
from pathlib import Path

import pygame

import eddyline.pygame
from eddyline.errors import EddylineError
from eddyline.recording import Recorder

from . import vocabulary
from .record import Narrator
from .render import Renderer
from .world import FPS, HEIGHT, WIDTH, State, World, begin, change, step

ZOOM = 5
CAPTION_HEIGHT = 64
_HELD = {
    pygame.K_LEFT: "ArrowLeft",
    pygame.K_RIGHT: "ArrowRight",
    pygame.K_UP: "ArrowUp",
    pygame.K_a: "KeyA",
    pygame.K_d: "KeyD",
}
_CYCLED = {
    pygame.K_1: "place",
    pygame.K_2: "time",
    pygame.K_3: "weather",
    pygame.K_4: "hero",
    pygame.K_5: "colour",
    pygame.K_6: "prop",
    pygame.K_m: "hero",
}
_STARTED = {pygame.K_l: "lightning", pygame.K_f: "fireworks", pygame.K_b: "alarm bell"}


def pressed(world: World, key: int, *, backwards: bool = False) -> World:
    """Return the world after a key of the second group (see above) went down; other keys change nothing."""
    if key in _CYCLED:
        attribute = _CYCLED[key]
        values = vocabulary.VALUES[attribute]
        at = values.index(getattr(world.state, attribute)) + (-1 if backwards else 1)
        return change(world, None, **{attribute: values[at % len(values)]})
    if key in _STARTED:
        return change(world, None, happening=_STARTED[key])
    return world


def _wrapped(text: str, font: pygame.font.Font, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.size(longer)[0] <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def play(record_into: Path | None = None) -> None:
    """Open the window and play until it is closed; record when a folder is given."""
    pygame.init()
    pygame.display.set_caption("Diorama")
    screen = eddyline.pygame.open_window((WIDTH * ZOOM, HEIGHT * ZOOM + CAPTION_HEIGHT))
    font = pygame.font.Font(None, 26)
    clock, renderer, narrator = pygame.time.Clock(), Renderer(), Narrator(random.Random())
    world = begin(State(prop="lit torch"))
    with ExitStack() as stack:
        stack.callback(pygame.quit)
        recorder = None
        if record_into is not None:
            recorder = stack.enter_context(
                Recorder(
                    record_into,
                    fps=FPS,
                    height=HEIGHT,
                    width=WIDTH,
                    action_names=vocabulary.ACTION_NAMES,
                    metadata={"world": "diorama", "played": "by hand"},
                )
            )
        while True:
            for event in pygame.event.get():
                if event.type == pygame.QUIT or (event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE):
                    return
                if event.type == pygame.KEYDOWN:
                    world = pressed(world, event.key, backwards=bool(event.mod & pygame.KMOD_SHIFT))
            down = pygame.key.get_pressed()
            keys = {name for key, name in _HELD.items() if down[key]}
            world = step(world, keys)
            caption = narrator.say(world.state)
            if recorder is not None:
                recorder.add(
                    renderer.frame(world),
                    caption=caption,
                    actions=[float(name in keys) for name in vocabulary.ACTION_NAMES],
                    labels=world.state.labels(),
                )
            screen.blit(pygame.transform.scale(renderer.draw(world), (WIDTH * ZOOM, HEIGHT * ZOOM)), (0, 0))
            screen.fill((24, 22, 32), (0, HEIGHT * ZOOM, WIDTH * ZOOM, CAPTION_HEIGHT))
            for row, line in enumerate(_wrapped(caption, font, WIDTH * ZOOM - 24)[:2]):
                screen.blit(font.render(line, True, (236, 232, 240)), (12, HEIGHT * ZOOM + 8 + 26 * row))
            pygame.display.flip()
            clock.tick(FPS)


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and play."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.diorama", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="record what is played into FOLDER")
    given = parser.parse_args(arguments)
    try:
        play(given.record)
    except EddylineError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
