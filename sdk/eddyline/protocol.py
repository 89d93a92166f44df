"""The wire: every message as a struct, the version, encode and decode. The only home of the wire's numbers.

`sdk/PROTOCOL.md` is the normative text; the bytes in `tests/golden` freeze it. A message is one MessagePack map (the
header, tagged by `kind`) and, for a frame or a snapshot, one binary part. Bytes are packed and unpacked with
`msgpack` under its limits and checked by `msgspec.convert`: a closed set of kinds, every length and range bounded. No
float is without bounds, for an unbounded one would let NaN through.

Evolution: a new field has a default, nothing is reordered or retyped, unknown fields are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias, cast

import msgpack  # type: ignore[import-untyped]
import msgspec
from msgspec import Meta

from eddyline.errors import BadMessageError, ProtocolError, TooLargeError, UnknownKindError, VersionError

VERSION: tuple[int, int] = (1, 0)
"""(major, minor). A major mismatch is refused; a minor one is not."""

MAX_TEXT_BYTES = 4096
"""The longest text of an event, prompt or cut, in bytes of UTF-8."""
MAX_HEADER_BYTES = 1 << 20
"""The longest header a runtime sends, in bytes (a WELCOME with all its phrases is the largest)."""
MAX_CLIENT_HEADER_BYTES = 16384
"""The longest header a client sends, in bytes."""
MAX_PAYLOAD_BYTES = 64 << 20
"""The longest binary part, in bytes."""
MAX_SNAPSHOT_HEADER_BYTES = 1 << 20
"""The longest header of a snapshot, in bytes: what its words may take."""
SNAPSHOT_FORMAT = "eddyline-snapshot"
"""What the metadata of a snapshot say it is, as their `format`."""
MAX_NAME = 128
"""The longest name, in characters: of a view, a bookmark, a profile, a world, a client."""
MAX_NOTE = 4096
"""The longest text for people to read, in characters."""
MAX_HELD_KEYS = 64
"""The most keys one ACT names."""
MAX_HOLD_S = 3600.0
"""The longest an event is held, in seconds of video."""
MAX_REWIND_S = 3600.0
"""The furthest that REWIND asks for, in seconds of video; runtimes remember less."""
MAX_LIVE_EVENTS = 16
"""The most events that are in force on one frame."""
MAX_SEED = 2**63 - 1
MAX_INDEX = 2**53
"""The largest frame index, chunk index, epoch and words' id: exact in every language's numbers."""
MAX_CREDITS = 256
"""The most frames one message grants."""
MAX_PHRASES = 4096
KEY_NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_]{0,31}$"
"""A key or action: a letter, then letters, digits and `_`; up to 32 characters."""
RAW_CODEC = "raw"
"""Pixels as they are: `height * width * 3` bytes, RGB, row by row."""

Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_BYTES)]
Name: TypeAlias = Annotated[str, Meta(max_length=MAX_NAME)]
PlaceName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
"""What a bookmark is called."""
Note: TypeAlias = Annotated[str, Meta(max_length=MAX_NOTE)]
MaybeText: TypeAlias = Annotated[str, Meta(max_length=MAX_TEXT_BYTES)]
"""A text that may be empty."""
Token: TypeAlias = Annotated[str, Meta(min_length=16, max_length=64, pattern=r"^[0-9A-Za-z_-]+$")]
KeyName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=32, pattern=KEY_NAME_PATTERN)]
Axis: TypeAlias = Annotated[float, Meta(ge=-1.0, le=1.0)]
Unit: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0.0, le=1e12)]
"""A length of time, or a moment on the sender's monotonic clock, in seconds."""
SignedSeconds: TypeAlias = Annotated[float, Meta(ge=-1e12, le=1e12)]
Milliseconds: TypeAlias = Annotated[float, Meta(ge=0.0, le=1e12)]
Rate: TypeAlias = Annotated[float, Meta(ge=0.0, le=1e4)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**62)]
Index: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_INDEX)]
ViewId: TypeAlias = Annotated[int, Meta(ge=1, le=2**31 - 1)]
WordId: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_INDEX)]
Seed: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_SEED)]
Pixels: TypeAlias = Annotated[int, Meta(ge=1, le=8192)]
Version: TypeAlias = tuple[Annotated[int, Meta(ge=0, le=65535)], Annotated[int, Meta(ge=0, le=65535)]]
At: TypeAlias = Literal["now", "next"] | Annotated[int, Meta(ge=0, le=MAX_INDEX)]
"""When words take hold: `"now"`, `"next"` chunk, or the chunk that carries this frame index of the current epoch."""
WordState: TypeAlias = Literal["accepted", "applied", "rejected", "superseded", "cancelled"]
ViewState: TypeAlias = Literal["live", "paused", "parked"]


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What all messages share: an immutable struct with a tag `kind`."""


def check_text_bytes(text: str) -> None:
    """Raise ValueError when `text` is longer than MAX_TEXT_BYTES in UTF-8 (msgspec counts characters, not bytes)."""
    size = len(text.encode())
    if size > MAX_TEXT_BYTES:
        raise ValueError(f"text of {size} bytes; the limit is {MAX_TEXT_BYTES} bytes of UTF-8")


# ---- client to runtime


class Hello(Message, frozen=True, tag="hello"):
    """The first message of every connection. `token` names the client; a second HELLO of one token takes its place."""

    version: Version
    token: Token
    client: Name = ""
    codecs: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=16)] = (RAW_CODEC,)
    max_height: Pixels = 8192
    max_width: Pixels = 8192


class OpenView(Message, frozen=True, tag="open_view"):
    """Open the view `view` (a number the client chose and never uses again). Answered by VIEW_OPENED or ERROR.

    `epoch` is the first epoch of the view: above 0 when it goes on after a runtime was lost. `credits` frames are
    granted from the start. An empty `profile` means the world's default. Sent again for an open view, it changes
    nothing and is answered by VIEW_OPENED.
    """

    view: ViewId
    prompt: Text
    seed: Seed = 0
    profile: Name = ""
    stride: Literal[1, 2, 4] = 1
    name: Name = ""
    epoch: Index = 0
    credits: Annotated[int, Meta(ge=0, le=MAX_CREDITS)] = 0

    def __post_init__(self) -> None:
        check_text_bytes(self.prompt)


class ForkView(Message, frozen=True, tag="fork_view"):
    """Open the view `view` as one that goes on from where the view `source` of the same client is on the screen.

    It has the source's profile, rate, words and keys. Answered as OPEN_VIEW; ERROR `unknown_view` when the source is
    not open.
    """

    view: ViewId
    source: ViewId
    name: Name = ""
    credits: Annotated[int, Meta(ge=0, le=MAX_CREDITS)] = 0


class RestoreView(Message, frozen=True, tag="restore_view"):
    """Open the view `view` as one that goes on from a snapshot, the second part of the message. Answered as OPEN_VIEW;
    ERROR `bad_snapshot` says why it cannot be one of this world."""

    view: ViewId
    name: Name = ""
    epoch: Index = 0
    credits: Annotated[int, Meta(ge=0, le=MAX_CREDITS)] = 0


class WatchView(Message, frozen=True, tag="watch_view"):
    """Watch an open view by its name, under the number `view`; any client may. Answered by VIEW_OPENED and VIEW_SHARED;
    ERROR `unknown_name` when no view, or more than one, is called so.

    It is read by CREDIT and left by CLOSE_VIEW, and goes on meanwhile. Words and keys are taken while it is shared;
    they, and always what is its owner's alone (pauses, forks, snapshots), are else answered by ERROR `not_allowed`.
    """

    view: ViewId
    name: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
    credits: Annotated[int, Meta(ge=0, le=MAX_CREDITS)] = 0


class ShareView(Message, frozen=True, tag="share_view"):
    """Say whether those who watch a view may steer it, too; only the client that opened it may. At first they may not.
    Not answered; those who watch are told by VIEW_SHARED."""

    view: ViewId
    shared: bool


class SaveView(Message, frozen=True, tag="save_view"):
    """Ask for a snapshot of a view. Answered by SNAPSHOT, or ERROR `not_yet` while its scene is beginning, another one
    is on its way, or its words are too long for one."""

    id: WordId
    view: ViewId


class CloseView(Message, frozen=True, tag="close_view"):
    """Close a view. Answered by VIEW_CLOSED, also when it is not open."""

    view: ViewId


class Prompt(Message, frozen=True, tag="prompt"):
    """Replace the standing description of a view. Answered by receipts."""

    id: WordId
    view: ViewId
    text: Text
    at: At = "now"

    def __post_init__(self) -> None:
        check_text_bytes(self.text)


class Event(Message, frozen=True, tag="event"):
    """Something that happens for `hold_s` seconds of video. Answered by receipts."""

    id: WordId
    view: ViewId
    text: Text
    hold_s: Annotated[float, Meta(gt=0.0, le=MAX_HOLD_S)] = 4.0
    at: At = "now"

    def __post_init__(self) -> None:
        check_text_bytes(self.text)


class Cut(Message, frozen=True, tag="cut"):
    """Start a new scene in a new epoch. Without a `seed` the view keeps its own. Answered by receipts."""

    id: WordId
    view: ViewId
    text: Text
    seed: Seed | None = None

    def __post_init__(self) -> None:
        check_text_bytes(self.text)


class Rewind(Message, frozen=True, tag="rewind"):
    """Go on, in a new epoch, from the chunk that was due `seconds` ago. Answered by receipts: applied or rejected."""

    id: WordId
    view: ViewId
    seconds: Annotated[float, Meta(gt=0.0, le=MAX_REWIND_S)]


class Bookmark(Message, frozen=True, tag="bookmark"):
    """Remember what is on the screen under a name, in place of what had it. Answered by receipts: applied or
    rejected."""

    id: WordId
    view: ViewId
    name: PlaceName


class ReturnTo(Message, frozen=True, tag="return_to"):
    """Start a new scene, in a new epoch, from a bookmark of the view. Without a `prompt` the one that stands stays.
    Answered by receipts."""

    id: WordId
    view: ViewId
    name: PlaceName
    prompt: Text | None = None

    def __post_init__(self) -> None:
        if self.prompt is not None:
            check_text_bytes(self.prompt)


class Act(Message, frozen=True, tag="act"):
    """The whole held input of a view: key or axis name to a value in [-1, 1]. What is not named is 0. Not answered."""

    view: ViewId
    keys: Annotated[dict[KeyName, Axis], Meta(max_length=MAX_HELD_KEYS)]


class Cancel(Message, frozen=True, tag="cancel"):
    """Take back the words `id` if they are not yet applied. Answered by the receipt those words then have."""

    id: WordId
    view: ViewId


class Pause(Message, frozen=True, tag="pause"):
    """Stop the playhead of a view. Idempotent; STATUS shows it."""

    view: ViewId


class Resume(Message, frozen=True, tag="resume"):
    """Let the playhead of a paused view move again. Idempotent; STATUS shows it."""

    view: ViewId


class Credit(Message, frozen=True, tag="credit"):
    """Allow the runtime to send `frames` more frames of a view. A new HELLO takes all credit back."""

    view: ViewId
    frames: Annotated[int, Meta(ge=1, le=MAX_CREDITS)]


class Ping(Message, frozen=True, tag="ping"):
    """The heartbeat. `sent_s` is the client's clock and comes back as it is."""

    sent_s: SignedSeconds


class Bye(Message, frozen=True, tag="bye"):
    """The client leaves: its views are closed and its token is forgotten. Not answered."""


# ---- runtime to client


class ProfileInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One profile that WELCOME offers. `chunk_frames` counts frames (pictures), not latent frames."""

    name: Name
    chunk_frames: Annotated[int, Meta(ge=1, le=1024)]


class Welcome(Message, frozen=True, tag="welcome"):
    """The answer to HELLO. `views` are the views of this token that are still open; `instance` names this process.

    The client pings every `heartbeat_s`; after `silence_s` without a message either side may give the other up. The
    views of a client that vanished are kept for `resume_s`. `runtime_s` is the runtime's monotonic clock.
    """

    version: Version
    runtime: Name
    instance: Name
    model: Name
    fps: Annotated[float, Meta(gt=0.0, le=1000.0)]
    height: Pixels
    width: Pixels
    codec: Name = RAW_CODEC
    action_names: Annotated[tuple[KeyName, ...], Meta(max_length=MAX_HELD_KEYS)] = ()
    profiles: Annotated[tuple[ProfileInfo, ...], Meta(max_length=32)] = ()
    default_profile: Name = ""
    phrases: Annotated[tuple[Annotated[str, Meta(max_length=256)], ...], Meta(max_length=MAX_PHRASES)] = ()
    max_views: Annotated[int, Meta(ge=1, le=65536)] = 1
    views: Annotated[tuple[ViewId, ...], Meta(max_length=65536)] = ()
    heartbeat_s: Annotated[float, Meta(gt=0.0, le=60.0)] = 0.5
    silence_s: Annotated[float, Meta(gt=0.0, le=600.0)] = 3.0
    resume_s: Annotated[float, Meta(ge=0.0, le=86400.0)] = 30.0
    runtime_s: Seconds = 0.0


class ViewOpened(Message, frozen=True, tag="view_opened"):
    """The view is open. `fps` is its own rate (the world's over the stride); `chunk_frames` counts frames."""

    view: ViewId
    epoch: Index
    profile: Name
    fps: Annotated[float, Meta(gt=0.0, le=1000.0)]
    chunk_frames: Annotated[int, Meta(ge=1, le=1024)]
    height: Pixels
    width: Pixels


class ViewClosed(Message, frozen=True, tag="view_closed"):
    """The view is no longer open. `reason` is empty when the client asked for it."""

    view: ViewId
    reason: Note = ""


class ViewShared(Message, frozen=True, tag="view_shared"):
    """Whether those who watch a view may steer it; sent to them at first, after WELCOME, and when it changes."""

    view: ViewId
    shared: bool


class ReceiptUpdate(Message, frozen=True, tag="receipt"):
    """What became of the words `id`. Both dates are frame indices of `epoch`; each is None until it is known. `unread`
    is the end of the words that this world does not read."""

    id: WordId
    view: ViewId
    state: WordState
    epoch: Index | None = None
    first_influenced_frame: Index | None = None
    first_full_frame: Index | None = None
    understood: Unit | None = None
    nearest: Name = ""
    unread: MaybeText = ""
    reason: Note = ""


class FrameHeader(Message, frozen=True, tag="frame"):
    """The header of one frame; the second part of the message is its pixels.

    `index` counts frames within the epoch, `chunk` chunks. `due_s` is when the frame belongs on the screen and `made_s`
    when it was decoded, both on the runtime's clock. `dropped` counts the frames of this view that were never sent,
    since it was opened. `prompt` and `events` are the words its chunk was under.
    """

    view: ViewId
    epoch: Index
    index: Index
    chunk: Index
    height: Pixels
    width: Pixels
    due_s: Seconds
    made_s: Seconds
    dropped: Count = 0
    prompt: MaybeText = ""
    events: Annotated[tuple[MaybeText, ...], Meta(max_length=MAX_LIVE_EVENTS)] = ()


class StatusUpdate(Message, frozen=True, tag="status"):
    """How a view does; sent about once a second. `playhead` is the frame that is due now, `lead_s` how far made frames
    run ahead of it, `fps` the rate at which frames are made; the costs are of the last tick. `understood` (0 to 1) is
    how well this world knows the standing prompt, None until it was read, `nearest` the phrase nearest to it (empty
    where `understood` is 0), `unread` its end that this world does not read beside the events in force."""

    view: ViewId
    state: ViewState
    epoch: Index = 0
    playhead: Index = 0
    lead_s: SignedSeconds = 0.0
    dropped: Count = 0
    fps: Rate = 0.0
    denoise_ms: Milliseconds = 0.0
    decode_ms: Milliseconds = 0.0
    tick_ms: Milliseconds = 0.0
    understood: Unit | None = None
    nearest: Name = ""
    unread: MaybeText = ""


class SnapshotHeader(Message, frozen=True, tag="snapshot"):
    """The header of a snapshot of a view, the answer to SAVE_VIEW `id`; the second part of the message is the file."""

    id: WordId
    view: ViewId


class Pong(Message, frozen=True, tag="pong"):
    """The answer to PING, with progress: `ticks` done since the start, and how long the present turn (commands, texts
    and a tick) has taken (0: the runtime rests).

    A runtime that hangs in a turn still answers; its `tick_age_s` grows.
    """

    sent_s: SignedSeconds
    runtime_s: Seconds
    ticks: Count = 0
    tick_age_s: Seconds = 0.0


class ErrorMessage(Message, frozen=True, tag="error"):
    """A mistake and whose it was. `code` is one of ERROR_CODES, or of a later minor version."""

    code: Annotated[str, Meta(min_length=1, max_length=64)]
    message: Note
    view: ViewId | None = None
    id: WordId | None = None


ERROR_CODES = (
    "bad_message",  # not MessagePack, or a field missing, mistyped or out of bounds
    "unknown_kind",  # a kind this version does not know
    "too_large",  # over MAX_CLIENT_HEADER_BYTES, or a part too many
    "version_mismatch",  # another major version; the message names both
    "hello_first",  # anything before HELLO
    "too_many_clients",  # HELLO beyond the clients that the runtime serves; come again later
    "no_codec",  # no codec in common, or frames larger than the client takes
    "unknown_view",  # a view that is not open
    "unknown_word",  # CANCEL of words that never came
    "unknown_profile",  # OPEN_VIEW with a profile that WELCOME did not offer
    "too_many_views",  # OPEN_VIEW beyond max_views
    "no_capacity",  # OPEN_VIEW of a view that would make those that are open late
    "not_yet",  # SAVE_VIEW while the scene is beginning, another one is on its way, or the words are too long for one
    "unknown_name",  # WATCH_VIEW with a name that no open view has, or more than one
    "too_many_watchers",  # WATCH_VIEW of a view that as many watch as the runtime serves
    "not_allowed",  # words and keys of who watches a view that is not shared, or what is its owner's alone
    "bad_snapshot",  # RESTORE_VIEW with something that is no snapshot of this world
    "too_many_words",  # more words waiting in one view than the runtime keeps
    "replaced",  # another connection said HELLO with this token
    "shutting_down",  # the runtime is about to end
    "internal",  # the runtime's own mistake; the message says which
)

ClientMessage: TypeAlias = (
    Hello
    | OpenView
    | ForkView
    | RestoreView
    | WatchView
    | ShareView
    | SaveView
    | CloseView
    | Prompt
    | Event
    | Cut
    | Rewind
    | Bookmark
    | ReturnTo
    | Act
    | Cancel
    | Pause
    | Resume
    | Credit
    | Ping
    | Bye
)
RuntimeMessage: TypeAlias = (
    Welcome
    | ViewOpened
    | ViewClosed
    | ViewShared
    | ReceiptUpdate
    | FrameHeader
    | StatusUpdate
    | SnapshotHeader
    | Pong
    | ErrorMessage
)
Words: TypeAlias = Prompt | Event | Cut | Rewind | Bookmark | ReturnTo
"""The messages that are never lost: client-made ids, at least once, de-duplicated, answered by receipts."""
AboutView: TypeAlias = Credit | Act | Pause | Resume | ShareView | SaveView | Cancel | Words
"""The messages about one view that is open already."""


def _kinds(structs: Sequence[type[Message]]) -> frozenset[str]:
    return frozenset(cast(str, struct.__struct_config__.tag) for struct in structs)


CLIENT_KINDS = _kinds(ClientMessage.__args__)
RUNTIME_KINDS = _kinds(RuntimeMessage.__args__)


_CLIENT_LIMITS = {"max_str_len": MAX_TEXT_BYTES, "max_array_len": 64, "max_map_len": 256}
"""The most that msgpack unpacks of each kind of thing, before anything is checked."""
_RUNTIME_LIMITS = {"max_str_len": 4 * MAX_TEXT_BYTES, "max_array_len": 65536, "max_map_len": 256}


def encode(message: ClientMessage | RuntimeMessage) -> bytes:
    """Return the header bytes of a message.

    Raises TooLargeError, with the limit in the message, when they are over MAX_HEADER_BYTES (MAX_CLIENT_HEADER_BYTES
    for what a client sends). Bounds of single fields are checked where a message is decoded, not here.
    """
    data: bytes = msgpack.packb(msgspec.to_builtins(message))
    limit = MAX_CLIENT_HEADER_BYTES if message.__struct_config__.tag in CLIENT_KINDS else MAX_HEADER_BYTES
    if len(data) > limit:
        raise TooLargeError(f"a header of {len(data)} bytes; the limit is {limit} bytes")
    return data


def decode_client_message(data: bytes) -> ClientMessage:
    """Return what a client sent.

    Raises TooLargeError, BadMessageError or UnknownKindError (all ProtocolError, with the wire's `code`), and
    VersionError for a HELLO of another major version, whatever else it carries.
    """
    fields = _unpack(data, MAX_CLIENT_HEADER_BYTES, _CLIENT_LIMITS, CLIENT_KINDS)
    if fields["kind"] == "hello":
        _check_major(fields, theirs="the client", ours="this runtime")
    return cast(ClientMessage, _convert(fields, ClientMessage))


def decode_runtime_message(data: bytes) -> RuntimeMessage:
    """Return what a runtime sent. Raises like `decode_client_message`, VersionError for a foreign WELCOME."""
    fields = _unpack(data, MAX_HEADER_BYTES, _RUNTIME_LIMITS, RUNTIME_KINDS)
    if fields["kind"] == "welcome":
        _check_major(fields, theirs="the runtime", ours="this client")
    return cast(RuntimeMessage, _convert(fields, RuntimeMessage))


def error_of(error: ProtocolError | VersionError) -> ErrorMessage:
    """Return the ERROR that answers a message which could not be decoded."""
    code = error.code if isinstance(error, ProtocolError) else "version_mismatch"
    return ErrorMessage(code=code, message=str(error)[:MAX_NOTE])


def _unpack(data: bytes, limit: int, limits: dict[str, int], kinds: frozenset[str]) -> dict[str, Any]:
    if len(data) > limit:
        raise TooLargeError(f"a header of {len(data)} bytes; the limit is {limit} bytes")
    try:
        fields = msgpack.unpackb(data, max_bin_len=0, max_ext_len=0, **limits)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise BadMessageError(f"not a MessagePack map within the limits: {error}") from error
    if not isinstance(fields, dict):
        raise BadMessageError(f"a {type(fields).__name__} where a map with a `kind` was expected")
    kind = fields.get("kind")
    if not isinstance(kind, str):
        raise BadMessageError("a map without a `kind`; every message is tagged with one")
    if kind not in kinds:
        raise UnknownKindError(f"kind {kind[:64]!r} is not known to protocol {VERSION[0]}.{VERSION[1]}")
    return fields


def _convert(fields: dict[str, Any], union: Any) -> Any:
    try:
        return msgspec.convert(fields, type=union)
    except (msgspec.ValidationError, UnicodeError) as error:
        raise BadMessageError(f"a bad {fields['kind']}: {error}") from error


def _check_major(fields: dict[str, Any], *, theirs: str, ours: str) -> None:
    """`kind` and `version` of HELLO and WELCOME keep their place in every version, so this works across all of them."""
    try:
        major, minor = msgspec.convert(fields.get("version"), type=Version)
    except msgspec.ValidationError as error:
        raise BadMessageError(f"a {fields['kind']} whose version is not a pair of numbers: {error}") from error
    if major != VERSION[0]:
        raise VersionError(
            f"{theirs} speaks protocol {major}.{minor}, {ours} speaks {VERSION[0]}.{VERSION[1]}; "
            "the first numbers must agree: install the same release of eddyline on both sides"
        )
