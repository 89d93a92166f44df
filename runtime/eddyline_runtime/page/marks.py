"""Where tables go on a page, and which there are."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from eddyline.errors import OptionError
from eddyline_runtime.page.measured import Measured, read_measured
from eddyline_runtime.page.rivals import rivals_table, sweep_table
from eddyline_runtime.page.speed import speed_table, views_table
from eddyline_runtime.page.words import stream_table, words_table

_MARKED = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)

_OF_BENCHES: Mapping[str, Callable[[Path], str]] = {"speed": speed_table, "views": views_table}
_OF_EVALUATIONS: Mapping[str, Callable[[Measured], str]] = {
    "words": words_table,
    "stream": stream_table,
    "rivals": rivals_table,
    "sweep": sweep_table,
}
TABLES = (*_OF_BENCHES, *_OF_EVALUATIONS)
"""What a page can mark."""


def table(name: str, folder: Path) -> str:
    """One of `TABLES` of what a folder holds.

    Raises:
        OptionError: what it tells was not measured, or a file of it cannot be used.
    """
    return _OF_BENCHES[name](folder) if name in _OF_BENCHES else _OF_EVALUATIONS[name](read_measured(folder))


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
    done, found = _MARKED.subn(lambda m: f"{m[1]}{table(m[2], folder)}\n{m[4]}", page)
    if found != len(marks):
        raise OptionError(
            f"of {len(marks)} tables that the page marks {found} have an end; put <!-- end of table --> after each"
        )
    return done
