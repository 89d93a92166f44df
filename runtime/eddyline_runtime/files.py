"""Text files that are written whole or not at all."""

from contextlib import suppress
from pathlib import Path

from eddyline.errors import OptionError


def check_folder(path: Path) -> None:
    """Check that a file may be written later, so that nobody works for hours first.

    Raises:
        OptionError: there is no folder to write it into.
    """
    if not path.parent.is_dir():
        raise OptionError(f"{path} cannot be written: there is no folder {path.parent}; make it or name another")


def write_whole(path: Path, text: str) -> None:
    """Write a text beside `path`, then give it that name.

    Raises:
        OptionError: it cannot be written; what was there before is untouched.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):  # where it could not be made, there is nothing to take back
            part.unlink()
        raise OptionError(
            f"{path} cannot be written ({error.strerror}); name a file in a folder that may be written, on a disk "
            "with room"
        ) from error
