"""Contact sheets: pictures of a view side by side, with the words in force. Needs Pillow (the extra `play`)."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from eddyline.film_files import unwritable

_PAPER, _INK, _FAINT = (20, 22, 28), (226, 229, 235), (140, 147, 160)
_EVENT, _KEYS = (255, 201, 120), (150, 205, 255)


@dataclass(frozen=True)
class SheetPicture:
    """One picture of a contact sheet: pixels uint8 [height, width, 3], the words in force on it, the keys held."""

    pixels: NDArray[np.uint8]
    at_s: float
    prompt: str
    events: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


def contact_sheet(pictures: Sequence[SheetPicture], *, columns: int = 4, picture_width_px: int = 320) -> Image.Image:
    """Return pictures side by side with the words in force under each: the moment, the prompt, the events, the keys.

    All pictures have one size. At least one is needed.
    """
    assert pictures
    height, width = pictures[0].pixels.shape[:2]
    picture_height = round(height * picture_width_px / width)
    columns = min(columns, len(pictures))
    margin, gap, line, size = 16, 12, 18, 14
    font = ImageFont.load_default(size)
    characters = int(picture_width_px / font.getlength("n"))
    captions = [_caption(picture, characters) for picture in pictures]
    rows = [captions[start : start + columns] for start in range(0, len(captions), columns)]
    text_heights = [gap + line * max(len(lines) for lines in row) for row in rows]
    sheet = Image.new(
        "RGB",
        (
            2 * margin + columns * picture_width_px + (columns - 1) * gap,
            2 * margin + len(rows) * picture_height + sum(text_heights) + (len(rows) - 1) * gap,
        ),
        _PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    top = margin
    for row, text_height in enumerate(text_heights):
        for column, lines in enumerate(rows[row]):
            left = margin + column * (picture_width_px + gap)
            image = Image.fromarray(pictures[row * columns + column].pixels)
            sheet.paste(image.resize((picture_width_px, picture_height), Image.Resampling.BICUBIC), (left, top))
            for number, (text, colour) in enumerate(lines):
                draw.text((left, top + picture_height + gap // 2 + number * line), text, fill=colour, font=font)
        top += picture_height + text_height + gap
    return sheet


def save_sheet(sheet: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a contact sheet as PNG. Raises FilmError when the file cannot be written."""
    file = Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(file, format="PNG", optimize=True)
    except OSError as error:
        raise unwritable(file, error, folder=file.parent) from error


def _caption(picture: SheetPicture, characters: int) -> list[tuple[str, tuple[int, int, int]]]:
    """The lines under a picture, each with its colour; the default font knows no letters beyond Latin 1."""
    lines = [(f"{picture.at_s:.1f} s", _FAINT)]
    lines += [(text, _INK) for text in textwrap.wrap(picture.prompt, characters)]
    for event in picture.events:
        lines += [(text, _EVENT) for text in textwrap.wrap(f"+ {event}", characters)]
    lines += [(text, _KEYS) for text in textwrap.wrap(" ".join(picture.keys), characters)]
    return [(text.encode("latin-1", "replace").decode("latin-1"), colour) for text, colour in lines]
