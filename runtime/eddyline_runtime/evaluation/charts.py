"""Panels of bars with their intervals, drawn with Pillow alone: the figures of a report as one picture.

Everything is drawn `_FINE` times as large and then reduced, which smooths lines and letters alike. Lengths are pixels
of the finished picture.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

PAPER: Colour = (252, 252, 250)
INK: Colour = (34, 36, 44)
FAINT: Colour = (112, 116, 128)
_RULE, _TRACK = (224, 226, 230), (240, 241, 243)
_OWN, _OTHER = (76, 128, 178), (168, 177, 190)
_CEILING, _GOAL = (218, 120, 30), (44, 140, 96)

_FINE = 3
_COLOURS = 128
_WIDTH, _MARGIN, _GUTTER = 1500, 44, 56
_LABEL, _NOTE, _ROW, _BAR = 168, 190, 34, 18
_TITLE, _ABOUT, _TICKS, _GAP = 34, 26, 28, 34
_TEXT_SIZE, _SMALL_SIZE, _TITLE_SIZE, _HEAD_SIZE = 19, 16, 22, 30
_HEAD, _LEGEND = 62, 44
_COLUMN = (_WIDTH - 2 * _MARGIN - _GUTTER) // 2


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A figure as a bar from 0 to `value`, a whisker from `low` to `high`, and a mark where recordings are.

    note: what stands to the right of it. goals: where dashed lines stand. strong: in the colour of the world's own.
    """

    label: str
    value: float
    low: float
    high: float
    note: str
    ceiling: float | None = None
    goals: tuple[float, ...] = ()
    strong: bool = True


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Bars on one scale.

    span: the ends of the scale. ticks: what is written under it, and where.
    """

    title: str
    about: str
    bars: tuple[Bar, ...]
    span: tuple[float, float]
    ticks: tuple[tuple[float, str], ...] = ()


def draw_panels(panels: Sequence[Panel], *, title: str) -> Image.Image:
    """Draw panels in two columns under a title, a legend below; each goes where there is more room."""
    places, bottoms = [], [_MARGIN + _HEAD] * 2
    for panel in panels:
        column = bottoms.index(min(bottoms))
        places.append((_MARGIN + column * (_COLUMN + _GUTTER), bottoms[column]))
        bottoms[column] += _height(panel) + _GAP
    height = max(bottoms) + _LEGEND
    pen = _Pen(_WIDTH, height)
    pen.text(_MARGIN, _MARGIN + _HEAD / 4, title, size=_HEAD_SIZE, bold=True)
    for panel, (left, top) in zip(panels, places, strict=True):
        _draw_panel(pen, panel, left, top)
    _draw_legend(pen, height - _MARGIN)
    return pen.image.reduce(_FINE).quantize(_COLOURS, dither=Image.Dither.NONE)


def plain(text: str) -> str:
    """A text in the letters that Pillow's own font has: ASCII; accents are dropped, others become "?"."""
    simple = text.translate({0x2013: "-", 0x2014: "-", 0x2019: "'", 0x2265: ">=", 0x2264: "<="})
    kept = "".join(letter for letter in unicodedata.normalize("NFKD", simple) if not unicodedata.combining(letter))
    return kept.encode("ascii", "replace").decode("ascii")


class _Pen:
    """Draws on a fine canvas in pixels of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * _FINE, height * _FINE), PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def text(
        self, x: float, y: float, text: str, *, size: int, colour: Colour = INK, anchor: str = "lm", bold: bool = False
    ) -> None:
        font = ImageFont.load_default(size * _FINE)
        self._draw.text(
            (x * _FINE, y * _FINE),
            plain(text),
            fill=colour,
            font=font,
            anchor=anchor,
            stroke_width=int(bold),
            stroke_fill=colour,
        )

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour, *, radius: float = 0) -> None:
        corners = (left * _FINE, top * _FINE, max(left, right) * _FINE, bottom * _FINE)
        self._draw.rounded_rectangle(corners, radius * _FINE, fill=colour)

    def diamond(self, x: float, y: float, size: float, colour: Colour) -> None:
        corners = [(x, y - size), (x + size, y), (x, y + size), (x - size, y)]
        self._draw.polygon([(a * _FINE, b * _FINE) for a, b in corners], fill=colour, outline=PAPER, width=_FINE)

    def dashes(self, x: float, top: float, bottom: float, colour: Colour) -> None:
        y = top
        while y < bottom:
            self.box(x - 1, y, x + 1, min(y + 6, bottom), colour)
            y += 10

    def whisker(self, left: float, right: float, y: float) -> None:
        self.box(left, y - 1, right, y + 1, INK)
        for x in (left, right):
            self.box(x - 1, y - 5, x + 1, y + 5, INK)


def _height(panel: Panel) -> int:
    return _TITLE + _ABOUT + len(panel.bars) * _ROW + (_TICKS if panel.ticks else 0)


def _draw_panel(pen: _Pen, panel: Panel, left: float, top: float) -> None:
    pen.text(left, top + _TITLE / 2, panel.title, size=_TITLE_SIZE, bold=True)
    pen.text(left, top + _TITLE + _ABOUT / 2 - 3, panel.about, size=_SMALL_SIZE, colour=FAINT)
    first, last = left + _LABEL, left + _COLUMN - _NOTE
    low, high = panel.span

    def at(value: float) -> float:
        return first + (last - first) * min(1.0, max(0.0, (value - low) / (high - low)))

    bars_top = top + _TITLE + _ABOUT
    bars_bottom = bars_top + len(panel.bars) * _ROW
    for value, words in panel.ticks:
        pen.box(at(value) - 0.5, bars_top, at(value) + 0.5, bars_bottom + 4, _RULE)
        pen.text(at(value), bars_bottom + _TICKS / 2 + 2, words, size=_SMALL_SIZE, colour=FAINT, anchor="mm")
    for number, bar in enumerate(panel.bars):
        middle = bars_top + (number + 0.5) * _ROW
        pen.text(first - 12, middle, bar.label, size=_TEXT_SIZE, anchor="rm")
        if not panel.ticks:
            pen.box(first, middle - _BAR / 2, last, middle + _BAR / 2, _TRACK, radius=2)
        start, end = sorted((at(0.0), at(bar.value)))
        pen.box(start, middle - _BAR / 2, end, middle + _BAR / 2, _OWN if bar.strong else _OTHER, radius=2)
        for goal in bar.goals:
            pen.dashes(at(goal), middle - _ROW / 2, middle + _ROW / 2, _GOAL)
        pen.whisker(at(bar.low), at(bar.high), middle)
        if bar.ceiling is not None:
            pen.diamond(at(bar.ceiling), middle, 7, _CEILING)
        pen.text(last + 14, middle, bar.note, size=_TEXT_SIZE)


def _draw_legend(pen: _Pen, y: float) -> None:
    pen.whisker(_MARGIN, _MARGIN + 34, y)
    pen.text(_MARGIN + 46, y, "95 % interval", size=_SMALL_SIZE, colour=FAINT)
    pen.diamond(_MARGIN + 190, y, 7, _CEILING)
    pen.text(_MARGIN + 206, y, "the same, measured on recordings", size=_SMALL_SIZE, colour=FAINT)
    pen.dashes(_MARGIN + 490, y - 11, y + 11, _GOAL)
    pen.text(_MARGIN + 504, y, "goal", size=_SMALL_SIZE, colour=FAINT)
