"""The files of films and contact sheets: the name of a film, the folder they go to, and why one cannot be written."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from eddyline.errors import FilmError, OptionError


def film_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of a film. Raises OptionError unless it is the name of an mp4, which is what films are."""
    file = Path(path)
    if file.suffix != ".mp4":
        raise OptionError(f"a view cannot be filmed into {file}; give the name of a file that ends in .mp4")
    if file.is_dir():
        raise OptionError(f"a view cannot be filmed into {file}, which is a folder; give the name of a file")
    return file


def check_folder(folder: Path) -> None:
    """Raise FilmError where files cannot be written into a folder, or one cannot be made; leave nothing behind."""
    try:
        with tempfile.TemporaryDirectory(dir=_nearest(folder)):
            pass
    except OSError as error:
        raise unwritable(folder, error, folder=folder) from error


def unwritable(path: Path, error: Exception, *, folder: Path) -> FilmError:
    """What is told when a file in `folder`, or the folder, cannot be written: what is in the way, and what to do."""
    there = _nearest(folder)
    if there.is_dir():
        reason = f"{there} does not take it: {getattr(error, 'strerror', None) or error}"
    elif _is_there(there):
        reason = f"{there} is a file, not a folder"
    else:
        reason = f"there is no {there}"
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    cure = "free space, or choose another folder" if full else "choose another folder"
    return FilmError(f"{path}: cannot be written ({reason}); {cure} (eddyline play: --out)")


def _nearest(folder: Path) -> Path:
    """A folder, or the first above it that is there; the last of them where none is, as on a drive that is not."""
    with contextlib.suppress(OSError):  # the working directory is gone
        folder = folder.absolute()
    above = (folder, *folder.parents)
    return next((one for one in above if _is_there(one)), above[-1])


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
