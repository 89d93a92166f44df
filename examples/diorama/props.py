"""Things that stand in the diorama and things that happen in it, as sprites."""

from __future__ import annotations

import math
import random

import pygame

from .art import Canvas, Colour, lighter

PROP_WIDTH, PROP_HEIGHT = 56, 60
FLAMES = 3
_WOOD: Colour = (146, 92, 50)
_DARK_WOOD: Colour = (104, 62, 38)
_STONE: Colour = (150, 152, 164)


def _torch(c: Canvas, lit: bool, flame: int) -> None:
    x = PROP_WIDTH / 2
    c.stroke(_DARK_WOOD, [(x, 57), (x, 30)], 5)
    c.polygon((92, 92, 104), [(x - 9, 22), (x + 9, 22), (x + 5, 33), (x - 5, 33)])
    c.polygon(_DARK_WOOD, [(x - 9, 58), (x + 9, 58), (x + 3, 50), (x - 3, 50)])
    if not lit:
        c.ellipse((34, 30, 40), (x, 22), 18, 6)
        c.outline()
        return
    lean = (-2.0, 0.0, 2.0)[flame]
    c.polygon((255, 120, 30), [(x - 9, 20), (x + lean, 2 + abs(lean)), (x + 9, 20)])
    c.ellipse((255, 120, 30), (x, 19), 19, 11)
    c.outline()
    c.ellipse((255, 190, 50), (x, 18), 13, 10)
    c.polygon((255, 190, 50), [(x - 6, 18), (x + lean * 0.7, 7), (x + 6, 18)])
    c.ellipse((255, 244, 170), (x, 19), 7, 7)


def _door(c: Canvas, opened: bool) -> None:
    x = PROP_WIDTH / 2
    c.ellipse(_STONE, (x, 29), 40, 40)
    c.box(_STONE, x - 20, 28, 40, 30)
    inside: Colour = (40, 28, 52) if opened else _WOOD
    c.ellipse(inside, (x, 29), 29, 30)
    c.box(inside, x - 14.5, 28, 29, 30)
    if opened:
        c.ellipse((255, 214, 120), (x + 3, 34), 18, 24)
        c.box((255, 214, 120), x - 6, 34, 18, 24)
        c.polygon(_WOOD, [(x - 14, 18), (x - 26, 13), (x - 26, 59), (x - 14, 58)])
        c.polygon(_DARK_WOOD, [(x - 16, 26), (x - 25, 23), (x - 25, 27), (x - 16, 30)])
        c.polygon(_DARK_WOOD, [(x - 16, 45), (x - 25, 46), (x - 25, 50), (x - 16, 49)])
    else:
        for dx in (-5, 5):
            c.stroke(_DARK_WOOD, [(x + dx, 18), (x + dx, 57)], 2)
        c.box((70, 66, 78), x - 14, 25, 28, 4)
        c.box((70, 66, 78), x - 14, 47, 28, 4)
        c.circle((246, 206, 84), (x + 9, 38), 3)
    c.outline()


def _chest(c: Canvas) -> None:
    x, gold = PROP_WIDTH / 2, (250, 204, 70)
    c.box(_WOOD, x - 20, 40, 40, 18, 2)
    c.ellipse(lighter(_WOOD, 0.12), (x, 40), 40, 24)
    c.box(_WOOD, x - 20, 42, 40, 16, 2)
    c.box(gold, x - 20, 39.5, 40, 3.6)
    for dx in (-16, 12):
        c.box(gold, x + dx, 30.5, 4, 27)
    c.box(gold, x - 4.5, 38, 9, 9, 2)
    c.circle((70, 46, 30), (x, 42.5), 2)
    c.outline()


def _signpost(c: Canvas) -> None:
    x = PROP_WIDTH / 2
    c.stroke(_DARK_WOOD, [(x, 57), (x, 16)], 5)
    c.polygon((222, 176, 112), [(x - 16, 16), (x + 13, 16), (x + 22, 24.5), (x + 13, 33), (x - 16, 33)])
    c.outline()
    c.stroke(_DARK_WOOD, [(x - 10, 24.5), (x + 10, 24.5)], 3)
    c.polygon(_DARK_WOOD, [(x + 8, 19), (x + 16, 24.5), (x + 8, 30)])


def prop(name: str, flame: int = 0) -> pygame.Surface:
    """Draw a prop (premultiplied alpha); `flame` 0 to FLAMES - 1 flickers a lit torch."""
    canvas = Canvas(PROP_WIDTH, PROP_HEIGHT)
    if name in ("lit torch", "unlit torch"):
        _torch(canvas, name == "lit torch", flame)
    elif name in ("open door", "shut door"):
        _door(canvas, name == "open door")
    elif name == "chest":
        _chest(canvas)
    else:
        _signpost(canvas)
    return canvas.finish()


def glow() -> pygame.Surface:
    """Draw the light around a flame, to be added to the picture."""
    size = 96
    surface = pygame.Surface((size, size), 0, 32)
    for radius in range(size // 2, 0, -2):
        strength = (1 - radius / (size / 2)) ** 1.6
        pygame.draw.circle(
            surface, (round(120 * strength), round(76 * strength), round(26 * strength)), (size // 2, size // 2), radius
        )
    return surface


def bolt() -> pygame.Surface:
    """Draw a bolt of lightning."""
    canvas = Canvas(48, 76)
    canvas.polygon(
        (255, 250, 190),
        [(22, 0), (34, 0), (26, 24), (38, 22), (22, 48), (31, 46), (12, 76), (18, 52), (8, 54), (19, 30), (9, 31)],
    )
    canvas.outline((150, 160, 255), 1.6)
    return canvas.finish()


def burst(colour: Colour, age: float) -> pygame.Surface:
    """Draw one firework at `age` 0 to 1: a growing ring of sparks."""
    canvas = Canvas(64, 64)
    radius = 9 + 20 * math.sqrt(age)
    for spark in range(10):
        angle = spark * math.tau / 10
        x, y = 32 + radius * math.cos(angle), 32 + radius * math.sin(angle) + 4 * age * age
        inner = 0.55
        canvas.stroke(colour, [(32 + (x - 32) * inner, 32 + (y - 32) * inner), (x, y)], 4 * (1 - 0.3 * age))
        canvas.circle(lighter(colour, 0.6), (x, y), 2.6)
    return canvas.finish()


def bell(swing: float) -> pygame.Surface:
    """Draw a bell hanging from above, swung by `swing` pixels."""
    canvas = Canvas(72, 48)
    x = 36 + swing
    canvas.stroke((96, 66, 44), [(36, 0), (36 + swing * 0.3, 8)], 4)
    top = 36 + swing * 0.4
    body = [(top - 6, 9), (top + 6, 9), (x + 9, 26), (x + 14, 32), (x - 14, 32), (x - 9, 26)]
    canvas.circle((160, 110, 30), (x + swing * 0.6, 35), 4.5)
    canvas.polygon((246, 196, 60), body)
    canvas.ellipse((246, 196, 60), (top, 10), 13, 10)
    canvas.polygon((255, 232, 140), [(top - 4, 10), (top, 10), (x - 3, 28), (x - 8, 28)])
    canvas.outline()
    for side in (-1, 1):
        for radius in (20, 27) if swing * side > 0 else (23,):
            arc = [
                (36 + side * radius * math.cos(a), 24 + radius * 0.8 * math.sin(a)) for a in (-0.6, -0.3, 0.0, 0.3, 0.6)
            ]
            canvas.stroke((255, 240, 170), arc, 2.4)
    return canvas.finish()


def puff(size: float) -> pygame.Surface:
    """Draw the cloud of a transformation; `size` 0 to 1."""
    canvas = Canvas(72, 64)
    rng = random.Random(5)
    for blob in range(9):
        angle = blob * math.tau / 9
        radius = (8 + rng.uniform(0, 5)) * size + 3
        centre = (36 + 19 * size * math.cos(angle), 34 + 17 * size * math.sin(angle))
        canvas.circle((226, 200, 255) if blob % 2 else (250, 244, 255), centre, radius)
    canvas.circle((255, 252, 255), (36, 34), 17 * size + 2)
    return canvas.finish()


def sparkle() -> pygame.Surface:
    """Draw one four-pointed star of magic."""
    canvas = Canvas(16, 16)
    points = []
    for corner in range(8):
        radius = 7.5 if corner % 2 == 0 else 2.4
        angle = corner * math.tau / 8
        points.append((8 + radius * math.sin(angle), 8 - radius * math.cos(angle)))
    canvas.polygon((255, 240, 130), points)
    canvas.outline((200, 120, 255), 0.8)
    return canvas.finish()
