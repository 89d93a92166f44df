"""A view: one endless stream of frames that a game opened, and the words and keys that steer it.

Every method returns at once, but for `wait_open`, and for `close` while a clip of the view is recorded: that waits
until the file is finished. Mistakes in a call raise; what goes wrong later lands on receipts and `Runtime.poll()`.
A view that the runtime closed does not raise: its words are rejected, its last frame stays.
"""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeAlias

from eddyline import notes, protocol
from eddyline.clip import Clip
from eddyline.errors import (
    BackpressureError,
    ClosedError,
    ConnectTimeoutError,
    EddylineError,
    OptionError,
    PastFrameError,
    SpectatorError,
    TextError,
)
from eddyline.frames import CREDIT_BATCH, Frame, FrameStore, no_longer_new
from eddyline.keys import held_state
from eddyline.notes import Progress
from eddyline.pacing import Playout, delay_at, observe_arrival
from eddyline.protocol import MAX_HOLD_S, MAX_INDEX, MAX_NAME, MAX_REWIND_S, MAX_SEED, MAX_TEXT_BYTES
from eddyline.receipts import Receipt, WordKind
from eddyline.snapshots import Snapshot

if TYPE_CHECKING:
    from eddyline.link import Link

MAX_UNANSWERED = 256
"""Words of one view that may be without an answer; more are refused with BackpressureError."""
STARVED_S = 1.0
"""After the credit ran out frames come late through no fault of the network; for so long that does not count."""
RATE_WINDOW_S = 2.0

_NUMBER = (float, int)  # a constant, for `float | int` in a call would be made anew each time

At: TypeAlias = Literal["now", "next"] | int
"""When words take hold: `"now"` (the next tick), `"next"` (the chunk that enters next), or the index of a frame."""
ViewState: TypeAlias = Literal["opening", "live", "paused", "parked", "lost", "closed"]
"""Where a view stands: `"opening"` (asked for, not open yet), `"live"`, `"paused"` (`View.pause`), `"parked"` (nobody
takes its frames, so no more are made until somebody does), `"lost"` (no connection), or `"closed"`, by the game or by
the runtime."""


@dataclass(frozen=True)
class ViewStatus:
    """How a view does; `View.status` says it. Times in seconds (`..._s`) or milliseconds (`..._ms`)."""

    state: ViewState
    """As `View.state`."""
    epoch: int
    """The scene that is shown now; a cut, a rewind, a return or a restart begins the next."""
    playhead: int
    """Index of the frame that is shown now, in `epoch`."""
    lead_s: float
    """How far made frames run ahead of the playhead, as the runtime last said."""
    waiting_frames: int
    """Frames that are here and not due yet."""
    dropped_frames: int
    """Frames that were made but never shown, on either side."""
    fps_shown: float
    """New frames handed out per second, over the last two seconds."""
    fps_made: float
    """Frames made per second, as the runtime last said."""
    delay_s: float
    """What is added to every frame's due time, so that late frames still play evenly."""
    steering_latency_s: float | None
    """From the last call whose words are shown to the first frame that they influenced, on the screen."""
    denoise_ms: float
    """Of the runtime's last tick, the network."""
    decode_ms: float
    """Of the runtime's last tick, making pictures."""
    tick_ms: float
    """What the runtime's last tick took in all."""
    understood: float | None
    """How well this world knows the standing prompt, that of `open_view` at first, 0 to 1; None until the runtime said
    so."""
    nearest: str
    """The phrase of this world that is nearest to the standing prompt; empty until the runtime said so, and where
    `understood` is 0."""
    unread: str
    """The end of the standing prompt that this world does not read beside the events in force, because its text encoder
    reads no further; empty where it reads all of it."""


def check_text(text: str) -> str:
    """Return `text`. Raises TextError when it is empty or over MAX_TEXT_BYTES of UTF-8. Any script is fine."""
    if not isinstance(text, str):
        raise TextError(f"the text is of type {type(text).__name__}; give a str")
    if not text or text.isspace():
        raise TextError("the text is empty; say in words what is to be seen")
    if len(text) <= MAX_TEXT_BYTES:
        try:
            size = len(text) if text.isascii() else len(text.encode())
        except UnicodeEncodeError as error:
            raise TextError(f"the text cannot be written as UTF-8 ({error.reason} at {error.start})") from error
        if size <= MAX_TEXT_BYTES:
            return text
        given = f"{size} bytes"
    else:
        given = f"{len(text)} characters"
    raise TextError(f"the text has {given}; the limit is {MAX_TEXT_BYTES} bytes of UTF-8: say it more briefly")


def check_seed(seed: int) -> int:
    """Return `seed`. Raises OptionError unless it is a whole number from 0 to 2**63 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise OptionError(f"seed={seed!r}; give a whole number from 0 to {MAX_SEED}")
    return seed


def check_timeout(timeout_s: float) -> float:
    """Return `timeout_s`. Raises OptionError unless it is a number; infinity is one."""
    if not isinstance(timeout_s, _NUMBER) or math.isnan(timeout_s):
        raise OptionError(f"timeout_s={timeout_s!r}; give seconds, or math.inf to wait without an end")
    return timeout_s


def check_name(name: str) -> str:
    """Return `name`. Raises OptionError when it is no str, over MAX_NAME characters, or cannot be written as UTF-8."""
    if not isinstance(name, str):
        raise OptionError(f"a name of type {type(name).__name__}; give a str")
    if len(name) > MAX_NAME:
        raise OptionError(f"a name of {len(name)} characters; the limit is {MAX_NAME}")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise OptionError(f"the name cannot be written as UTF-8 ({error.reason} at {error.start})") from error
    return name


def _check_bookmark(name: str) -> str:
    if not check_name(name) or name.isspace():
        raise OptionError(f"{name!r} is no name of a bookmark; give 1 to {MAX_NAME} characters")
    return name


class View:
    """One stream of frames. Made by `Runtime.open_view()`, or by `Runtime.watch_view()` for one that another client
    opened; a context manager that closes the view."""

    def __init__(
        self,
        link: Link,
        view_id: int,
        name: str,
        rate: float,
        *,
        held: dict[str, float] | None,
        watches: bool = False,
    ) -> None:
        """`held`: the keys that are held at first; None: not known, as they were before a snapshot was taken."""
        self.id = view_id
        """Its number on this connection."""
        self.name = name
        """As it was given; empty when none was."""
        self.watches = watches
        """Whether another client opened it."""
        self._link = link
        self._clock = link.clock
        self._lock = threading.Lock()  # among the game's own threads; the socket thread never takes it
        self._store = FrameStore()
        self._again: Frame | None = None  # the shown frame, no longer new
        self._freed = 0
        self._paused_s: float | None = None
        self._held = held
        self._unshown: dict[int, Receipt] = {}  # changed one entry at a time, so that words need not take the lock
        self._shown_s: deque[float] = deque(maxlen=256)
        self._steering_latency_s: float | None = None
        self._closed_by_game = False
        self._clip: Clip | None = None
        # Written by the socket thread, read by all.
        self._inbox: deque[Frame] = deque()
        self._rate = rate
        self._opened = False
        self._shared: bool | None = None  # watched views only: whether their owner shares them, once that is known
        self._error: EddylineError | None = None
        self._newest = (-1, -1)
        self._runtime_dropped = 0
        self._playout = Playout()
        self._starved_until_s: float | None = None  # None: fed; 0.0: out of credit; else: until when late is no wonder
        self._status: protocol.StatusUpdate | None = None

    # ---- words

    def prompt(self, text: str, *, at: At = "now") -> Receipt:
        """Replace the standing description; the world goes on from where it is.

        `at`: "now", "next", or the index of a frame not yet made. Raises TextError, PastFrameError, OptionError,
        SpectatorError, ClosedError or BackpressureError.
        """
        check_text(text)
        if at != "now":
            self._check_at(at)
        return self._say("prompt", text, {"text": text, "at": at})

    def event(self, text: str, *, hold_s: float = 4.0, at: At = "now") -> Receipt:
        """Let something happen for `hold_s` seconds of video (over 0, up to 3600); then the prompt alone is in force.

        `at`: "now", "next", or the index of a frame not yet made. Raises TextError, PastFrameError, OptionError,
        SpectatorError, ClosedError or BackpressureError.
        """
        check_text(text)
        if not (isinstance(hold_s, _NUMBER) and 0.0 < hold_s <= MAX_HOLD_S):
            raise OptionError(f"hold_s={hold_s!r}; give seconds, over 0 and up to {MAX_HOLD_S:g}")
        if at != "now":
            self._check_at(at)
        return self._say("event", text, {"text": text, "hold_s": float(hold_s), "at": at})

    def cut(self, text: str, *, seed: int | None = None) -> Receipt:
        """Start a new scene, in a new epoch, from fresh noise. Without a `seed` the view keeps its own.

        Raises TextError, OptionError, SpectatorError, ClosedError or BackpressureError.
        """
        check_text(text)
        if seed is not None:
            check_seed(seed)
        return self._say("cut", text, {"text": text, "seed": seed})

    def rewind(self, seconds: float) -> Receipt:
        """Go on, in a new epoch, from the chunk that was on the screen `seconds` of video ago (over 0, up to 3600).

        Words in force then are in force again, what was said since is undone, what still waits applies. The receipt is
        rejected when that is further back than the runtime remembers (30 s, unless it says otherwise).

        Raises OptionError, SpectatorError, ClosedError or BackpressureError.
        """
        if not (isinstance(seconds, _NUMBER) and 0.0 < seconds <= MAX_REWIND_S):
            raise OptionError(f"seconds={seconds!r}; give seconds, over 0 and up to {MAX_REWIND_S:g}")
        return self._say("rewind", "", {"seconds": float(seconds)})

    def bookmark(self, name: str) -> Receipt:
        """Remember what is on the screen under a name, so that `return_to(name)` brings it back. Another bookmark of
        that name takes its place.

        The receipt says which frame is remembered; it is rejected while nothing was shown yet, and when the view has as
        many bookmarks as the runtime keeps (the reason names them). Bookmarks go with forks and snapshots, and stay
        through cuts and rewinds; they are lost with their runtime. name: 1 to 128 characters.

        Raises OptionError, SpectatorError, ClosedError or BackpressureError.
        """
        return self._say("bookmark", _check_bookmark(name), {"name": name})

    def return_to(self, name: str, *, prompt: str | None = None) -> Receipt:
        """Start a new scene, in a new epoch, from a bookmark: the place looks as it did when it was set, and the world
        goes on from there under the words and keys of now.

        Without a `prompt` the one that stands stays; give the place's own where another one stands. As in a cut, events
        end. The receipt is rejected when there is no such bookmark; its reason says which there are.

        Raises TextError, OptionError, SpectatorError, ClosedError or BackpressureError.
        """
        if prompt is not None:
            check_text(prompt)
        return self._say("return_to", _check_bookmark(name), {"name": name, "prompt": prompt})

    def fork(self, name: str = "") -> View:
        """Open another view that goes on from where this one is: same words, keys, noise. Each then goes its own way.

        Returns at once, as `Runtime.open_view`. Words that wait here apply there, too, without a receipt. name: for
        notes and logs, up to 128 characters. Raises OptionError, SpectatorError or ClosedError.
        """
        self._check_owns("fork")
        forked = View(self._link, self._link.next_id(), check_name(name), self._rate, held=self._held)
        self._link.fork_view(forked, self.id)
        return forked

    def snapshot(self) -> Snapshot:
        """Ask for this view as it is now, as a file; `Runtime.restore_view` goes on from it, in any process that serves
        this world. Returns at once; `poll()` tells by SnapshotTaken when it has come.

        It fails while the scene is beginning, and while another one is on its way.

        Raises SpectatorError or ClosedError.
        """
        self._check_owns("save")
        snapshot = Snapshot(self._link.next_id(), self)
        self._link.save_view(snapshot)
        return snapshot

    def share(self, shared: bool = True) -> None:
        """Let those who watch this view say words and hold keys in it, too, or only this client again. The latest keys
        win, whosever they are.

        Raises SpectatorError or ClosedError.
        """
        self._check_owns("share")
        self._link.share_view(self.id, shared)

    @property
    def may_steer(self) -> bool:
        """Whether words and keys are taken: always, but of a view that is watched only while its owner shares it."""
        return not self.watches or self._shared is True

    # ---- keys and time

    def act(self, keys: Iterable[str] | Mapping[str, float]) -> None:
        """Set the held input: key names (W3C `KeyboardEvent.code`), or a map from name to a value in [-1, 1].

        The latest state wins and holds until the next call; what is not named is released. Call it every turn: only
        changes are sent. A name that is no key must be one of `runtime.world.action_names`; until the world is known,
        it need only have the form of a name.

        Raises KeyNameError, AxisError, OptionError, SpectatorError or ClosedError.
        """
        self._check_steers()
        world = self._link.world
        held = held_state(keys, None if world is None else world.action_names)
        if held != self._held:
            with self._lock:  # what is sent last is what is kept, whichever thread comes first
                self._held = held
                self._link.act(self.id, held)

    def pause(self) -> None:
        """Freeze the picture and the world behind it. Raises SpectatorError or ClosedError."""
        self._check_owns("pause")
        with self._lock:
            if self._paused_s is not None:
                return
            self._paused_s = self._link.clock()
            self._link.pause(self.id, True)  # sent within the lock, so that a `resume()` elsewhere comes after it

    def resume(self) -> None:
        """Go on after `pause()`, with the next frame. Raises SpectatorError or ClosedError."""
        self._check_owns("resume")
        with self._lock:
            if self._paused_s is None:
                return
            self._drain()
            self._store.shift(self._clock() - self._paused_s)
            self._paused_s = None
            freed, self._freed = self._freed, 0
            if freed:  # by what was drained here: `frame()` looks only when more comes, which may wait for this credit
                self._link.freed(self.id, freed)
            self._link.pause(self.id, False)

    @property
    def progress(self) -> Progress:
        """How far the start of the launched runtime behind this view is, as it last said."""
        return self._link.progress

    @property
    def rate(self) -> float:
        """Frames per second of this view; the world's rate over the stride. 0.0 until the runtime is known."""
        return self._rate

    # ---- pictures

    def frame(self) -> Frame | None:
        """Return the frame that belongs on the screen now; None before the first one. Never waits, never raises.

        `frame.is_new` says whether it is another one than last time. A closed, paused or lost view keeps its last
        frame.
        """
        now_s = self._clock()
        again = self._again
        if now_s < self._store.next_due_s and not self._inbox and again is not None:
            return again  # as in most calls: nothing came, and nothing is due, however small the delay
        with self._lock:
            self._drain()
            taken = 0 if self._paused_s is not None else self._store.take(now_s, delay_at(self._playout, now_s))
            shown = self._store.shown
            if taken and shown is not None:
                self._freed += taken
                self._again = no_longer_new(shown)
                self._count_shown(shown, now_s)
                if self._clip is not None:
                    self._clip.offer(shown)
            else:
                shown = self._again
            freed = self._freed
            if freed < CREDIT_BATCH:
                return shown
            self._freed = 0
        self._link.freed(self.id, freed)
        return shown

    def record(self, path: str | os.PathLike[str]) -> Clip:
        """Record what `frame()` hands out from now on into an mp4, with the words in force as subtitles.

        Returns at once. `Clip.stop()` finishes the file, and so does closing this view or the runtime, and the end of
        the program; until then it is `NAME.part.mp4`. `poll()` tells by ClipEnded. Frames that the game skips are
        filled in with the one before, so that the film keeps its time; a pause takes none.

        Raises FilmError where PyAV is missing, OptionError where `path` does not name an mp4, this view is being
        recorded, or another one of this connection into this file, ClosedError.
        """
        self._check_open()
        with self._link.recording, self._lock:
            if self._link.closed:
                raise ClosedError(f"the runtime of {self} was closed, so nothing more of it can be recorded")
            if self._clip is not None:
                raise OptionError(f"{self} is being recorded into {self._clip.path}; stop() that clip first")
            for clip in list(self._link.clips):
                if clip.path.resolve() == Path(path).resolve():
                    raise OptionError(f"{clip.view} is being recorded into {clip.path}; name another file for {self}")
            self._clip = Clip(path, self, self._end_clip)
            self._link.clips.add(self._clip)
            return self._clip

    @property
    def state(self) -> ViewState:
        """Where the view stands: opening, live, paused, parked (nobody reads it), lost (no connection) or closed."""
        if self.is_closed:
            return "closed"
        if self._link.world is not None and not self._link.connected_now:
            return "lost"
        if not self._opened:
            return "opening"
        if self._paused_s is not None:
            return "paused"
        status = self._status
        resumed = status is not None and status.state == "paused" and not self.watches
        return "live" if status is None or resumed else status.state

    @property
    def status(self) -> ViewStatus:
        """How the view does now; what the runtime measures is up to a second old."""
        now_s = self._link.clock()
        status = self._status or protocol.StatusUpdate(view=self.id, state="live")
        with self._lock:
            shown = self._store.shown
            recent = sum(now_s - shown_s <= RATE_WINDOW_S for shown_s in self._shown_s)
            return ViewStatus(
                state=self.state,
                epoch=shown.epoch if shown is not None else status.epoch,
                playhead=shown.index if shown is not None else status.playhead,
                lead_s=status.lead_s,
                waiting_frames=len(self._store.frames) + len(self._inbox),
                dropped_frames=self._store.skipped + max(self._runtime_dropped, status.dropped),
                fps_shown=recent / RATE_WINDOW_S,
                fps_made=status.fps,
                delay_s=delay_at(self._playout, now_s),
                steering_latency_s=self._steering_latency_s,
                denoise_ms=status.denoise_ms,
                decode_ms=status.decode_ms,
                tick_ms=status.tick_ms,
                understood=status.understood,
                nearest=status.nearest,
                unread=status.unread,
            )

    # ---- the end

    @property
    def is_closed(self) -> bool:
        """Whether the view was closed, by the game or by the runtime."""
        return self._closed_by_game or self._error is not None

    @property
    def closed_reason(self) -> str:
        """Why the view ended without `close()`: the runtime closed it, or the game closed the runtime; else empty."""
        return "" if self._error is None else str(self._error)

    @property
    def error(self) -> EddylineError | None:
        """Why the runtime closed the view, or did not open it: a ViewError, mostly, whose class says what to do; a
        ClosedError when the game closed the runtime."""
        return self._error

    def wait_open(self, timeout_s: float = math.inf) -> None:
        """Wait until the runtime has opened the view, or a lost one again, up to `timeout_s` seconds.

        Not for a game's loop.

        Raises what `error` is then (CapacityError: there is no room for it), ConnectTimeoutError, OptionError or
        ClosedError.
        """
        self._check_open()
        check_timeout(timeout_s)
        if not self._link.wait(lambda: self.state not in ("opening", "lost"), timeout_s):
            what = "did not come back" if self.state == "lost" else "was not opened"
            raise ConnectTimeoutError(f"{self} {what} within {timeout_s:g} s; is the runtime ready?")
        self._check_open()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Close the view. Its unanswered words are cancelled, its last frame stays, and what is being recorded of it is
        finished. Closing twice is fine."""
        clip = self._clip
        if clip is not None:
            clip.finish()
        if not self._closed_by_game:
            self._closed_by_game = True
            self._link.close_view(self.id)

    def __enter__(self) -> View:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<View {self.id}{f' {self.name!r}' if self.name else ''}: {self.state}>"

    def __str__(self) -> str:
        return f"view {self.name!r}" if self.name else f"view {self.id}"

    # ---- the socket thread: these only replace values and fill a queue, so that neither thread waits for the other

    def receive_opened(self, message: protocol.ViewOpened) -> None:
        """Internal: the runtime opened the view, for the first time or again."""
        self._rate = message.fps
        self._newest = max(self._newest, (message.epoch, -1))
        self._status = None
        self._runtime_dropped = 0
        self._opened = True

    def receive_missing(self) -> None:
        """Internal: the runtime that answers now has no such view; it was asked to open it."""
        self._opened = False

    def receive_epoch(self, epoch: int) -> None:
        """Internal: words were applied in this epoch; when it is a new one, its frames count from 0, though none has
        come yet."""
        self._newest = max(self._newest, (epoch, -1))

    def receive_frame(self, frame: Frame, dropped: int, credit_left: int) -> None:
        """Internal: a frame came; `credit_left` frames are still granted after it."""
        delay_s = delay_at(self._playout, frame.received_s)
        late = frame.received_s - frame.due_s > delay_s
        if self._starved_until_s is None or not late:
            self._playout = observe_arrival(self._playout, due_s=frame.due_s, received_s=frame.received_s)
            self._starved_until_s = None
        elif self._starved_until_s == 0.0:
            self._starved_until_s = frame.received_s + STARVED_S
        elif frame.received_s > self._starved_until_s:
            self._starved_until_s = None
        if credit_left == 0:
            self._starved_until_s = 0.0
        self._runtime_dropped = dropped
        self._newest = max(self._newest, frame.order)
        self._inbox.append(frame)

    def receive_shared(self, shared: bool) -> None:
        """Internal: its owner shares the view, or does not: then keys that were held are let go."""
        self._shared = shared
        if not shared:
            self._held = {}

    def receive_status(self, message: protocol.StatusUpdate) -> None:
        """Internal: the runtime says how the view does."""
        self._status = message

    def receive_closed(self, error: EddylineError) -> None:
        """Internal: the view is over."""
        self._error = error

    # ---- inside

    def _drain(self) -> None:
        while self._inbox:
            self._freed += self._store.add(self._inbox.popleft())

    def _say(self, kind: WordKind, text: str, how: dict[str, object]) -> Receipt:
        self._check_steers()
        if len(self._unshown) >= MAX_UNANSWERED:
            self._forget_answered()
        receipt = Receipt(self._link.next_id(), self, kind, text, self._clock(), self._cancel)
        self._unshown[receipt.id] = receipt
        self._link.add_words(receipt, how)
        return receipt

    def _cancel(self, receipt: Receipt) -> None:
        self._link.cancel(self.id, receipt.id)

    def _end_clip(self, clip: Clip) -> None:
        """No more frames go into a clip. Called from its thread."""
        with self._lock:
            self._clip = None
        self._link.clips.discard(clip)
        self._link.note(notes.ClipEnded(clip))

    def _forget_answered(self) -> None:
        for receipt in list(self._unshown.values()):
            if receipt.state not in ("sent", "accepted"):
                self._unshown.pop(receipt.id, None)
        if len(self._unshown) >= MAX_UNANSWERED:
            raise BackpressureError(
                f"{len(self._unshown)} events, prompts and cuts of {self} are without an answer; wait until receipts "
                "in Runtime.poll() say that they were taken"
            )

    def _count_shown(self, frame: Frame, now_s: float) -> None:
        self._shown_s.append(now_s)
        for receipt in list(self._unshown.values()):
            first, epoch = receipt.first_influenced_frame, receipt.epoch
            if first is not None and epoch is not None and receipt.kind != "bookmark":
                if frame.order < (epoch, first):
                    continue
                receipt.shown_s = now_s
                self._steering_latency_s = receipt.steering_latency_s
            elif not receipt.is_final:
                continue
            self._unshown.pop(receipt.id, None)

    def _check_open(self) -> None:
        if self._closed_by_game:
            raise ClosedError(f"{self} was closed; open another with Runtime.open_view()")

    def _check_steers(self) -> None:
        self._check_open()
        if self.watches and self._shared is False:
            raise SpectatorError(
                f"{self} is another client's, and not shared, so it can only be watched; its owner shares it by "
                "View.share()"
            )

    def _check_owns(self, verb: str) -> None:
        self._check_open()
        if self.watches:
            raise SpectatorError(f"{self} is another client's, which alone may {verb} it; open a view of your own")

    def _check_at(self, at: At) -> None:
        if at == "next":
            return
        if isinstance(at, bool) or not isinstance(at, int) or not 0 <= at <= MAX_INDEX:
            raise OptionError(f"at={at!r}; give 'now', 'next', or the index of a frame")
        epoch, newest = self._newest
        if at <= newest:
            raise PastFrameError(
                f"at={at} is in the past: frame {newest} of epoch {epoch} has already been made; give a later one, "
                "or 'now'"
            )
