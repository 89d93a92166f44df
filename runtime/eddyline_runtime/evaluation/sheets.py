"""Contact sheets of dreams: prompts down, time across, the words above each row."""

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from eddyline_runtime.evaluation.charts import FAINT, INK, PAPER, plain
from eddyline_runtime.evaluation.samples import Sample

COLUMNS = 7
"""Pictures a row: the first frame, the last, and what lies evenly between."""

_WIDEST_PX, _SMALL_PX = 256, 150
_MARGIN, _GAP, _LINE, _TEXT_SIZE, _TITLE_SIZE = 20, 5, 20, 15, 20


def cell_size(height: int, width: int) -> tuple[int, int]:
    """The height and width at which frames are shown: small ones enlarged by a whole number, large ones reduced."""
    if width > _WIDEST_PX:
        return max(1, round(height * _WIDEST_PX / width)), _WIDEST_PX
    zoom = -(-_SMALL_PX // width)
    return height * zoom, width * zoom


def contact_sheet(samples: Sequence[Sample], *, title: str, fps: float, columns: int = COLUMNS) -> Image.Image:
    """One row of `columns` pictures for each sample, under a title and the seconds.

    Args:
        samples: at least one; all of one size [T, H, W, 3]. They may be of different lengths; the seconds are those of
            the first.
        fps: frames a second.
    """
    height, width = cell_size(*samples[0].frames.shape[1:3])
    sheet_width = 2 * _MARGIN + columns * width + (columns - 1) * _GAP
    font, title_font = ImageFont.load_default(_TEXT_SIZE), ImageFont.load_default(_TITLE_SIZE)
    letters = int((sheet_width - 2 * _MARGIN) / font.getlength("n"))
    words = [textwrap.wrap(plain(sample.prompt), letters) for sample in samples]
    tops, top = [], _MARGIN + 3 * _LINE
    for lines in words:
        tops.append(top)
        top += len(lines) * _LINE + height + 3 * _GAP
    sheet = Image.new("RGB", (sheet_width, top - 3 * _GAP + _MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN), plain(title), fill=INK, font=title_font)
    lefts = [_MARGIN + column * (width + _GAP) for column in range(columns)]
    for left, frame in zip(lefts, _evenly(len(samples[0].frames), columns), strict=True):
        pen.text((left, _MARGIN + 2.5 * _LINE), f"{frame / fps:.1f} s", fill=FAINT, font=font, anchor="ls")
    for sample, lines, row in zip(samples, words, tops, strict=True):
        for number, line in enumerate(lines):
            pen.text((_MARGIN, row + (number + 0.8) * _LINE), line, fill=INK, font=font, anchor="ls")
        for left, frame in zip(lefts, _evenly(len(sample.frames), columns), strict=True):
            picture = Image.fromarray(sample.frames[frame])
            how = Image.Resampling.NEAREST if width >= picture.width else Image.Resampling.LANCZOS
            sheet.paste(picture.resize((width, height), how), (left, row + len(lines) * _LINE + _GAP))
    return sheet


def _evenly(count: int, parts: int) -> list[int]:
    return [round(index) for index in np.linspace(0, count - 1, parts)]
