"""The eight places: sky, far, middle and ground layers, drawn once for each time of day.

A layer is a strip that repeats every STRIP_WIDTH pixels and scrolls slower the farther away it is.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import pygame

from .art import Canvas, Colour, darker, lighter, mix, tinted
from .world import HEIGHT, WIDTH

STRIP_WIDTH = 320
GROUND_TOP = 74  # where the ground begins
FEET_LINE = 85  # where the hero's feet are
PARALLAX = (0.25, 0.5, 1.0)  # far, middle, ground

TINTS: dict[str, Colour] = {"day": (255, 255, 255), "sunset": (255, 176, 138), "night": (104, 120, 196)}
# a cave has its own light, from its crystals
_CAVE_TINTS: dict[str, Colour] = {"day": (255, 255, 255), "sunset": (255, 186, 150), "night": (144, 150, 222)}
HERO_TINTS: dict[str, Colour] = {"day": (255, 255, 255), "sunset": (255, 232, 214), "night": (206, 210, 246)}
_SKIES: dict[str, tuple[Colour, Colour]] = {
    "day": ((88, 170, 240), (206, 236, 250)),
    "sunset": ((124, 70, 130), (255, 168, 84)),
    "night": ((14, 18, 54), (52, 62, 128)),
}
# how the sky of a place leans by day: colour and share
_SKY_LEANS: dict[str, tuple[Colour, float]] = {
    "forest": ((150, 220, 190), 0.45),
    "desert": ((255, 226, 150), 0.55),
    "snowfield": ((224, 236, 250), 0.55),
    "courtyard": ((120, 180, 235), 0.2),
}


@dataclass(frozen=True)
class Scene:
    """A place at one time of day, ready to be composed."""

    sky: pygame.Surface
    strips: tuple[pygame.Surface, pygame.Surface, pygame.Surface]

    def draw(self, target: pygame.Surface, camera: float) -> None:
        """Draw the place as seen by a camera whose middle is at world x `camera`."""
        target.blit(self.sky, (0, 0))
        for strip, parallax in zip(self.strips, PARALLAX, strict=True):
            offset = round(camera * parallax) % STRIP_WIDTH
            target.blit(strip, (-offset, 0), special_flags=pygame.BLEND_PREMULTIPLIED)
            if offset > STRIP_WIDTH - WIDTH:
                target.blit(strip, (STRIP_WIDTH - offset, 0), special_flags=pygame.BLEND_PREMULTIPLIED)


def _sky(place: str, time: str) -> pygame.Surface:
    canvas = Canvas(WIDTH, HEIGHT)
    top, bottom = _SKIES[time]
    if place in _SKY_LEANS:
        lean, share = _SKY_LEANS[place]
        share *= {"day": 1.0, "sunset": 0.25, "night": 0.08}[time]
        top, bottom = mix(top, lean, share), mix(bottom, lean, share)
    canvas.gradient(top, bottom, 0, GROUND_TOP)
    canvas.gradient(bottom, bottom, GROUND_TOP, HEIGHT)
    if time == "day":
        canvas.circle(mix(top, (255, 244, 190), 0.5), (130, 17), 13)
        canvas.circle((255, 240, 150), (130, 17), 9)
    elif time == "sunset":
        canvas.circle(mix(bottom, (255, 220, 120), 0.4), (124, 46), 20)
        canvas.circle((255, 226, 120), (124, 46), 14)
    else:
        stars = [(8, 12), (24, 30), (38, 9), (54, 22), (70, 8), (84, 28), (98, 12), (112, 34), (148, 36), (152, 8)]
        for x, y in stars:
            canvas.circle((255, 250, 220), (x, y), 1.5)
        canvas.circle((250, 246, 214), (130, 17), 10)
        canvas.circle(mix(*_SKIES["night"], 0.22), (125.5, 14.5), 8.5)
    picture = canvas.finish()
    surface = pygame.Surface((WIDTH, HEIGHT), 0, 32)
    surface.blit(picture, (0, 0), special_flags=pygame.BLEND_PREMULTIPLIED)
    return surface


def _hills(canvas: Canvas, colour: Colour, base: float, swing: float, waves: int, phase: float) -> None:
    points = [
        (float(x), base - swing * math.sin(math.tau * waves * x / canvas.width + phase))
        for x in range(0, canvas.width + 1, 4)
    ]
    canvas.polygon(colour, [*points, (canvas.width, HEIGHT), (0, HEIGHT)])


def _peaks(canvas: Canvas, colour: Colour, cap: Colour | None, base: float, heights: list[float]) -> None:
    wide = canvas.width / len(heights)
    for index, height in enumerate(heights):
        middle = (index + 0.5) * wide
        canvas.polygon(colour, [(middle - wide * 0.75, base), (middle, base - height), (middle + wide * 0.75, base)])
        if cap:
            canvas.polygon(
                cap,
                [
                    (middle - wide * 0.3, base - height * 0.6),
                    (middle, base - height),
                    (middle + wide * 0.3, base - height * 0.6),
                    (middle + wide * 0.1, base - height * 0.5),
                    (middle - wide * 0.1, base - height * 0.62),
                ],
            )


def _ground(canvas: Canvas, top: Colour, bottom: Colour, edge: Colour) -> None:
    canvas.gradient(top, bottom, GROUND_TOP, HEIGHT)
    canvas.box(edge, 0, GROUND_TOP - 1.5, canvas.width, 4)


def _clouds(canvas: Canvas, colour: Colour, spots: list[tuple[float, float]]) -> None:
    for x, y in spots:
        for dx, dy, wide in ((-9, 2, 16), (0, -2, 20), (10, 2, 18)):
            canvas.ellipse(colour, (x + dx, y + dy), wide, 11)


def _forest(far: Canvas, mid: Canvas, ground: Canvas) -> None:
    for index in range(14):
        far.ellipse((96, 168, 120), (11.5 + index * 23, 40 + (index * 7) % 11), 34, 50)
    far.box((84, 152, 108), 0, 52, STRIP_WIDTH, 44)
    for index, x in enumerate((20.0, 84.0, 146.0, 206.0, 270.0)):
        shade = (36, 110, 58) if index % 2 else (46, 124, 62)
        mid.polygon((104, 70, 44), [(x - 7, 80), (x - 5, 10), (x + 5, 10), (x + 8, 80)])
        mid.polygon((84, 56, 38), [(x + 2, 80), (x + 1, 10), (x + 5, 10), (x + 8, 80)])
        for dx, dy, size in ((-18, 8, 34), (18, 10, 34), (0, 0, 42), (-8, 17, 26), (12, 19, 24)):
            mid.ellipse(shade, (x + dx, dy), size, size * 0.66)
    for x in (52.0, 114.0, 176.0, 238.0, 302.0):
        mid.ellipse((62, 140, 66), (x, 74), 30, 20)
    _ground(ground, (70, 122, 52), (44, 84, 44), (108, 164, 66))


def _meadow(far: Canvas, mid: Canvas, ground: Canvas) -> None:
    _clouds(far, (255, 255, 255), [(40, 16), (128, 26), (210, 12), (286, 24)])
    _hills(far, (146, 208, 110), 54, 9, 3, 0.6)
    _hills(mid, (112, 190, 76), 66, 5, 4, 2.2)
    for x in (36.0, 150.0, 262.0):
        mid.circle((90, 172, 66), (x, 60), 9)
        mid.circle((98, 182, 70), (x + 11, 63), 8)
    _ground(ground, (128, 206, 70), (74, 158, 56), (168, 228, 96))
    petals: list[Colour] = [(255, 110, 130), (255, 255, 255), (255, 214, 70), (190, 120, 240)]
    for index in range(16):
        x, y = 10.0 + index * 20, 79.0 + (index * 5) % 12
        ground.circle(petals[index % 4], (x, y), 2.8)
        ground.circle((255, 240, 160) if index % 4 != 2 else (240, 150, 40), (x, y), 1.2)


def _desert(far: Canvas, mid: Canvas, ground: Canvas) -> None:
    mesa, shade = (220, 138, 84), (198, 112, 70)
    for x, wide, top in ((50.0, 62.0, 34.0), (150.0, 40.0, 42.0), (240.0, 76.0, 38.0)):
        far.polygon(mesa, [(x - wide / 2 - 8, 80), (x - wide / 2, top), (x + wide / 2, top), (x + wide / 2 + 8, 80)])
        far.polygon(shade, [(x + wide * 0.2, 80), (x + wide * 0.25, top), (x + wide / 2, top), (x + wide / 2 + 8, 80)])
    _hills(mid, (242, 196, 116), 68, 6, 3, 1.0)
    green, dark = (86, 148, 80), (64, 122, 68)
    for x, size in ((40.0, 1.0), (140.0, 0.8), (212.0, 1.1), (290.0, 0.85)):
        mid.stroke(green, [(x, 76), (x, 76 - 40 * size)], 9 * size)
        mid.stroke(green, [(x, 58), (x - 11 * size, 58), (x - 11 * size, 58 - 13 * size)], 6 * size)
        mid.stroke(green, [(x, 63), (x + 11 * size, 63), (x + 11 * size, 63 - 17 * size)], 6 * size)
        mid.stroke(dark, [(x + 2.5, 76), (x + 2.5, 76 - 36 * size)], 2.5)
    _ground(ground, (246, 206, 124), (222, 166, 88), (252, 222, 150))
    for x in (30.0, 110.0, 200.0, 270.0):
        ground.ellipse((228, 178, 100), (x, 88), 44, 5)


def _beach(far: Canvas, mid: Canvas, ground: Canvas) -> None:
    _clouds(far, (255, 255, 255), [(60, 14), (190, 20), (296, 12)])
    far.gradient((36, 138, 190), (86, 206, 214), 48, HEIGHT)
    for x in (20.0, 104.0, 188.0, 272.0):
        far.stroke((170, 236, 236), [(x, 60), (x + 22, 60)], 2.2)
        far.stroke((170, 236, 236), [(x + 40, 68), (x + 60, 68)], 2.2)
    for x in (90.0, 250.0):
        far.polygon((150, 80, 52), [(x - 13, 48), (x + 13, 48), (x + 8, 54), (x - 9, 54)])
        far.polygon((255, 255, 255), [(x, 26), (x, 46), (x + 13, 46)])
        far.polygon((240, 96, 80), [(x - 2, 30), (x - 2, 46), (x - 11, 46)])
    leaf, shade = (52, 160, 84), (36, 130, 76)
    for x, lean in ((30.0, 10.0), (190.0, -10.0)):
        mid.stroke((150, 106, 66), [(x, 78), (x + lean * 0.4, 52), (x + lean, 28)], 6)
        top = (x + lean, 27)
        for dx, dy, colour in (
            (-26, 8, shade),
            (25, 9, shade),
            (-20, -7, leaf),
            (20, -6, leaf),
            (-10, 17, leaf),
            (11, 17, leaf),
        ):
            mid.stroke(colour, [top, (top[0] + dx * 0.55, top[1] + dy * 0.4 - 4), (top[0] + dx, top[1] + dy)], 5)
        mid.circle((110, 74, 46), (top[0] - 2, top[1] + 4), 3.4)
    _ground(ground, (250, 228, 170), (236, 200, 130), (255, 246, 214))
    for x in (60.0, 220.0):
        ground.circle((250, 120, 100), (x, 90), 3.4)


def _snowfield(far: Canvas, mid: Canvas, ground: Canvas) -> None:
    _peaks(far, (142, 172, 214), (246, 250, 255), 78, [54.0, 40.0, 60.0, 44.0])
    for x, size in ((22.0, 1.0), (78.0, 0.75), (152.0, 1.1), (214.0, 0.8), (280.0, 0.95)):
        mid.box((108, 82, 70), x - 2.5, 66, 5, 12)
        for level in range(3):
            y, wide = 70 - level * 13 * size, (17 - level * 4) * size
            mid.polygon((66, 128, 132), [(x - wide, y), (x, y - 22 * size), (x + wide, y)])
            mid.polygon(
                (244, 250, 255), [(x - wide * 0.6, y - 9 * size), (x, y - 22 * size), (x + wide * 0.6, y - 9 * size)]
            )
    _ground(ground, (240, 247, 255), (190, 212, 240), (255, 255, 255))
    for x in (40.0, 140.0, 250.0):
        ground.ellipse((212, 228, 248), (x, 89), 60, 6)


def _cave(far: Canvas, mid: Canvas, ground: Canvas) -> None:
    far.gradient((92, 78, 118), (66, 56, 96))
    for x in (0.0, 107.0, 214.0):  # openings to the sky: one is always in sight
        far.polygon((74, 62, 100), [(x + 22, 68), (x + 24, 28), (x + 44, 8), (x + 72, 10), (x + 86, 34), (x + 84, 68)])
        hole = [(x + 28, 64), (x + 30, 30), (x + 46, 14), (x + 70, 15), (x + 80, 36), (x + 78, 64)]
        pygame.draw.polygon(far.sheet, (0, 0, 0, 0), [(px * 4, py * 4) for px, py in hole])
    rock, shade = (92, 74, 122), (70, 56, 98)
    for x, length, wide in (
        (14.0, 34.0, 24.0),
        (66.0, 20.0, 18.0),
        (128.0, 40.0, 26.0),
        (186.0, 22.0, 18.0),
        (250.0, 32.0, 24.0),
        (296.0, 18.0, 16.0),
    ):
        mid.polygon(rock, [(x - wide / 2, 0), (x + wide / 2, 0), (x + 2, length), (x - 2, length)])
        mid.polygon(shade, [(x + 2, 0), (x + wide / 2, 0), (x + 2, length)])
    mid.box(shade, 0, 0, STRIP_WIDTH, 6)
    for x, colour in (
        (38.0, (80, 230, 220)),
        (104.0, (240, 120, 220)),
        (170.0, (80, 230, 220)),
        (224.0, (130, 160, 255)),
        (284.0, (240, 120, 220)),
    ):
        for dx, height, lean in ((-8, 18, -5), (8, 20, 5), (0, 30, 0)):
            mid.polygon(
                colour,
                [
                    (x + dx - 5, 78),
                    (x + dx - 4 + lean, 78 - height + 6),
                    (x + dx + lean, 78 - height),
                    (x + dx + 4 + lean, 78 - height + 6),
                    (x + dx + 5, 78),
                ],
            )
            mid.polygon(
                lighter(colour, 0.5),
                [
                    (x + dx - 5, 78),
                    (x + dx - 4 + lean, 78 - height + 6),
                    (x + dx + lean, 78 - height),
                    (x + dx - 1, 78),
                ],
            )
    _ground(ground, (112, 90, 130), (64, 50, 88), (150, 124, 164))
    for x in (40.0, 150.0, 260.0):
        ground.ellipse((86, 70, 112), (x, 88), 50, 6)


def _hall(far: Canvas, mid: Canvas, ground: Canvas) -> None:
    far.gradient((214, 172, 128), (186, 138, 104))
    for x in (0.0, 80.0, 160.0, 240.0):
        far.box((150, 106, 84), x + 22, 10, 36, 52, 4)
        far.hole(x + 25, 12, 30, 48, 15)
        far.box((150, 106, 84), x + 38, 12, 4, 48)
    far.box((150, 98, 70), 0, 66, STRIP_WIDTH, 30)
    for x in (10.0, 117.0, 224.0):
        mid.box((236, 214, 180), x, 0, 16, 80)
        mid.box((206, 178, 146), x + 10, 0, 6, 80)
        mid.box((246, 228, 198), x - 4, 0, 24, 7, 2)
        mid.box((226, 200, 166), x - 4, 70, 24, 10, 2)
        mid.polygon((186, 38, 52), [(x + 40, 0), (x + 66, 0), (x + 66, 38), (x + 53, 30), (x + 40, 38)])
        mid.circle((250, 206, 80), (x + 53, 16), 6)
    _ground(ground, (176, 44, 54), (130, 26, 44), (240, 196, 90))
    ground.box((240, 196, 90), 0, 92, STRIP_WIDTH, 2.4)


def _courtyard(far: Canvas, mid: Canvas, ground: Canvas) -> None:
    stone: Colour = (168, 172, 182)
    for x in (20.0, 180.0):
        far.box(stone, x, 22, 34, 70)
        for index in range(3):
            far.box(stone, x - 2 + index * 14, 15, 9, 9)
        far.box(darker(stone, 0.4), x + 12, 32, 9, 15, 4)
        far.polygon((214, 60, 60), [(x + 18, 0), (x + 40, 5), (x + 18, 10)])
        far.stroke((110, 100, 100), [(x + 17, 1), (x + 17, 16)], 2.4)
    wall, seam = (192, 190, 188), (168, 164, 164)
    mid.box(wall, 0, 46, STRIP_WIDTH, 50)
    for index in range(16):
        mid.box(wall, index * 20 + 2, 37, 12, 12)
    for row in range(3):
        for index in range(8):
            mid.box(seam, index * 40 + (row % 2) * 20 + 4, 51 + row * 9, 15, 5, 2)
    _ground(ground, (160, 148, 138), (116, 104, 104), (196, 184, 168))
    for index in range(10):
        ground.ellipse((140, 128, 122), (16 + index * 32, 82 if index % 2 else 91), 22, 6)


_PLACES: dict[str, Callable[[Canvas, Canvas, Canvas], None]] = {
    "forest": _forest,
    "meadow": _meadow,
    "desert": _desert,
    "beach": _beach,
    "snowfield": _snowfield,
    "cave": _cave,
    "hall": _hall,
    "courtyard": _courtyard,
}


def scene(place: str, time: str) -> Scene:
    """Draw `place` at `time`; slow (tens of milliseconds), so keep the result."""
    layers = tuple(Canvas(STRIP_WIDTH, HEIGHT, wraps=True) for _ in range(3))
    far, mid, ground = layers
    _PLACES[place](far, mid, ground)
    strips = [tinted(layer.finish(), _CAVE_TINTS[time] if place == "cave" else TINTS[time]) for layer in layers]
    return Scene(sky=_sky(place, time), strips=(strips[0], strips[1], strips[2]))


def rain_tile() -> pygame.Surface:
    """Draw slanting drops; repeats in both directions."""
    canvas = Canvas(WIDTH, HEIGHT, wraps=True)
    rng = random.Random(3)
    for index in range(25):
        x, y = (index % 5) * 32 + rng.uniform(2, 26), (index // 5) * 19.2 + rng.uniform(0, 12)
        for dy in (-HEIGHT, 0):
            canvas.stroke((206, 228, 255), [(x, y + dy), (x - 3.2, y + dy + 13)], 2.8)
    return faded(canvas.finish(), 0.72)


def snow_tile(seed: int, radius: float) -> pygame.Surface:
    """Draw soft flakes; repeats in both directions."""
    canvas = Canvas(WIDTH, HEIGHT)
    rng = random.Random(seed)
    for index in range(15):
        x, y = (index % 5) * 32 + rng.uniform(4, 28), (index // 5) * 32 + rng.uniform(4, 28)
        canvas.circle((255, 255, 255), (x, y), radius)
    return faded(canvas.finish(), 0.92)


def fog_tile() -> pygame.Surface:
    """Draw long banks of fog; repeats sideways."""
    canvas = Canvas(WIDTH, HEIGHT, wraps=True)
    for x, y, wide, high in (
        (30, 40, 90, 20),
        (118, 54, 100, 22),
        (40, 70, 100, 22),
        (140, 24, 80, 16),
        (110, 88, 90, 18),
    ):
        canvas.ellipse((236, 240, 246), (x, y), wide, high)
    sharp = canvas.finish()
    wide_tile = pygame.Surface((3 * WIDTH, HEIGHT), pygame.SRCALPHA, 32)
    for index in range(3):
        wide_tile.blit(sharp, (index * WIDTH, 0), special_flags=pygame.BLEND_PREMULTIPLIED)
    small = pygame.transform.smoothscale(wide_tile, (3 * WIDTH // 8, HEIGHT // 8))
    soft = pygame.transform.smoothscale(small, (3 * WIDTH, HEIGHT))
    return soft.subsurface(pygame.Rect(WIDTH, 0, WIDTH, HEIGHT)).copy()


def faded(surface: pygame.Surface, alpha: float) -> pygame.Surface:
    """Return a copy of a premultiplied surface at `alpha` (0 to 1) of its opacity."""
    copy = surface.copy()
    level = round(255 * alpha)
    copy.fill((level, level, level, level), special_flags=pygame.BLEND_RGBA_MULT)
    return copy
