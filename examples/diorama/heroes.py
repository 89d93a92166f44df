"""The eight heroes in six colours, drawn from the side, facing right, feet at the bottom of the sprite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pygame

from .art import Canvas, Colour, darker, lighter

SPRITE_WIDTH, SPRITE_HEIGHT = 68, 56
FEET = SPRITE_HEIGHT - 2
WALK_POSES = 4
POSES = ("stand", "walk0", "walk1", "walk2", "walk3", "jump")

COLOURS: dict[str, Colour] = {
    "red": (222, 52, 48),
    "blue": (48, 104, 230),
    "green": (52, 178, 72),
    "yellow": (250, 206, 50),
    "purple": (154, 66, 206),
    "white": (242, 242, 246),
}
_STEEL: Colour = (150, 160, 182)
_SKIN: Colour = (244, 196, 156)
_DARK: Colour = (52, 42, 60)
_WOOD: Colour = (134, 88, 50)
_PINK: Colour = (246, 158, 170)

# for each pose: (forward shift of the near foot, its lift), (the same for the far foot)
_FEET: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "stand": ((0, 0), (0, 0)),
    "walk0": ((6, 0), (-6, 0)),
    "walk1": ((0, 0), (1, 4)),
    "walk2": ((-6, 0), (6, 0)),
    "walk3": ((1, 4), (0, 0)),
    "jump": ((-5, 3), (5, 5)),
}
_BOB = {"walk1": -1.5, "walk3": -1.5, "jump": -1.0}


@dataclass(frozen=True)
class _Paint:
    """Where and in which colours a hero is drawn; x is the middle of the sprite."""

    canvas: Canvas
    body: Colour
    shade: Colour
    light: Colour
    pose: str
    x: float = SPRITE_WIDTH / 2

    @property
    def bob(self) -> float:
        return _BOB.get(self.pose, 0.0)

    def legs(self, near_x: float, far_x: float, hip: float, width: float, near: Colour, far: Colour) -> None:
        """Draw two legs from height `hip` down to the feet."""
        (near_dx, near_lift), (far_dx, far_lift) = _FEET[self.pose]
        for x, dx, lift, colour in ((far_x, far_dx, far_lift, far), (near_x, near_dx, near_lift, near)):
            foot = (self.x + x + dx, FEET - width / 2 - lift)
            self.canvas.stroke(colour, [(self.x + x, hip + self.bob), foot, (foot[0] + 2.5, foot[1])], width)


def _pig(p: _Paint) -> None:
    c, x, y = p.canvas, p.x, FEET + p.bob
    p.legs(-10, -15, y - 12, 7, p.shade, darker(p.shade))
    p.legs(8, 13, y - 12, 7, p.shade, darker(p.shade))
    c.stroke(p.shade, [(x - 21, y - 22), (x - 26, y - 26), (x - 29, y - 22), (x - 26, y - 19), (x - 24, y - 26)], 3)
    c.ellipse(p.body, (x - 2, y - 22), 46, 34)
    c.ellipse(p.light, (x - 4, y - 30), 24, 10)
    c.circle(p.body, (x + 16, y - 27), 13)
    c.polygon(p.shade, [(x + 6, y - 37), (x + 9, y - 47), (x + 17, y - 38)])
    c.polygon(p.shade, [(x + 16, y - 39), (x + 23, y - 46), (x + 25, y - 35)])
    c.ellipse(_PINK, (x + 28, y - 24), 9, 12)
    c.circle(_DARK, (x + 29, y - 26.5), 1.5)
    c.circle(_DARK, (x + 29, y - 21.5), 1.5)
    c.circle(_DARK, (x + 19, y - 31), 2.2)


def _cat(p: _Paint) -> None:
    c, x, y = p.canvas, p.x, FEET + p.bob
    tail = [(x - 15, y - 18), (x - 21, y - 26), (x - 20, y - 36), (x - 25, y - 45)]
    c.stroke(p.shade, tail, 5.5)
    p.legs(-10, -13, y - 14, 5.5, p.body, p.shade)
    p.legs(7, 10, y - 14, 5.5, p.body, p.shade)
    c.ellipse(p.body, (x - 2, y - 18), 33, 16)
    c.stroke(p.shade, [(x - 6, y - 24), (x - 5, y - 18)], 3)
    c.stroke(p.shade, [(x - 12, y - 23), (x - 12, y - 17)], 3)
    c.polygon(p.body, [(x + 3, y - 34), (x + 3, y - 49), (x + 13, y - 40)])
    c.polygon(p.body, [(x + 14, y - 40), (x + 24, y - 49), (x + 24, y - 34)])
    c.polygon(_PINK, [(x + 5.5, y - 38), (x + 5.5, y - 44), (x + 10, y - 40)])
    c.polygon(_PINK, [(x + 17, y - 40), (x + 21.5, y - 44), (x + 21.5, y - 38)])
    c.ellipse(p.body, (x + 13.5, y - 32), 25, 21)
    c.ellipse(lighter(p.body, 0.75), (x + 17, y - 27), 12, 8)
    c.ellipse((110, 220, 120), (x + 10, y - 34), 5.5, 6.5)
    c.ellipse((110, 220, 120), (x + 20, y - 34), 5.5, 6.5)
    c.ellipse(_DARK, (x + 10.5, y - 34), 2.4, 5.5)
    c.ellipse(_DARK, (x + 20.5, y - 34), 2.4, 5.5)
    c.circle(_PINK, (x + 17, y - 29), 1.8)


def _fox(p: _Paint) -> None:
    c, x, y = p.canvas, p.x, FEET + p.bob
    c.polygon(p.shade, [(x - 10, y - 19), (x - 20, y - 36), (x - 31, y - 34), (x - 33, y - 22), (x - 22, y - 12)])
    c.ellipse(p.shade, (x - 22, y - 24), 22, 20)
    c.polygon((255, 255, 255), [(x - 26, y - 36), (x - 32, y - 35), (x - 33, y - 25), (x - 27, y - 28)])
    c.circle((255, 255, 255), (x - 28.5, y - 30), 5)
    p.legs(-8, -12, y - 13, 5.5, _DARK, darker(_DARK))
    p.legs(6, 10, y - 13, 5.5, _DARK, darker(_DARK))
    c.ellipse(p.body, (x - 1, y - 18), 31, 17)
    c.ellipse((255, 255, 255), (x + 10, y - 17), 12, 13)
    c.polygon(p.body, [(x + 4, y - 34), (x + 3, y - 48), (x + 14, y - 40)])
    c.polygon(p.body, [(x + 12, y - 39), (x + 19, y - 48), (x + 21, y - 36)])
    c.polygon(_DARK, [(x + 4, y - 44), (x + 3, y - 48), (x + 8, y - 44)])
    c.polygon(_DARK, [(x + 16.5, y - 44.5), (x + 19, y - 48), (x + 19.5, y - 44)])
    c.ellipse(p.body, (x + 12, y - 32), 21, 18)
    c.polygon(p.body, [(x + 14, y - 39), (x + 34, y - 27), (x + 12, y - 24)])
    c.polygon((255, 255, 255), [(x + 10, y - 24), (x + 16, y - 29), (x + 33, y - 26), (x + 18, y - 22)])
    c.circle(_DARK, (x + 31.5, y - 27.5), 2.4)
    c.circle(_DARK, (x + 16, y - 33), 2.2)


def _knight(p: _Paint) -> None:
    c, x, y = p.canvas, p.x, FEET + p.bob
    c.polygon(p.body, [(x - 4, y - 34), (x - 15, y - 26), (x - 24, y - 5), (x - 2, y - 6)])
    c.polygon(p.shade, [(x - 11, y - 28), (x - 15, y - 5), (x - 2, y - 6)])
    p.legs(5, -5, y - 12, 7.5, _STEEL, darker(_STEEL))
    c.box(p.body, x - 11, y - 33, 23, 26, 5)
    # plume and helmet
    c.stroke(p.body, [(x, y - 49), (x - 9, y - 49.5), (x - 15, y - 44), (x - 16, y - 37)], 7)
    c.ellipse(_STEEL, (x + 1, y - 38), 22, 22)
    c.box(_STEEL, x - 9, y - 38, 20, 10, 3)
    c.box(_DARK, x + 1, y - 41, 11, 4, 1.5)
    # sword and shield
    c.stroke((236, 240, 248), [(x + 20, y - 24), (x + 28, y - 50)], 4)
    c.stroke((206, 160, 60), [(x + 14, y - 26), (x + 25, y - 22)], 3.5)
    c.circle(_STEEL, (x + 18.5, y - 20), 4)
    shield = [(x - 5, y - 30), (x + 15, y - 30), (x + 15, y - 17), (x + 5, y - 7), (x - 5, y - 17)]
    c.polygon(p.body, shield)
    c.stroke(lighter(_STEEL, 0.7), [*shield, shield[0]], 2)
    c.stroke(lighter(_STEEL, 0.7), [(x + 5, y - 28), (x + 5, y - 12)], 3)
    c.stroke(lighter(_STEEL, 0.7), [(x - 1, y - 23), (x + 11, y - 23)], 3)


def _guard(p: _Paint) -> None:
    c, x, y = p.canvas, p.x, FEET + p.bob
    # halberd, taller than its bearer
    c.stroke(_WOOD, [(x + 19, y - 1), (x + 19, y - 48)], 3.4)
    c.polygon((222, 228, 238), [(x + 16.5, y - 43), (x + 19, y - 53), (x + 21.5, y - 43)])
    c.polygon((222, 228, 238), [(x + 19, y - 45), (x + 30, y - 48), (x + 31, y - 33), (x + 19, y - 38)])
    p.legs(5, -6, y - 12, 7, _DARK, darker(_DARK))
    c.polygon(p.body, [(x - 10, y - 32), (x + 10, y - 32), (x + 14, y - 8), (x - 14, y - 8)])
    c.polygon(p.light, [(x - 3, y - 32), (x + 4, y - 32), (x + 5, y - 8), (x - 4, y - 8)])
    c.box((96, 66, 40), x - 12.5, y - 20, 25, 4)
    c.circle(_SKIN, (x + 1, y - 36), 8.5)
    c.circle(_DARK, (x + 5, y - 36), 1.8)
    c.stroke((92, 60, 36), [(x + 2, y - 31.5), (x + 8, y - 31.5)], 2.6)
    c.ellipse(_STEEL, (x, y - 42), 18, 15)
    c.ellipse(_STEEL, (x, y - 40), 30, 6)
    c.stroke(p.shade, [(x - 8, y - 29), (x + 3, y - 23), (x + 18, y - 25)], 6)
    c.circle(_SKIN, (x + 19, y - 25), 3.6)


def _thief(p: _Paint) -> None:
    c, x, y = p.canvas, p.x, FEET + p.bob
    sack = (178, 132, 80)
    c.circle(sack, (x - 18, y - 25), 13)
    c.ellipse(lighter(sack, 0.3), (x - 20, y - 30), 10, 7)
    c.polygon(darker(sack), [(x - 12, y - 37), (x - 4, y - 39), (x - 7, y - 31)])
    p.legs(5, -5, y - 12, 6.5, _DARK, darker(_DARK))
    c.polygon(p.body, [(x - 6, y - 36), (x + 9, y - 34), (x + 16, y - 7), (x - 13, y - 7)])
    c.polygon(p.shade, [(x + 3, y - 28), (x + 9, y - 28), (x + 16, y - 7), (x + 5, y - 7)])
    # pointed hood, dark face, white eyes
    c.polygon(p.body, [(x - 9, y - 28), (x - 12, y - 52), (x + 8, y - 45), (x + 14, y - 34), (x + 10, y - 26)])
    c.circle(p.body, (x + 2, y - 36), 11)
    c.ellipse((40, 30, 46), (x + 6, y - 35), 13, 14)
    c.ellipse((255, 255, 255), (x + 4.5, y - 36), 4, 5)
    c.ellipse((255, 255, 255), (x + 10, y - 36), 4, 5)
    c.stroke(p.shade, [(x + 8, y - 25), (x - 2, y - 21), (x - 8, y - 32)], 5)
    c.circle(_SKIN, (x - 8, y - 33), 3.4)


def _ghost(p: _Paint) -> None:
    c, x = p.canvas, p.x
    y = FEET - 3
    sway = {"walk0": 2.0, "walk1": 0.0, "walk2": -2.0, "walk3": 0.0}.get(p.pose, 0.0)
    c.ellipse(p.body, (x, y - 31), 34, 34)
    hem = [(x - 17, y - 32), (x + 17, y - 32), (x + 19 - sway, y - 4), (x + 13 - sway, y), (x + 8 - sway, y - 7)]
    hem += [
        (x + 2 - sway, y),
        (x - 4 - sway, y - 7),
        (x - 10 - sway, y),
        (x - 15 - sway, y - 7),
        (x - 21 - sway, y - 2),
    ]
    c.polygon(p.body, hem)
    c.stroke(p.body, [(x - 14, y - 26), (x - 22, y - 33)], 8)
    c.stroke(p.body, [(x + 14, y - 26), (x + 23, y - 31)], 8)
    c.polygon(p.shade, [(x - 17, y - 22), (x - 11, y - 20), (x - 15 - sway, y - 8), (x - 21 - sway, y - 3)])
    c.ellipse(_DARK, (x - 2, y - 35), 7, 10)
    c.ellipse(_DARK, (x + 10, y - 35), 7, 10)
    c.ellipse(_DARK, (x + 4.5, y - 24), 6, 8)


def _robot(p: _Paint) -> None:
    c, x, y = p.canvas, p.x, FEET + p.bob
    metal = (120, 128, 142)
    p.legs(7, -7, y - 12, 7, metal, darker(metal))
    c.stroke(metal, [(x - 14, y - 25), (x - 20, y - 18), (x - 17, y - 12)], 5.5)
    c.box(p.body, x - 14, y - 29, 28, 20, 2.5)
    c.box(p.shade, x - 14, y - 14, 28, 5, 2)
    c.box((46, 48, 62), x - 8, y - 26, 16, 9, 1.5)
    c.circle((90, 240, 220), (x - 3.5, y - 21.5), 2.3)
    c.circle((255, 190, 60), (x + 3.5, y - 21.5), 2.3)
    c.stroke(metal, [(x + 14, y - 25), (x + 21, y - 19), (x + 22, y - 12)], 5.5)
    c.box(metal, x - 4, y - 33, 8, 5)
    c.box(p.body, x - 15, y - 47, 30, 16, 2.5)
    c.box((46, 48, 62), x - 7, y - 44, 21, 9, 2)
    c.circle((120, 255, 230), (x, y - 39.5), 3)
    c.circle((120, 255, 230), (x + 9, y - 39.5), 3)
    c.stroke(metal, [(x, y - 47), (x, y - 51)], 2.6)
    c.circle((255, 90, 70), (x, y - 51), 3)


_DRAW: dict[str, Callable[[_Paint], None]] = {
    "pig": _pig,
    "cat": _cat,
    "fox": _fox,
    "knight": _knight,
    "guard": _guard,
    "thief": _thief,
    "ghost": _ghost,
    "robot": _robot,
}


def sprite(hero: str, colour: str, pose: str, facing: int) -> pygame.Surface:
    """Draw one hero; `facing` 1 looks right, -1 left. Premultiplied alpha, SPRITE_WIDTH x SPRITE_HEIGHT."""
    body = COLOURS[colour]
    canvas = Canvas(SPRITE_WIDTH, SPRITE_HEIGHT)
    shade = darker(body, 0.28) if colour != "white" else (196, 198, 214)
    _DRAW[hero](_Paint(canvas=canvas, body=body, shade=shade, light=lighter(body), pose=pose))
    canvas.outline()
    surface = canvas.finish()
    return surface if facing > 0 else pygame.transform.flip(surface, True, False)
