"""Snapshots: a view as it was at one moment, as a file that a runtime goes on from, also in another process.

    snapshot = view.snapshot()                       # returns at once; the file comes with `poll()`
    ...
    if snapshot.state == "taken":
        snapshot.save("courtyard.eddyline")
    ...
    view = runtime.restore_view(Path("courtyard.eddyline").read_bytes())

The file is the runtime's: safetensors, with metadata in JSON. Of these the SDK reads the words, and no more.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from eddyline.errors import SnapshotError
from eddyline.protocol import MAX_SNAPSHOT_HEADER_BYTES, SNAPSHOT_FORMAT, Seed, Text, check_text_bytes

if TYPE_CHECKING:
    from eddyline.view import View

SnapshotState: TypeAlias = Literal["asked", "taken", "failed"]
"""Where a snapshot stands; `Snapshot.reason` says why it failed."""


class Snapshot:
    """A view as it was at one moment. Made by `View.snapshot()`; filled in when the file has come."""

    def __init__(self, id: int, view: View) -> None:
        self.id = id
        """Its number on this connection."""
        self.view = view
        """The view that was saved."""
        self.state: SnapshotState = "asked"
        """At first "asked"; then "taken" when the file has come, or "failed"."""
        self.data: bytes | None = None
        """The file, once it is taken."""
        self.reason = ""
        """Why it failed; else empty."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file; what was there stays until all is written.

        Raises SnapshotError while there is nothing to write, OSError when the disk does not take it.
        """
        if self.data is None:
            why = self.reason or "it has not come yet; `poll()` tells by SnapshotTaken"
            raise SnapshotError(f"the snapshot of {self.view} cannot be saved: {why}")
        target = Path(path)
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        try:
            part.write_bytes(self.data)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def take(self, data: bytes) -> None:
        """Internal: the file came. Called by the socket thread."""
        self.data, self.state = data, "taken"

    def fail(self, reason: str) -> None:
        """Internal: it will not come. Called by the socket thread."""
        self.reason, self.state = reason, "failed"

    def __repr__(self) -> str:
        size = "" if self.data is None else f", {len(self.data)} bytes"
        return f"<Snapshot {self.id} of {self.view}: {self.state}{size}{f', {self.reason}' if self.reason else ''}>"


@dataclass(frozen=True)
class SnapshotInfo:
    """What a snapshot says of itself: the world, the standing prompt, the seed, the frame stride."""

    world: str
    prompt: str
    seed: int
    stride: Literal[1, 2, 4]


class _Words(msgspec.Struct, frozen=True):
    prompt: Text

    def __post_init__(self) -> None:
        check_text_bytes(self.prompt)


class _Noise(msgspec.Struct, frozen=True):
    seed: Seed


class _Moment(msgspec.Struct, frozen=True):
    """Of the metadata's `moment`, what is of interest here."""

    world: str
    stride: Literal[1, 2, 4]
    noise: _Noise
    words: _Words


class _Metadata(msgspec.Struct, frozen=True):
    format: str
    moment: str


class _Header(msgspec.Struct, frozen=True):
    metadata: _Metadata = msgspec.field(name="__metadata__")


def snapshot_info(data: bytes) -> SnapshotInfo:
    """What a snapshot says of itself; whether a runtime can go on from it, that runtime says.

    Raises SnapshotError when it is cut or something else.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 0 < size <= min(MAX_SNAPSHOT_HEADER_BYTES, len(data) - 8):
        raise SnapshotError(
            f"these {len(data)} bytes are no snapshot, or one that was cut; give a file of Snapshot.save()"
        )
    try:
        metadata = msgspec.json.decode(data[8 : 8 + size], type=_Header).metadata
        moment = msgspec.json.decode(metadata.moment, type=_Moment)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise SnapshotError(f"this is no snapshot ({error}); give a file of Snapshot.save()") from error
    if metadata.format != SNAPSHOT_FORMAT:
        raise SnapshotError(f"this is no snapshot (format {metadata.format!r}, expected {SNAPSHOT_FORMAT!r})")
    return SnapshotInfo(moment.world, moment.words.prompt, moment.noise.seed, moment.stride)
