"""The command: it reads a page and measurements, and writes the page."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from eddyline.errors import OptionError
from eddyline_runtime import page
from eddyline_runtime.page.marks import with_tables
from eddyline_runtime.page.writing import write_page


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise OptionError(
            f"{file} cannot be read ({error.strerror}); name a Markdown file with marked tables"
        ) from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{file} is no text in UTF-8 ({error.reason}); save it as such") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and write the page; 2 where something in the way is told."""
    parser = argparse.ArgumentParser(
        prog="python -m eddyline_runtime.page",
        description=page.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("page", type=Path, help="a Markdown file with marked tables")
    parser.add_argument("measurements", type=Path, help="a folder of what evaluate and bench wrote with --json")
    given = parser.parse_args(arguments)
    return write_page(given.page, lambda: with_tables(_read(given.page), given.measurements))


if __name__ == "__main__":
    raise SystemExit(main())
