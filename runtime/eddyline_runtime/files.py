"""Files: whether they can be written later, how they are written whole or not at all, and what a file's digest is."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from eddyline.errors import JournalError, OptionError


def check_writable(path: Path) -> None:
    """Check that a file can be written later, so that nobody works for hours first; leaves nothing behind.

    Raises:
        OptionError: it is a folder, its name cannot be one, or its folder is not there or takes no file.
    """
    try:
        if path.is_dir():
            raise OptionError(f"{path} is a folder; name a file in it")
        if not path.parent.is_dir():
            raise OptionError(f"{path} cannot be written: there is no folder {path.parent}; make it or name another")
    except OSError as error:  # the name is too long, or the way there is closed
        raise OptionError(f"{path} cannot be written ({error.strerror}); name another file") from error
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OptionError(f"{path.parent} takes no file ({error.strerror}); name another folder") from error


def taken(path: Path) -> str:
    """What is told where a journal is to begin in a file that is there."""
    return f"{path} is there already; name another file, or remove it"


def check_new_journal(path: Path) -> None:
    """Check that a journal can begin, before a model is loaded for it; makes its folder.

    Raises:
        JournalError: the file is there already, its name cannot be one, or its folder cannot be made or takes no file.
    """
    if os.path.lexists(path):
        raise JournalError(taken(path))
    try:
        make_folder(path.parent)
        check_writable(path)
    except OptionError as error:
        raise JournalError(f"a journal cannot begin: {error}") from error


def make_folder(path: Path) -> None:
    """Make a folder, if it is not there.

    Raises:
        OptionError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"the folder {path} cannot be made ({error.strerror}); name another") from error


def write_whole(path: Path, text: str) -> None:
    """Write a text; see `whole`."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file beside `path` to be written within; at the end it is given that name.

    Raises:
        OptionError: it cannot be written; what was there before is untouched.
    """
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    except BaseException as error:
        with suppress(OSError):  # where it could not be made, there is nothing to take back
            part.unlink()
        if not isinstance(error, OSError):
            raise
        raise OptionError(
            f"{path} cannot be written ({error.strerror or error}); name a file in a folder that may be written, on a "
            "disk with room"
        ) from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits; a large one is read piece by piece. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
