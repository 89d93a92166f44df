"""Where tables go on a page, and which there are."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from eddyline.errors import OptionError
from eddyline_runtime.page.measured import read_measured
from eddyline_runtime.page.rivals import rivals_table, sweep_table
from eddyline_runtime.page.speed import speed_table, views_table
from eddyline_runtime.page.words import stream_table, words_table

_MARKED = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)

TABLES: Mapping[str, Callable[[Path], str]] = {
    "speed": speed_table,
    "views": views_table,
    "words": lambda folder: words_table(read_measured(folder)),
    "stream": lambda folder: stream_table(read_measured(folder)),
    "rivals": lambda folder: rivals_table(read_measured(folder)),
    "sweep": lambda folder: sweep_table(read_measured(folder)),
}
"""Each from the folder of measurements."""


def with_tables(page: str, folder: Path) -> str:
    """The page with every marked table as it was measured.

    Raises:
        OptionError: no table is marked, one that is marked is unknown, its end is missing, or what it tells was not
            measured.
    """
    marks = re.findall(r"<!-- table: (\w+) -->", page)
    unknown = [name for name in marks if name not in TABLES]
    if not marks or unknown:
        raise OptionError(
            f"the page marks {', '.join(map(repr, unknown)) or 'no table'}; put <!-- table: NAME --> and "
            f"<!-- end of table --> on lines of their own, where NAME is one of {', '.join(TABLES)}"
        )
    done, found = _MARKED.subn(lambda m: f"{m[1]}{TABLES[m[2]](folder)}\n{m[4]}", page)
    if found != len(marks):
        raise OptionError(
            f"of {len(marks)} tables that the page marks {found} have an end; put <!-- end of table --> after each"
        )
    return done
