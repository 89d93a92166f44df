"""Record any game - frames, captions, actions, at a fixed rate - and read it back.

    with Recorder("out/my_game", fps=16, height=96, width=160, action_names=["ArrowLeft", "ArrowRight"]) as recorder:
        recorder.begin_clip(seed=7)
        for frame in game:                                   # uint8 [height, width, 3]
            recorder.add(frame, caption="a fox runs through snow", actions=[0.0, 1.0])

    for clip in Recording("out/my_game"):
        clip.frames, clip.captions, clip.actions             # [T, H, W, 3], T texts, [T, A]

The format, version 1. A recording is a folder:

    index.json              what is recorded: written anew (to a temporary file, then renamed) after each finished shard
    00000.npz               a shard: a zip (deflate) of a few clips; `numpy.load` opens it as it is
      0/frames.npy          uint8   [T, height, width, 3], RGB
      0/actions.npy         float32 [T, num_actions], each -1 ... 1
      0/words.json          {"captions": [[first_frame, text], ...], "labels": {name: [[first_frame, text], ...]}}
      1/frames.npy ...
    00000.npz.1f00.part     the shard being written; nobody reads it, and a crash leaves at most this one behind

Captions and labels are runs: a text holds from its first frame to the next run's. `index.json` names every finished
shard with its size in bytes and the length and seed of each of its clips, so a shard that was cut is found when the
recording is opened. Several processes may record into one folder, each under its own `shard_prefix`: the index is then
`index-PREFIX.json`, the shards `PREFIX-00000.npz`; a reader takes all indexes together, in the order of their names.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import secrets
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Annotated, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from eddyline.errors import RecordingError

FORMAT: Literal["eddyline-recording"] = "eddyline-recording"
VERSION = 1
MAX_SIDE_PX = 8192
MAX_CAPTION_CHARS = 4096
MAX_NPY_HEADER_BYTES = 4096

_Scalar = TypeVar("_Scalar", bound=np.generic)
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Side = Annotated[int, msgspec.Meta(ge=1, le=MAX_SIDE_PX)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


class _Shard(msgspec.Struct, frozen=True):
    """One finished shard, as the index names it."""

    file: _Name
    bytes: _Count
    lengths: tuple[_Count, ...]
    seeds: tuple[int | None, ...]


class _Index(msgspec.Struct, frozen=True):
    """The content of one index file."""

    format: Literal["eddyline-recording"]
    version: int
    fps: Annotated[float, msgspec.Meta(gt=0, le=1000)]
    height: _Side
    width: _Side
    action_names: tuple[_Name, ...]
    metadata: dict[str, str]
    shards: tuple[_Shard, ...]


_Run = tuple[Annotated[int, msgspec.Meta(ge=0)], str]


class _Words(msgspec.Struct, frozen=True):
    """The content of one clip's `words.json`."""

    captions: tuple[_Run, ...]
    labels: dict[str, tuple[_Run, ...]]


@dataclass(frozen=True)
class RecordingInfo:
    """What all clips of a recording have in common.

    fps: frames a second; height, width: pixels; action_names: what each number of `RecordedClip.actions` means;
    metadata: free words about the recording (the game, its version, a licence).
    """

    fps: float
    height: int
    width: int
    action_names: tuple[str, ...]
    metadata: dict[str, str]


@dataclass(frozen=True, eq=False)
class RecordedClip:
    """An unbroken stretch of T frames.

    frames: uint8 [T, height, width, 3]; captions: the words of each frame; actions: float32 [T, num_actions],
    -1 ... 1; labels: for each label name its T values; seed: what `Recorder.begin_clip` was given.
    """

    frames: NDArray[np.uint8]
    captions: tuple[str, ...]
    actions: NDArray[np.float32]
    labels: dict[str, tuple[str, ...]]
    seed: int | None = None


@dataclass(frozen=True)
class _Listed:
    """Where a clip is, as an index lists it."""

    index_file: Path
    file: Path
    number: int
    length: int
    seed: int | None


class Recorder:
    """Writes a recording into a folder. A context manager: leaving it finishes the open shard, even if the game raised.

    fps: 0 ... 1000; height, width: 1 ... 8192 pixels; action_names: what the numbers given to `add` mean, may be empty.
    clips_per_shard: a shard is finished, and safe from a crash, after this many clips.
    max_clip_frames: a clip that grows longer goes on as a new clip, so that memory stays bounded.
    shard_prefix: letters, digits, `_` and `-`; one for each process that records into the same folder.
    A folder that already holds a recording of the same shape and prefix is continued; of its metadata, what is not
    given here stays.

    Raises RecordingError for values out of range, for a folder that cannot be written or holds a recording of another
    shape.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fps: float,
        height: int,
        width: int,
        action_names: Sequence[str],
        metadata: Mapping[str, str] | None = None,
        clips_per_shard: int = 16,
        max_clip_frames: int = 2048,
        shard_prefix: str = "",
    ) -> None:
        self.path = Path(path)
        if not (math.isfinite(fps) and 0 < fps <= 1000):
            raise RecordingError(f"fps={fps} is out of range; give frames a second between 0 and 1000")
        if not (1 <= height <= MAX_SIDE_PX and 1 <= width <= MAX_SIDE_PX):
            raise RecordingError(
                f"a frame of {height} x {width} is out of range; each side has 1 to {MAX_SIDE_PX} pixels"
            )
        if clips_per_shard < 1 or max_clip_frames < 1:
            raise RecordingError(
                f"clips_per_shard={clips_per_shard} and max_clip_frames={max_clip_frames}: both must be at least 1"
            )
        if isinstance(action_names, str) or any(not isinstance(name, str) or not name for name in action_names):
            raise RecordingError(f"action_names={action_names!r}: give a list of names, such as ['ArrowLeft', 'KeyA']")
        if len(set(action_names)) != len(action_names):
            raise RecordingError(f"action_names={list(action_names)} repeat themselves; each action has its own name")
        if not re.fullmatch(r"[A-Za-z0-9_-]{0,64}", shard_prefix):
            raise RecordingError(f"shard_prefix={shard_prefix!r}: use at most 64 letters, digits, '_' and '-'")
        self.info = RecordingInfo(float(fps), int(height), int(width), tuple(action_names), dict(metadata or {}))
        self.clips_per_shard = clips_per_shard
        self.max_clip_frames = max_clip_frames
        self._stem = f"{shard_prefix}-" if shard_prefix else ""
        self._index_path = self.path / (f"index-{shard_prefix}.json" if shard_prefix else "index.json")
        self._token = secrets.token_hex(2)
        self._shards: list[_Shard] = []
        self._closed = False
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordingError(
                f"{self.path}: the folder cannot be made ({error.strerror}); choose another path or free it"
            ) from error
        for file, index in _read_indexes(self.path):
            self._check_shape(file, index)
            if file == self._index_path:
                self._continue(index)
        self._next_shard = self._first_free_number()
        self._zip: zipfile.ZipFile | None = None
        self._part = self.path
        self._open_lengths: list[int] = []
        self._open_seeds: list[int | None] = []
        self._reset_clip(None)

    def begin_clip(self, *, seed: int | None = None) -> None:
        """End the open clip and begin a new one. `seed` is kept with the clip; a clip without frames is not kept."""
        self._require_open()
        self._finish_clip()
        self._reset_clip(seed)

    def add(
        self,
        frame: NDArray[np.uint8],
        *,
        caption: str,
        actions: Sequence[float] | NDArray[np.floating],
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Add the next frame; it is copied.

        frame: uint8 [height, width, 3], RGB. caption: the words that hold on this very frame, not empty, up to 4096
        characters. actions: one number in -1 ... 1 for each of `action_names`. labels: further texts, under the same
        names on all frames of a clip. The first frame begins a clip by itself if `begin_clip` was not called.

        Raises RecordingError when a value does not fit; the recording is then as it was before the call.
        """
        self._require_open()
        self._check_frame(frame)
        if not isinstance(caption, str) or not caption.strip():
            raise RecordingError(f"{self.path}: caption={caption!r}; every frame needs words, say what is to be seen")
        if len(caption) > MAX_CAPTION_CHARS:
            raise RecordingError(
                f"{self.path}: a caption of {len(caption)} characters; at most {MAX_CAPTION_CHARS} fit, shorten it"
            )
        row = self._check_actions(actions)
        given = labels or {}
        if self._frames and given.keys() != self._labels.keys():
            raise RecordingError(
                f"{self.path}: labels {sorted(given)} after frames with labels {sorted(self._labels)}; "
                "give the same names on all frames of a clip, or call begin_clip()"
            )
        if any(not isinstance(value, str) for value in given.values()):
            raise RecordingError(f"{self.path}: labels={dict(given)!r}; values are texts, convert numbers with str()")
        for text in (caption, *given, *given.values()):
            if not _is_utf8(text):
                raise RecordingError(f"{self.path}: {text!r} cannot be written as UTF-8; remove its lone surrogates")
        if len(self._frames) == self.max_clip_frames:
            self.begin_clip(seed=self._seed)
        at = len(self._frames)
        self._frames.append(np.array(frame, order="C"))
        self._actions.append(row)
        _append_run(self._captions, at, caption)
        for name, value in given.items():
            _append_run(self._labels.setdefault(name, []), at, value)

    def close(self) -> None:
        """Finish the open clip and shard. Calling it again does nothing."""
        if self._closed:
            return
        try:
            self._finish_clip()
            self._finish_shard()
            if not self._shards:
                self._write_index()
        finally:
            self._closed = True

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._closed:
            raise RecordingError(f"{self.path}: this recorder is closed; a new Recorder continues the recording")

    def _check_frame(self, frame: NDArray[np.uint8]) -> None:
        shape = (self.info.height, self.info.width, 3)
        if not isinstance(frame, np.ndarray):
            raise RecordingError(
                f"{self.path}: a frame of type {type(frame).__name__}; give a numpy array, uint8 {list(shape)}"
            )
        if frame.dtype != np.uint8:
            raise RecordingError(
                f"{self.path}: a frame of {frame.dtype}; frames are uint8, 0 to 255: scale, then .astype(np.uint8)"
            )
        if frame.shape != shape:
            raise RecordingError(
                f"{self.path}: a frame of shape {list(frame.shape)} in a recording of {list(shape)} (height, width, "
                "RGB); scale the frame, or record other sizes into another folder"
            )

    def _check_actions(self, actions: Sequence[float] | NDArray[np.floating]) -> tuple[float, ...]:
        try:
            row = tuple(float(number) for number in actions)
        except (TypeError, ValueError) as error:
            raise RecordingError(f"{self.path}: actions={actions!r}; give one number for each action name") from error
        if len(row) != len(self.info.action_names):
            raise RecordingError(
                f"{self.path}: {len(row)} actions for {len(self.info.action_names)} names "
                f"{list(self.info.action_names)}; give one number for each, in this order"
            )
        if not all(-1.0 <= number <= 1.0 for number in row):
            raise RecordingError(f"{self.path}: actions={list(row)}; each lies between -1 and 1 (a held key is 1)")
        return row

    def _check_shape(self, file: Path, index: _Index) -> None:
        """Whether what is already in the folder, under whichever prefix, can be read together with this recording."""
        before = _info(index)
        if _shape(before) != _shape(self.info):
            raise RecordingError(
                f"{file}: holds a recording of {_describe(before)}, this one is {_describe(self.info)}; "
                "record into another folder, or delete this one"
            )

    def _continue(self, index: _Index) -> None:
        """Take over the shards and the metadata of the recording that is already there under this prefix."""
        self._shards = list(index.shards)
        self.info = replace(self.info, metadata={**index.metadata, **self.info.metadata})

    def _first_free_number(self) -> int:
        """One more than any shard of this prefix, listed or not: a shard is never written twice."""
        pattern = re.compile(re.escape(self._stem) + r"(\d{5,})\.npz")
        numbers = [int(match[1]) for file in self.path.iterdir() if (match := pattern.fullmatch(file.name))]
        return max(numbers, default=-1) + 1

    def _reset_clip(self, seed: int | None) -> None:
        self._seed = seed
        self._frames: list[NDArray[np.uint8]] = []
        self._actions: list[tuple[float, ...]] = []
        self._captions: list[tuple[int, str]] = []
        self._labels: dict[str, list[tuple[int, str]]] = {}

    def _finish_clip(self) -> None:
        """Write the open clip into the open shard; finish the shard when it is full."""
        if not self._frames:
            return
        length = len(self._frames)
        number = len(self._open_lengths)
        actions = np.array(self._actions, np.float32).reshape(length, len(self.info.action_names))
        words = {"captions": self._captions, "labels": self._labels}
        try:
            if self._zip is None:
                self._part = self.path / f"{self._stem}{self._next_shard:05d}.npz.{self._token}.part"
                # Level 1: a third larger than the default, and several times as fast.
                self._zip = zipfile.ZipFile(self._part, "x", zipfile.ZIP_DEFLATED, compresslevel=1)
            with self._zip.open(f"{number}/frames.npy", "w", force_zip64=True) as file:
                _write_frames(file, self._frames)
            with self._zip.open(f"{number}/actions.npy", "w") as file:
                np.lib.format.write_array(file, actions)
            self._zip.writestr(f"{number}/words.json", json.dumps(words, ensure_ascii=False))
        except OSError as error:
            raise self._write_error(self._part, error) from error
        self._open_lengths.append(length)
        self._open_seeds.append(self._seed)
        self._reset_clip(None)
        if len(self._open_lengths) == self.clips_per_shard:
            self._finish_shard()

    def _finish_shard(self) -> None:
        """Close the open shard, give it its name, and only then list it in the index."""
        if self._zip is None:
            return
        final = self.path / f"{self._stem}{self._next_shard:05d}.npz"
        try:
            self._zip.close()
            _sync(self._part)
            if final.exists():
                raise RecordingError(
                    f"{final}: written by another recorder meanwhile; give each process its own shard_prefix "
                    f"(what was recorded here is kept in {self._part.name})"
                )
            self._part.rename(final)
            size = final.stat().st_size
        except OSError as error:
            raise self._write_error(final, error) from error
        self._shards.append(_Shard(final.name, size, tuple(self._open_lengths), tuple(self._open_seeds)))
        self._write_index()
        self._zip = None
        self._open_lengths, self._open_seeds = [], []
        self._next_shard += 1

    def _write_index(self) -> None:
        info = self.info
        index = _Index(
            format=FORMAT,
            version=VERSION,
            fps=info.fps,
            height=info.height,
            width=info.width,
            action_names=info.action_names,
            metadata=info.metadata,
            shards=tuple(self._shards),
        )
        temporary = self._index_path.with_name(f"{self._index_path.name}.{self._token}.part")
        try:
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(index), indent=1) + b"\n")
            _sync(temporary)
            temporary.replace(self._index_path)
        except OSError as error:
            raise self._write_error(self._index_path, error) from error

    def _write_error(self, file: Path, error: OSError) -> RecordingError:
        """The recorder is of no use after this: what is listed in the index is safe, the open shard is lost."""
        self._closed = True
        if self._zip is not None:
            with suppress(OSError, ValueError):  # now, or its destructor would try, and print what came of it
                self._zip.close()
        return RecordingError(
            f"{file}: cannot be written ({error.strerror}); {len(self._shards)} finished shards are safe. "
            "Free space or choose another folder, then open a new Recorder"
        )


class Recording:
    """Reads a recording, clip by clip. Opening reads the indexes only; `recording[i]` reads one clip.

    Safe to use from several threads and after a fork: no file stays open.

    Raises RecordingError, naming the file and the cure, for a folder that is missing or holds no recording, and for
    shards that are missing or cut.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise RecordingError(f"{self.path}: no such folder; give the folder that a Recorder wrote")
        indexes = _read_indexes(self.path)
        if not indexes:
            raise RecordingError(
                f"{self.path}: holds no recording (no index.json); give the folder that a Recorder wrote. "
                "A recorder that never finished its first shard left none"
            )
        infos = [_info(index) for _, index in indexes]
        for (file, _), info in zip(indexes, infos, strict=True):
            if _shape(info) != _shape(infos[0]):
                raise RecordingError(
                    f"{file}: records {_describe(info)}, {indexes[0][0].name} beside it {_describe(infos[0])}; "
                    "keep recordings of different shapes in different folders"
                )
        metadata: dict[str, str] = {}
        for info in reversed(infos):
            metadata.update(info.metadata)
        self.info = replace(infos[0], metadata=metadata)
        self._clips: list[_Listed] = []
        for file, index in indexes:
            for shard in index.shards:
                self._add_shard(file, shard)

    def __len__(self) -> int:
        """The number of clips."""
        return len(self._clips)

    def __iter__(self) -> Iterator[RecordedClip]:
        return (self[number] for number in range(len(self)))

    def clip_length(self, i: int) -> int:
        """How many frames clip `i` has, without reading it."""
        return self._clips[i].length

    def __getitem__(self, i: int) -> RecordedClip:
        """Read clip `i` (negative: from the end). Raises IndexError, and RecordingError when its shard is damaged."""
        clip, info = self._clips[i], self.info
        file, number, length = clip.file, clip.number, clip.length
        try:
            with zipfile.ZipFile(file) as shard:
                frames = _read_array(shard, f"{number}/frames.npy", np.uint8, (length, info.height, info.width, 3))
                actions = _read_array(shard, f"{number}/actions.npy", np.float32, (length, len(info.action_names)))
                words = msgspec.json.decode(shard.read(f"{number}/words.json"), type=_Words)
        except FileNotFoundError as error:
            raise RecordingError(f"{file}: was removed since the recording was opened; restore it") from error
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error, msgspec.MsgspecError) as error:
            raise RecordingError(
                f"{file}: clip {number} cannot be read ({error}); the file is damaged: restore it from a copy, "
                f"or delete it and its entry in {clip.index_file.name}"
            ) from error
        if any(not text.strip() for _, text in words.captions):
            raise RecordingError(
                f"{file}: clip {number} has an empty caption; every frame needs words, say what is to be seen"
            )
        labels = {name: _spread(file, runs, length) for name, runs in words.labels.items()}
        return RecordedClip(frames, _spread(file, words.captions, length), actions, labels, clip.seed)

    def _add_shard(self, index_file: Path, shard: _Shard) -> None:
        if Path(shard.file).name != shard.file or len(shard.lengths) != len(shard.seeds):
            raise RecordingError(f"{index_file}: a Recorder writes no entry like {shard.file!r}; restore the index")
        file = self.path / shard.file
        try:
            size = file.stat().st_size
        except OSError as error:
            raise RecordingError(
                f"{file}: listed in {index_file.name} but missing ({error.strerror}); restore it, or delete its entry"
            ) from error
        if size != shard.bytes:
            raise RecordingError(
                f"{file}: has {size} bytes, {index_file.name} says {shard.bytes}: the file was cut or replaced; "
                "copy it again, or delete it and its entry"
            )
        for number, (length, seed) in enumerate(zip(shard.lengths, shard.seeds, strict=True)):
            self._clips.append(_Listed(index_file, file, number, length, seed))


def _info(index: _Index) -> RecordingInfo:
    return RecordingInfo(index.fps, index.height, index.width, index.action_names, index.metadata)


def _shape(info: RecordingInfo) -> tuple[float, int, int, tuple[str, ...]]:
    return info.fps, info.height, info.width, info.action_names


def _describe(info: RecordingInfo) -> str:
    return f"{info.height} x {info.width} at {info.fps:g} frames a second with actions {list(info.action_names)}"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _append_run(runs: list[tuple[int, str]], at: int, text: str) -> None:
    if not runs or runs[-1][1] != text:
        runs.append((at, text))


def _spread(file: Path, runs: Sequence[tuple[int, str]], length: int) -> tuple[str, ...]:
    """Runs (first frame, text) -> the text of each frame."""
    starts = [start for start, _ in runs]
    if not starts or starts[0] != 0 or any(a >= b for a, b in zip(starts, [*starts[1:], length], strict=True)):
        raise RecordingError(f"{file}: its captions or labels begin at frames {starts} of {length}; restore the file")
    spread: list[str] = []
    for (start, text), end in zip(runs, [*starts[1:], length], strict=True):
        spread.extend([text] * (end - start))
    return tuple(spread)


def _read_indexes(folder: Path) -> list[tuple[Path, _Index]]:
    """All indexes of a folder, each with its file, in the order of their names."""
    files = [folder / "index.json", *sorted(folder.glob("index-*.json"))]
    return [(file, _read_index(file)) for file in files if file.exists()]


def _read_index(file: Path) -> _Index:
    try:
        index = msgspec.json.decode(file.read_bytes(), type=_Index)
    except OSError as error:
        raise RecordingError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordingError(
            f"{file}: is not the index of a recording ({error}); give the folder that a Recorder wrote, "
            "or restore the index from a copy"
        ) from error
    if index.version > VERSION:
        raise RecordingError(f"{file}: has format version {index.version}, known is {VERSION}; update eddyline")
    return index


def _write_frames(file: IO[bytes], frames: Sequence[NDArray[np.uint8]]) -> None:
    """Write frames as one .npy array [T, H, W, 3] without stacking them in memory first."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(frames), *frames[0].shape)}
    np.lib.format.write_array_header_1_0(file, header)
    for frame in frames:
        file.write(frame.data)


def _read_array(shard: zipfile.ZipFile, name: str, dtype: type[_Scalar], shape: tuple[int, ...]) -> NDArray[_Scalar]:
    """One array of a shard; ValueError when it is not what the index promises."""
    size, expected = shard.getinfo(name).file_size, math.prod(shape) * np.dtype(dtype).itemsize
    if not expected < size <= expected + MAX_NPY_HEADER_BYTES:
        raise ValueError(f"{name} unpacks to {size} bytes, the index promises {expected} and a header")
    array: NDArray[_Scalar] = np.lib.format.read_array(io.BytesIO(shard.read(name)), allow_pickle=False)
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f"{name} is {array.dtype} {list(array.shape)}, the index promises {np.dtype(dtype)} {list(shape)}"
        )
    return array


def _sync(file: Path) -> None:
    """Put the file on the disk before its new name is, so that a power cut cannot leave a name without content."""
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())
