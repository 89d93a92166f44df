"""The losses of a run as a picture: train steps across, loss upwards, a rule where windows of another length begin."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

from eddyline_runtime.evaluation.charts import FAINT, INK, PAPER, Colour

_RULE: Colour = (224, 226, 230)
_LOSS: Colour = (168, 177, 190)
_HELD_OUT: Colour = (76, 128, 178)
_WIDTH, _HEIGHT = 1000, 520
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 30, 60, 60
_TEXT_SIZE = 15
_FINE = 2
"""Drawn so many times as large and reduced, which smooths lines."""


@dataclass(frozen=True)
class LossRow:
    """What was measured after some train steps."""

    train_step: int
    window_frames: int
    """Latent frames of the windows trained on then."""
    loss: float
    """Running mean of the train steps' losses."""
    held_out_loss: float
    """Of the averaged weights."""


def loss_curves(rows: Sequence[LossRow]) -> Image.Image:
    """Draw the curves, 1000 x 520 pixels; what is not finite is left out."""
    canvas = Image.new("RGB", (_WIDTH * _FINE, _HEIGHT * _FINE), PAPER)
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(_TEXT_SIZE * _FINE)

    def write(x: float, y: float, text: str, colour: Colour, anchor: str) -> None:
        pen.text((x * _FINE, y * _FINE), text, fill=colour, font=font, anchor=anchor)

    def line(points: Sequence[tuple[float, float]], colour: Colour, width: int) -> None:
        pen.line([(x * _FINE, y * _FINE) for x, y in points], fill=colour, width=width * _FINE, joint="curve")

    losses = [value for row in rows for value in (row.loss, row.held_out_loss) if math.isfinite(value)]
    steps = ticks(0, max([row.train_step for row in rows], default=1))
    levels = ticks(min(losses, default=0.0), max(losses, default=1.0))
    across = _scale(steps[0], steps[-1], _LEFT, _WIDTH - _RIGHT)
    upwards = _scale(levels[0], levels[-1], _HEIGHT - _BOTTOM, _TOP)
    for level in levels:
        line([(_LEFT, upwards(level)), (_WIDTH - _RIGHT, upwards(level))], _RULE, 1)
        write(_LEFT - 10, upwards(level), f"{level:g}", FAINT, "rm")
    for step in steps:
        write(across(step), _HEIGHT - _BOTTOM + 18, f"{step:g}", FAINT, "mm")
    for before, row in pairwise([LossRow(0, 0, 0.0, 0.0), *rows]):
        if row.window_frames != before.window_frames:
            x = across(before.train_step)
            line([(x, _TOP), (x, _HEIGHT - _BOTTOM)], _RULE, 2)
            write(x, _TOP - 10, f"{row.window_frames} frames", FAINT, "lm")
    for colour, points in (
        (_LOSS, [(row.train_step, row.loss) for row in rows]),
        (_HELD_OUT, [(row.train_step, row.held_out_loss) for row in rows]),
    ):
        places = [(across(step), upwards(loss)) for step, loss in points if math.isfinite(loss)]
        if len(places) > 1:
            line(places, colour, 3)
        for x, y in places:
            pen.ellipse([(x - 3) * _FINE, (y - 3) * _FINE, (x + 3) * _FINE, (y + 3) * _FINE], fill=colour)
    write(_LEFT, 28, "loss while training (running mean)", _LOSS, "lm")
    write(_LEFT + 300, 28, "held-out loss (averaged weights)", _HELD_OUT, "lm")
    write(_WIDTH - _RIGHT, _HEIGHT - 16, "train steps; windows in latent frames", INK, "rm")
    return canvas.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers, evenly spaced, from at most `low` to at least `high`: three to eight of them."""
    span = high - low if high > low else max(abs(high), 1.0)
    unit = 10.0 ** math.floor(math.log10(span / 2))
    size = next(unit * factor for factor in (1, 2, 5, 10) if span / (unit * factor) <= 6)
    first, last = math.floor(low / size), math.ceil((low + span) / size)
    return [number * size for number in range(first, last + 1)]


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Where a value between `low` and `high` lies between the pixels `start` and `end`."""
    return lambda value: start + (end - start) * (value - low) / (high - low)
