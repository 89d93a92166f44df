"""A moment of a view as one file: saved by a game, given back in another process.

A safetensors file, so that reading it runs nothing. Its tensors are `latents` and `decoded` (see `moments.Moment`),
`frames`, uint8 [T, H, W, 3]: what was made and not shown yet; `bookmarked_latents` [P, F, C, Y, X] and
`bookmarked_decoded` [P, 1, 1, C, Y, X] are of the view's P bookmarks (see `view.Bookmark`). Its metadata is `format`,
`moment` (JSON) and `sha256` of all the rest. The moment names the world's weights: another world's numbers mean
something else.

The digest tells what was changed by accident. Anybody can write one that fits, so all else is checked, too: from
whatever passes the engine can go on, the wire can say it, and `write_snapshot` can write it again.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from eddyline.errors import ConfigError, SnapshotError
from eddyline.protocol import MAX_SEED, MAX_SNAPSHOT_HEADER_BYTES, MAX_TEXT_BYTES, SNAPSHOT_FORMAT, PlaceName
from eddyline_runtime.actions import ActionChange
from eddyline_runtime.bookmarks import MAX_BOOKMARKS
from eddyline_runtime.config import Partition, Profile
from eddyline_runtime.history import NEWEST_CHUNKS
from eddyline_runtime.model.streamdit import STRIDES
from eddyline_runtime.moments import Moment
from eddyline_runtime.prompts import MAX_EVENTS, MAX_PENDING, Words
from eddyline_runtime.view import Bookmark, NoiseKey, Unshown
from eddyline_runtime.weights import WorldCard

TENSORS = {
    "latents": torch.float32,
    "decoded": torch.float32,
    "frames": torch.uint8,
    "bookmarked_latents": torch.float16,
    "bookmarked_decoded": torch.float32,
}
"""What kind of numbers each of its tensors holds."""
VERSION = 5


@dataclass(frozen=True)
class Snapshot:
    """A moment, the frames before it that nobody saw, oldest first, and the bookmarks of the view."""

    moment: Moment
    unshown: tuple[Unshown, ...] = ()
    bookmarks: Mapping[str, Bookmark] = field(default_factory=dict)


class _Part(msgspec.Struct, frozen=True):
    """Unshown frames of one chunk."""

    frames: Annotated[int, msgspec.Meta(ge=1)]
    prompt: str
    events: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_EVENTS)]


class _Place(msgspec.Struct, frozen=True):
    """A bookmark, but for its tensors."""

    name: PlaceName
    noise: NoiseKey
    action_change: ActionChange


class _Moment(msgspec.Struct, frozen=True):
    """The metadata's `moment`."""

    version: int
    world: str
    weights: str
    profile: Profile
    stride: int
    noise: NoiseKey
    words: Words
    actions: tuple[Annotated[float, msgspec.Meta(ge=-1, le=1)], ...]
    action_change: ActionChange
    unshown: tuple[_Part, ...]
    bookmarks: Annotated[tuple[_Place, ...], msgspec.Meta(max_length=MAX_BOOKMARKS)]


def max_snapshot_bytes(card: WorldCard) -> int:
    """No snapshot of the world with this card is larger."""
    sizes = card.model
    latent = 4 * sizes.latent_channels * sizes.latent_height * sizes.latent_width
    picture = 3 * card.height * card.width * card.codec.frames_per_latent
    return MAX_SNAPSHOT_HEADER_BYTES + max(
        latent * (1 + MAX_BOOKMARKS) * (profile.partition.buffer_frames + 1)
        + picture * NEWEST_CHUNKS * profile.partition.chunk_frames
        for profile in card.profiles.values()
    )


def write_snapshot(snapshot: Snapshot, card: WorldCard) -> bytes:
    """A snapshot of a view of the world with this card, as the bytes of a file.

    Raises:
        SnapshotError: the view's words are too long for one.
    """
    moment = snapshot.moment
    told = _Moment(
        version=VERSION,
        world=card.name,
        weights=card.weights_id(),
        profile=moment.profile,
        stride=moment.stride,
        noise=moment.noise,
        words=moment.words,
        actions=moment.actions,
        action_change=moment.action_change,
        unshown=tuple(_Part(len(part.frames), part.prompt, part.events) for part in snapshot.unshown),
        bookmarks=tuple(_Place(name, kept.noise, kept.action_change) for name, kept in snapshot.bookmarks.items()),
    )
    places = snapshot.bookmarks.values()
    none = np.zeros((0, card.height, card.width, 3), np.uint8)
    tensors = {
        "latents": moment.latents,
        "decoded": moment.decoded,
        "frames": torch.from_numpy(np.concatenate([none, *(part.frames for part in snapshot.unshown)])),
        "bookmarked_latents": _stacked([kept.latents for kept in places], like=moment.latents.half()),
        "bookmarked_decoded": _stacked([kept.decoded for kept in places], like=moment.decoded),
    }
    encoded = msgspec.json.encode(told).decode()
    data = save(tensors, {"format": SNAPSHOT_FORMAT, "moment": encoded, "sha256": _digest(encoded, tensors)})
    header = int.from_bytes(data[:8], "little")
    if header > MAX_SNAPSHOT_HEADER_BYTES:
        raise SnapshotError(
            f"the words that wait and are live take {header} bytes of a snapshot, which holds "
            f"{MAX_SNAPSHOT_HEADER_BYTES}; ask again when some are over"
        )
    return data


def read_snapshot(data: bytes, card: WorldCard) -> Snapshot:
    """A snapshot for the world with this card.

    Raises:
        SnapshotError: it is too large, cut, changed, foreign, of another version or of another world.
    """
    limit = max_snapshot_bytes(card)
    if len(data) > limit:
        raise SnapshotError(f"a snapshot of {len(data)} bytes; those of this world have {limit} at most")
    metadata, tensors = _opened(data)
    if metadata.get("format") != SNAPSHOT_FORMAT or set(tensors) != set(TENSORS):
        raise SnapshotError(
            f"this is no snapshot of a view (format {metadata.get('format')!r}, expected {SNAPSHOT_FORMAT!r})"
        )
    encoded = metadata.get("moment", "")
    version = _version(encoded)
    if version != VERSION:
        raise SnapshotError(f"the snapshot is of version {version}, this runtime reads {VERSION}; take it anew")
    foreign = next((name for name, kind in TENSORS.items() if tensors[name].dtype != kind), None)
    if foreign is not None:
        given, wanted = tensors[foreign].dtype, TENSORS[foreign]
        raise SnapshotError(f"the snapshot is none of a view: its {foreign} are {given}, not {wanted}; take it anew")
    if metadata.get("sha256") != _digest(encoded, tensors):
        raise SnapshotError("the snapshot was changed after it was taken; take it anew")
    try:
        told = msgspec.json.decode(encoded, type=_Moment)
    except (msgspec.MsgspecError, ConfigError) as error:
        raise SnapshotError(f"the snapshot says what none says ({error}); take it anew") from error
    if told.weights != card.weights_id():
        raise SnapshotError(
            f"the snapshot is of the world {told.world!r}, with other weights than {card.name!r} has here; serve those"
        )
    _check_fits(told, tensors, card)
    moment = Moment(
        profile=told.profile,
        stride=told.stride,
        noise=told.noise,
        words=told.words,
        actions=told.actions,
        action_change=told.action_change,
        latents=tensors["latents"],
        decoded=tensors["decoded"],
    )
    return Snapshot(moment, _unshown(told.unshown, tensors["frames"].numpy()), _bookmarks(told.bookmarks, tensors))


def _opened(data: bytes) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        header: dict[str, Any] = msgspec.json.decode(data[8 : 8 + length])
    except (SafetensorError, msgspec.MsgspecError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise SnapshotError(f"the snapshot cannot be read ({error}); it is cut or none") from error
    return header.get("__metadata__") or {}, tensors


def _version(encoded: str) -> object:
    try:
        told = msgspec.json.decode(encoded)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return told.get("version") if isinstance(told, dict) else None


def _check_fits(told: _Moment, tensors: dict[str, Tensor], card: WorldCard) -> None:
    """What a digest cannot tell: somebody may have written a file of numbers that fit nowhere."""
    sizes = card.model
    frame = (sizes.latent_channels, sizes.latent_height, sizes.latent_width)
    partition = told.profile.partition
    parts: tuple[_Moment | _Place, ...] = (told, *told.bookmarks)
    names, count = {place.name for place in told.bookmarks}, len(told.bookmarks)
    wanted = {
        "latents": (partition.buffer_frames, *frame),
        "decoded": (1, 1, *frame),
        "frames": (sum(part.frames for part in told.unshown), card.height, card.width, 3),
        "bookmarked_latents": (count, partition.buffer_frames, *frame),
        "bookmarked_decoded": (count, 1, 1, *frame),
    }
    wrong = [name for name, shape in wanted.items() if tuple(tensors[name].shape) != shape]
    numbers = all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    fits = (
        _can_be_said(msgspec.to_builtins(told))
        and _words_fit(told.words, partition)
        and len(told.actions) == len(card.action_names)
        and all(_goes_on(part, partition, card) for part in parts)
        and len(names) == count
        and names.issuperset(wish.bookmark for wish in told.words.pending if wish.bookmark)
        and told.stride in STRIDES
        and told.profile in card.profiles.values()
    )
    if wrong or not numbers or not fits:
        what = (
            f"its {wrong[0]} have the shape {tuple(tensors[wrong[0]].shape)}"
            if wrong
            else "its parts do not fit together"
        )
        raise SnapshotError(f"the snapshot is none of this world: {what}; take it anew")


def _can_be_said(part: object) -> bool:
    """Whether each text in it is one of the wire's, and each whole number small enough to be written again."""
    return all(
        len(leaf.encode()) <= MAX_TEXT_BYTES if isinstance(leaf, str) else abs(leaf) <= MAX_SEED
        for leaf in _leaves(part)
    )


def _leaves(part: object) -> Iterator[str | int]:
    """The texts and whole numbers in what JSON says."""
    match part:
        case str() | int():
            yield part
        case dict():
            for value in part.values():
                yield from _leaves(value)
        case list() | tuple():
            for value in part:
                yield from _leaves(value)


def _words_fit(words: Words, partition: Partition) -> bool:
    """Whether a view of this partition can have such words."""
    return (
        bool(words.prompt.strip())
        and len(words.slots) == partition.buffer_frames
        and (words.reference_frames, words.chunk_frames) == (partition.reference_frames, partition.chunk_frames)
        and all(len(slot.events) <= MAX_EVENTS for slot in words.slots)
        and len(words.pending) <= MAX_PENDING
        and len(words.live) <= MAX_EVENTS
    )


def _goes_on(part: _Moment | _Place, partition: Partition, card: WorldCard) -> bool:
    """Whether a view can have such a noise, and such a change of its actions."""
    noise, change = part.noise, part.action_change
    return (
        len(change.after) == len(change.before) == len(card.action_names)
        and all(abs(action) <= 1 for action in (*change.after, *change.before))
        and 0 <= change.ticks_left <= partition.num_chunks
        and min(noise.seed, noise.epoch, noise.index) >= 0
    )


def _stacked(kept: Sequence[Tensor], *, like: Tensor) -> Tensor:
    """Tensors of the shape of `like` as one, also where there are none."""
    return torch.stack([*kept]) if kept else like.new_zeros((0, *like.shape))


def _bookmarks(places: Sequence[_Place], tensors: Mapping[str, Tensor]) -> dict[str, Bookmark]:
    kept = zip(places, tensors["bookmarked_latents"], tensors["bookmarked_decoded"], strict=True)
    return {
        place.name: Bookmark(noise=place.noise, action_change=place.action_change, latents=latents, decoded=decoded)
        for place, latents, decoded in kept
    }


def _unshown(parts: Sequence[_Part], frames: NDArray[np.uint8]) -> tuple[Unshown, ...]:
    ends = np.cumsum([part.frames for part in parts]).tolist()
    return tuple(
        Unshown(frames[end - part.frames : end], part.prompt, part.events)
        for part, end in zip(parts, ends, strict=True)
    )


def _digest(encoded: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(encoded.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())  # one number has no dimension to view
    return digest.hexdigest()
