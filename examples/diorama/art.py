"""Drawing tools of the diorama: smooth shapes, drawn large once and scaled down into sprites."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
import pygame

Colour = tuple[int, int, int]
Point = tuple[float, float]
OUTLINE: Colour = (38, 30, 48)
SCALE = 4  # shapes are drawn this much larger than they end up: that is their anti-aliasing


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Blend two colours: `share` 0 gives `a`, 1 gives `b`."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


def lighter(colour: Colour, share: float = 0.35) -> Colour:
    """Move `colour` towards white."""
    return mix(colour, (255, 255, 255), share)


def darker(colour: Colour, share: float = 0.35) -> Colour:
    """Move `colour` towards a dark violet, which looks better than black."""
    return mix(colour, (30, 20, 50), share)


def tinted(surface: pygame.Surface, tint: Colour) -> pygame.Surface:
    """Return a copy of `surface` multiplied by `tint`; alpha stays."""
    copy = surface.copy()
    copy.fill((*tint, 255), special_flags=pygame.BLEND_RGBA_MULT)
    return copy


def soften(picture: pygame.Surface) -> None:
    """Spread every pixel a little over its neighbours (1 3 1 along both axes), in place, like light in a small lens.

    Sprites are scaled down by averaging, which leaves edges as hard as a pixel; shown enlarged, as so small a picture
    always is, they look like steps.
    """
    pixels = pygame.surfarray.pixels3d(picture)
    padded = np.pad(pixels.astype(np.uint16), ((1, 1), (1, 1), (0, 0)), mode="edge")
    across = padded[:-2] + 3 * padded[1:-1] + padded[2:]
    pixels[:] = (across[:, :-2] + 3 * across[:, 1:-1] + across[:, 2:] + 12) // 25


class Canvas:
    """A transparent sheet with smooth shapes; all coordinates in final pixels."""

    def __init__(self, width: int, height: int, *, wraps: bool = False) -> None:
        self.width, self.height = width, height
        self._shifts = (-width, 0, width) if wraps else (0,)  # a sheet that wraps has no seam left and right
        self.sheet = pygame.Surface((width * SCALE, height * SCALE), pygame.SRCALPHA, 32)

    @staticmethod
    def _rect(left: float, top: float, width: float, height: float) -> pygame.Rect:
        return pygame.Rect(round(left * SCALE), round(top * SCALE), round(width * SCALE), round(height * SCALE))

    def ellipse(self, colour: Colour, centre: Point, width: float, height: float, alpha: int = 255) -> None:
        """Draw a filled ellipse around `centre`."""
        left, top = centre[0] - width / 2, centre[1] - height / 2
        for shift in self._shifts:
            pygame.draw.ellipse(self.sheet, (*colour, alpha), self._rect(left + shift, top, width, height))

    def circle(self, colour: Colour, centre: Point, radius: float, alpha: int = 255) -> None:
        """Draw a filled circle."""
        self.ellipse(colour, centre, 2 * radius, 2 * radius, alpha)

    def polygon(self, colour: Colour, points: Iterable[Point], alpha: int = 255) -> None:
        """Draw a filled polygon."""
        corners = list(points)
        for shift in self._shifts:
            pygame.draw.polygon(self.sheet, (*colour, alpha), [((x + shift) * SCALE, y * SCALE) for x, y in corners])

    def box(self, colour: Colour, left: float, top: float, width: float, height: float, round_: float = 0.0) -> None:
        """Draw a filled rectangle with round corners."""
        for shift in self._shifts:
            rect = self._rect(left + shift, top, width, height)
            pygame.draw.rect(self.sheet, (*colour, 255), rect, border_radius=round(round_ * SCALE))

    def hole(self, left: float, top: float, width: float, height: float, round_: float) -> None:
        """Cut a window with a round top."""
        pygame.draw.rect(
            self.sheet,
            (0, 0, 0, 0),
            self._rect(left, top, width, height),
            border_top_left_radius=round(round_ * SCALE),
            border_top_right_radius=round(round_ * SCALE),
        )

    def stroke(self, colour: Colour, points: Sequence[Point], width: float, alpha: int = 255) -> None:
        """Draw a thick line with round joints and ends."""
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            length = math.hypot(x1 - x0, y1 - y0) or 1.0
            nx, ny = -(y1 - y0) / length * width / 2, (x1 - x0) / length * width / 2
            corners = [(x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny)]
            self.polygon(colour, corners, alpha)
        for point in points:
            self.circle(colour, point, width / 2, alpha)

    def gradient(self, top: Colour, bottom: Colour, from_y: int = 0, to_y: int | None = None) -> None:
        """Fill the full width between two heights with a vertical gradient."""
        end = self.height if to_y is None else to_y
        for y in range(from_y * SCALE, end * SCALE):
            share = (y - from_y * SCALE) / max(1, (end - from_y) * SCALE - 1)
            self.sheet.fill((*mix(top, bottom, share), 255), pygame.Rect(0, y, self.width * SCALE, 1))

    def outline(self, colour: Colour = OUTLINE, width: float = 1.2) -> None:
        """Put a line of `width` pixels around everything drawn so far."""
        shape = pygame.mask.from_surface(self.sheet, 100).to_surface(setcolor=(*colour, 255), unsetcolor=(0, 0, 0, 0))
        below = pygame.Surface(self.sheet.get_size(), pygame.SRCALPHA, 32)
        for turn in range(12):
            angle = turn * math.tau / 12
            below.blit(shape, (round(math.cos(angle) * width * SCALE), round(math.sin(angle) * width * SCALE)))
        below.blit(self.sheet, (0, 0))
        self.sheet = below

    def finish(self) -> pygame.Surface:
        """Scale down to a sprite of width x height pixels with alpha."""
        # Scaling mixes in the colour of transparent pixels (black); premultiplied, that is exactly right.
        premultiplied = self.sheet.premul_alpha()
        return pygame.transform.smoothscale(premultiplied, (self.width, self.height))
