"""How a command of pages ends: with the page in its file, or with what is in the way."""

import sys
from collections.abc import Callable
from pathlib import Path

from eddyline.errors import OptionError
from eddyline_runtime.arguments import MISTAKE
from eddyline_runtime.files import write_whole


def write_page(page: Path, text: Callable[[], str]) -> int:
    """Write what `text` makes into a file. Returns the exit status: MISTAKE where something in the way (an
    OptionError) is told."""
    try:
        write_whole(page, text())
    except OptionError as error:
        print(f"eddyline-runtime: {error}", file=sys.stderr)
        return MISTAKE
    return 0
