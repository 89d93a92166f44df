"""Converted networks on disk, so that only the first start converts them.

An entry is a folder named by a digest of all that it was made from. It is written beside its place and moved there at
once, so processes that start together may both write it and none reads half of one. A digest of its files lies beside
them: after a power cut a file may have its length and not its content. The entries that were used last stay. A disk
that cannot be written costs the time of converting again, and nothing else.
"""

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from eddyline_runtime.files import sha256_of

MAX_ENTRIES = 8
"""Those of the embedded world are 38 and 5 MB."""
FILE = "network.xml"
DIGEST = "digest"

Model = TypeVar("Model")

log = logging.getLogger(__name__)


def cache_folder() -> Path | None:
    """Where converted networks are kept: under XDG_CACHE_HOME or ~/.cache; None where there is no such place."""
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(given) if given else Path.home() / ".cache") / "eddyline" / "networks"
    except RuntimeError:  # no home
        return None


def kept(folder: Path, key: str, read: Callable[[Path], Model]) -> Model | None:
    """What was kept under a key, read; None if there is nothing, or it cannot be read."""
    entry = folder / key
    if not (entry / FILE).is_file():
        return None
    try:
        if (entry / DIGEST).read_text(errors="replace") != _digest(entry):
            raise OSError("it is not what was written")
        found = read(entry / FILE)
        os.utime(entry)
    except (OSError, RuntimeError) as error:
        log.warning("%s cannot be read and is made again: %s", entry, error)
        shutil.rmtree(entry, ignore_errors=True)
        return None
    return found


def keep(folder: Path, key: str, write: Callable[[Path], None]) -> None:
    """Keep a network under a key; `write` is given the file to write, and may write others beside it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix="part-", dir=folder))
        try:
            write(part / FILE)
            (part / DIGEST).write_text(_digest(part))
            part.rename(folder / key)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        entries = sorted(filter(Path.is_dir, folder.iterdir()), key=lambda entry: entry.stat().st_mtime)
    except (OSError, RuntimeError) as error:
        if not (folder / key / FILE).is_file():  # else another process was first
            log.warning("the converted network is not kept in %s: %s", folder, error)
        return
    for entry in entries[:-MAX_ENTRIES]:
        shutil.rmtree(entry, ignore_errors=True)


def _digest(entry: Path) -> str:
    """Of all files of an entry and their names, but for the digest itself."""
    files = sorted(file for file in entry.iterdir() if file.name != DIGEST)
    return hashlib.sha256("\n".join(f"{file.name} {sha256_of(file)}" for file in files).encode()).hexdigest()
