"""A journal of a runtime: what was asked of its engine, and what came of it, so that it can be played again.

A text file, one record a line: the digest of this line and all lines before it in hex, a space, the record as JSON. The
first record is the `Header`; each request follows before it is carried out, each tick after it was made and before
anybody is shown its frames, the `End` when the runtime ends. A line is written at once and whole, so that a runtime
that is killed leaves all lines before its end.
"""

import hashlib
import logging
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from eddyline.errors import ConfigError, JournalError
from eddyline_runtime.config import EngineConfig, Profile
from eddyline_runtime.engine import Engine
from eddyline_runtime.files import taken
from eddyline_runtime.networks.choice import computed_by
from eddyline_runtime.outcomes import Outcome, Told
from eddyline_runtime.release import release
from eddyline_runtime.requests import Command, Request
from eddyline_runtime.view import Chunk
from eddyline_runtime.weights import World, WorldCard

FORMAT = "eddyline-journal"
VERSION = 1
MAX_JOURNAL_BYTES = 1 << 28
"""What a journal may take; then it ends, and says so. An hour of one view at 16 frames a second takes 1.7 MB."""
MAX_LINE_BYTES = 1 << 26
"""No line is longer: the longest holds a snapshot."""
ROOM_FOR_THE_END = 4096
DIGEST_BYTES = 8

log = logging.getLogger(__name__)


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One call of the networks: the views in it, row by row, and a digest of each frame made for each of them."""

    views: tuple[int, ...]
    made_s: float
    frames: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if len(self.views) != len(self.frames):
            raise ValueError(f"a batch of {len(self.views)} views with frames of {len(self.frames)}")


class Dated(msgspec.Struct, frozen=True, kw_only=True):
    """What a tick said of words: their receipt's state, and its dates as frames of `epoch`."""

    view: int
    word: int
    state: str
    epoch: int
    first_influenced_frame: int | None = None
    first_full_frame: int | None = None


class Tick(msgspec.Struct, frozen=True, kw_only=True, tag="tick", omit_defaults=True):
    """One turn of the engine; without a batch it took a step of the scenes that begin."""

    batches: tuple[Batch, ...] = ()
    words: tuple[Dated, ...] = ()


class End(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    """The last record, and why it is the last."""

    reason: str


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """Where frames were made: they are the same bit for bit on the same one only."""

    eddyline: str
    torch: str
    machine: str
    device: str
    networks: str
    """What computes them, and the type of their numbers; see `networks.choice.computed_by`."""
    threads: int


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="journal", omit_defaults=True):
    """The first record: which world dreamed, how its engine was set, and where."""

    format: str = ""
    version: int = 0
    world: str
    served_as: str
    """The name or folder the world was loaded from."""
    random_weights: bool
    weights: str
    """`WorldCard.weights_id`."""
    fps: float
    profiles: dict[str, Profile]
    action_names: tuple[str, ...]
    text_encoder: str
    text_tokens: int
    engine: EngineConfig
    build: Build


Record = Header | Request | Tick | End


def frame_digest(pixels: NDArray[np.uint8]) -> str:
    """The digest of one frame, RGB [H, W, 3], in hex."""
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=DIGEST_BYTES).hexdigest()


def tick_record(batches: Sequence[Sequence[int]], outcomes: Sequence[Outcome]) -> Tick:
    """What a tick comes to in a journal: its batches, in order, and its outcomes."""
    chunks = iter([outcome for outcome in outcomes if isinstance(outcome, Chunk)])
    made = [(tuple(views), [next(chunks) for _ in views]) for views in batches]
    return Tick(
        batches=tuple(
            Batch(
                views=views,
                made_s=rows[0].made_s,
                frames=tuple(tuple(frame_digest(frame) for frame in chunk.frames) for chunk in rows),
            )
            for views, rows in made
        ),
        words=tuple(_dated(outcome) for outcome in outcomes if isinstance(outcome, Told)),
    )


def _dated(told: Told) -> Dated:
    note = told.note
    return Dated(
        view=told.view,
        word=note.id,
        state=note.state,
        epoch=told.epoch,
        first_influenced_frame=note.first_influenced_frame,
        first_full_frame=note.first_full_frame,
    )


def header(world: World, config: EngineConfig, *, served_as: str, random_weights: bool) -> Header:
    """The header of a journal of an engine of this world with this configuration, in this process."""
    card = world.card
    return Header(
        format=FORMAT,
        version=VERSION,
        world=card.name,
        served_as=served_as,
        random_weights=random_weights,
        weights=card.weights_id(),
        fps=card.fps,
        profiles=dict(card.profiles),
        action_names=card.action_names,
        text_encoder=card.text_encoder,
        text_tokens=card.text_tokens,
        engine=config,
        build=build_of(world),
    )


def build_of(world: World) -> Build:
    """Where this process computes the networks of a world."""
    parameter = next(world.model.parameters())
    on_host = parameter.device.type == "cpu"
    device = torch.backends.cpu.get_cpu_capability() if on_host else torch.cuda.get_device_name(parameter.device)
    return Build(
        eddyline=release(),
        torch=str(torch.__version__),
        machine=f"{platform.system()} {platform.machine()}",
        device=f"{parameter.device.type} {device}",
        networks=computed_by(world),
        threads=torch.get_num_threads(),
    )


def other_build(then: Build, now: Build) -> str:
    """In what two builds differ, in words; empty where they are the same."""
    names = [name for name in Build.__struct_fields__ if getattr(then, name) != getattr(now, name)]
    return ", ".join(f"{name} {getattr(then, name)} then, {getattr(now, name)} now" for name in names)


def check_same_world(told: Header, card: WorldCard) -> None:
    """Raises JournalError where frames of a journal mean something else to the world with this card."""
    here = {
        "weights": card.weights_id(),
        "frames a second": card.fps,
        "profiles": dict(card.profiles),
        "actions": card.action_names,
        "text encoder": (card.text_encoder, card.text_tokens),
    }
    there = {
        "weights": told.weights,
        "frames a second": told.fps,
        "profiles": told.profiles,
        "actions": told.action_names,
        "text encoder": (told.text_encoder, told.text_tokens),
    }
    other = [name for name, value in there.items() if here[name] != value]
    if other:
        raise JournalError(
            f"the journal is of the world {told.world!r} with other {', '.join(other)} than {card.name!r} has here; "
            "name the world it was made with by --model"
        )


class JournalWriter:
    """Writes a journal. A context manager that ends it.

    A journal that cannot go on (its limit is reached, the disk is full) ends; the log and `on_cut` tell, and the
    runtime goes on.
    All methods belong to one thread at a time.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        head: Header,
        *,
        limit_bytes: int = MAX_JOURNAL_BYTES,
        on_cut: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_cut` is told why a journal ends before its runtime does.

        Raises JournalError when the file is there already or cannot be written.
        """
        self.path = Path(path)
        self._on_cut = on_cut
        self._left = limit_bytes - ROOM_FOR_THE_END
        self._limit_bytes = limit_bytes
        self._digest = b""
        self._encoder = msgspec.json.Encoder()
        self._file: int | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            if os.path.lexists(self.path):
                raise JournalError(taken(self.path)) from None
            raise JournalError(f"{self.path} cannot be written ({error.strerror}); choose another folder") from error
        self.write(head)

    def write(self, record: Record) -> None:
        """Add a record. Does nothing once the journal has ended."""
        if self._file is None:
            return
        line = self._line(record)
        if len(line) > min(self._left, MAX_LINE_BYTES):
            if self._end(f"it reached its limit of {self._limit_bytes} bytes; what came after is not in it"):
                self._tell_cut(f"its limit of {self._limit_bytes} bytes is reached")
            return
        self._left -= len(line)
        self._put(line)

    def close(self, reason: str = "the runtime ended") -> None:
        """End the journal, and say why. Calling it again does nothing."""
        if self._file is not None:
            self._end(reason[:1024])

    def __enter__(self) -> "JournalWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _line(self, record: Record) -> bytes:
        encoded = self._encoder.encode(record)
        return b"%s %s\n" % (_chained(self._digest, encoded).hex().encode(), encoded)

    def _put(self, line: bytes) -> bool:
        """Write a line; False, and that is told, where it cannot be written."""
        assert self._file is not None
        try:
            written = os.write(self._file, line)
            trouble = "" if written == len(line) else "the disk took only a part of a record"
        except OSError as error:
            trouble = str(error.strerror)
        if trouble:
            self._close()
            self._tell_cut(f"it cannot be written: {trouble}")
            return False
        self._digest = bytes.fromhex(line[: 2 * DIGEST_BYTES].decode())
        return True

    def _end(self, reason: str) -> bool:
        """Write down why it ends; False where that cannot be written."""
        written = self._put(self._line(End(reason=reason)))
        self._close()
        return written

    def _tell_cut(self, reason: str) -> None:
        log.warning("the journal %s ends: %s", self.path, reason)
        self._on_cut(reason)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


class Journaled:
    """An engine of which a journal is kept, where there is one: a request is written down before it is carried out, a
    tick once it was made."""

    def __init__(self, engine: Engine, journal: JournalWriter | None) -> None:
        self._engine = engine
        self._journal = journal

    def carry_out(self, command: Command) -> Iterable[Outcome]:
        """Do what a command says; one that is no `Request` changes nothing, and is not written down."""
        if self._journal is not None and isinstance(command, Request):
            self._journal.write(command)
        return command(self._engine)

    def tick(self, now_s: float) -> list[Outcome]:
        """One turn of the engine; see `Engine.tick`."""
        outcomes = self._engine.tick(now_s)
        if self._journal is not None:
            self._journal.write(tick_record(self._engine.batches, outcomes))
        return outcomes

    def end(self, reason: str) -> None:
        """End the journal."""
        if self._journal is not None:
            self._journal.close(reason)


def _chained(before: bytes, encoded: bytes) -> bytes:
    return hashlib.blake2b(encoded, digest_size=DIGEST_BYTES, key=before).digest()


class JournalReader:
    """Reads a journal record by record. Iterating gives each record after the header with the number of its line."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises JournalError when the file is missing, none, of a later version, or cut before its first record."""
        self.path = Path(path)
        self.ended = ""
        """Why the journal ends, as it says itself; known when all was read. Empty when it does not say."""
        self.left_out_bytes = 0
        """What a last record that is not whole took, and was left out; known when all was read."""
        try:
            with open(self.path, "rb") as file:
                self.header = self._read_header(file)
        except OSError as error:
            raise JournalError(f"{self.path} cannot be read ({error.strerror}); name a file of --journal") from error

    def __iter__(self) -> Iterator[tuple[int, Request | Tick | End]]:
        self.ended, number = "", 0
        with open(self.path, "rb") as file:
            for encoded in self._lines(file):
                number += 1
                record = _decoded(encoded, f"{self.path}, line {number}")
                if isinstance(record, Header):
                    if number > 1:
                        raise JournalError(f"{self.path}, line {number}: a second header; the file was changed")
                    continue
                if self.ended:
                    raise JournalError(f"{self.path}, line {number}: there is more after the end; the file was changed")
                if isinstance(record, End):
                    self.ended = record.reason
                yield number, record

    def _read_header(self, file: BinaryIO) -> Header:
        told = _told(file.readline(MAX_LINE_BYTES)[2 * DIGEST_BYTES + 1 :])
        if told.get("format") != FORMAT:
            raise JournalError(
                f"{self.path} is no journal of a runtime, or was cut in its first line; name a file of --journal"
            )
        if told.get("version") != VERSION:
            raise JournalError(
                f"{self.path} is of version {told.get('version')}, this one reads {VERSION}; play it again with the "
                "release that wrote it"
            )
        file.seek(0)
        first = next(self._lines(file), None)
        record = None if first is None else _decoded(first, f"{self.path}, line 1")
        if not isinstance(record, Header):
            raise JournalError(f"{self.path} was cut in its first line; there is nothing to play again")
        return record

    def _lines(self, file: BinaryIO) -> Iterator[bytes]:
        """The records that are whole, as JSON, each checked against its digest."""
        digest, number = b"", 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if not line.endswith(b"\n"):
                if len(line) > MAX_LINE_BYTES:
                    raise JournalError(f"{self.path}, line {number}: longer than any record; the file was changed")
                self.left_out_bytes = len(line)
                return
            encoded = line[2 * DIGEST_BYTES + 1 : -1]
            digest = _chained(digest, encoded)
            if line[: 2 * DIGEST_BYTES + 1] != digest.hex().encode() + b" ":
                raise JournalError(
                    f"{self.path}, line {number}: this line, or one before it, was changed or taken out after it was "
                    "written; use the file as the runtime left it"
                )
            yield encoded


def _told(encoded: bytes) -> dict[str, Any]:
    try:
        told = msgspec.json.decode(encoded)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _decoded(encoded: bytes, where: str) -> Record:
    try:
        record: Record = msgspec.json.decode(encoded, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError, ConfigError, RecursionError) as error:
        raise JournalError(f"{where}: it says what no record says ({error}); use the release that wrote it") from error
    return record
