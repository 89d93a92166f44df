"""The link between the game's objects and the socket thread: hands messages to views and receipts, and writes notes.

The methods of the first half may be called by any thread and return at once; those of the second half run on the socket
thread. The two halves share only queues and values that are replaced as a whole, so neither waits for the other.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eddyline import notes, protocol
from eddyline.errors import (
    CapacityError,
    ClosedError,
    ConnectTimeoutError,
    EddylineError,
    OwnerClosedError,
    UnknownNameError,
    ViewError,
)
from eddyline.frames import Frame
from eddyline.outbox import Outbox
from eddyline.protocol import ReceiptUpdate, RuntimeMessage, Words
from eddyline.receipts import Receipt, WordKind
from eddyline.snapshots import Snapshot
from eddyline.transport import Transport

if TYPE_CHECKING:
    from eddyline.clip import Clip
    from eddyline.view import View

MAX_NOTES = 1024
"""Notes that wait for `poll()`; when there are more, the oldest go."""

_ENDS_A_VIEW: dict[str, type[ViewError]] = {
    "unknown_view": ViewError,
    "unknown_profile": ViewError,
    "too_many_views": CapacityError,
    "no_capacity": CapacityError,
    "bad_snapshot": ViewError,
    "unknown_name": UnknownNameError,
    "too_many_watchers": CapacityError,
}
"""Errors after which a view is not open, and what the game is told."""

_WORDS: dict[WordKind, Callable[..., Words]] = {
    "prompt": protocol.Prompt,
    "event": protocol.Event,
    "cut": protocol.Cut,
    "rewind": protocol.Rewind,
    "bookmark": protocol.Bookmark,
    "return_to": protocol.ReturnTo,
}


@dataclass(frozen=True)
class World:
    """What the runtime dreams; `Runtime.world` says it."""

    model: str
    """Its name."""
    fps: float
    """Frames a second of a view with stride 1."""
    height: int
    """Of a frame, in pixels."""
    width: int
    """Of a frame, in pixels."""
    action_names: tuple[str, ...]
    """The keys that do something in it, as `View.act` takes them."""
    phrases: tuple[str, ...]
    """What it knows best, in words."""
    profiles: dict[str, int]
    """The name of each profile, with the frames of its chunks."""
    default_profile: str
    """What a view is dreamed in when it names none."""
    max_views: int
    """How many views may be open at once, of all clients together."""
    runtime: str
    """The runtime's name and version."""


class NoteQueue:
    """A bounded queue of notes; any thread puts, the game takes."""

    def __init__(self) -> None:
        self._notes: deque[notes.Note] = deque(maxlen=MAX_NOTES)
        self._lost = 0
        self._lock = threading.Lock()

    def put(self, note: notes.Note) -> None:
        """Add a note; the oldest goes when there are too many."""
        with self._lock:
            self._lost += len(self._notes) == MAX_NOTES
            self._notes.append(note)

    def take(self) -> list[notes.Note]:
        """Return all notes, oldest first, and forget them."""
        with self._lock:
            taken, lost = list(self._notes), self._lost
            self._notes.clear()
            self._lost = 0
        return [notes.NotesLost(lost), *taken] if lost else taken


class Link:
    """Everything that belongs to one runtime behind its public face, `client.Runtime`."""

    def __init__(self, endpoint: str | None, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.notes = NoteQueue()
        self.world: World | None = None
        self.connected_now = False
        self.progress = notes.Progress(0.0, "")
        """How far the start of a launched runtime is."""
        self.gone: EddylineError | None = None
        """Why nothing more will come, once that is so."""
        self.closed = False
        """Whether the game closed all of it."""
        self.on_trouble: Callable[[str], None] | None = None
        """Called on the socket thread when the runtime is silent or stalled, for whoever can do something about it."""
        self.clips: set[Clip] = set()
        """What is being recorded."""
        self.recording = threading.Lock()
        """Held while a recording begins, so that no two begin one file and none begins when all is closed."""
        self._changed = threading.Condition()
        self.next_id: Callable[[], int] = itertools.count(1).__next__
        """Returns a number that this client never used before."""
        self._instance: str | None = None
        self._views: dict[int, View] = {}
        self._outbox = Outbox(
            lambda message, payload: self._transport.send(message, payload),
            on_failed=lambda snapshot: self.note(notes.SnapshotTaken(snapshot)),
        )
        hello = protocol.Hello(version=protocol.VERSION, token=secrets.token_urlsafe(24), client="eddyline")
        self._transport = Transport(self, hello, endpoint, clock=clock)

    # ---- any thread

    def open_view(self, view: View, message: protocol.OpenView, snapshot: bytes | None = None) -> None:
        """Open a view; one that goes on from a snapshot, if that is given."""

        def command() -> None:
            self._views[view.id] = view
            if self.gone is not None:
                self._end_view(view.id, self.gone)
            else:
                self._outbox.open_view(message, snapshot)

        self._transport.post(command)

    def fork_view(self, view: View, source_id: int) -> None:
        """Open a view that goes on from another one."""

        def command() -> None:
            self._views[view.id] = view
            if self.gone is not None:
                self._end_view(view.id, self.gone)
            elif not self._outbox.fork_view(source_id, view.id, view.name):
                self._end_view(view.id, ViewError(f"view {source_id}, which it was to go on from, is closed"))

        self._transport.post(command)

    def watch_view(self, view: View) -> None:
        """Watch the view of another client that has this one's name."""

        def command() -> None:
            self._views[view.id] = view
            if self.gone is not None:
                self._end_view(view.id, self.gone)
            else:
                self._outbox.watch_view(protocol.WatchView(view=view.id, name=view.name))

        self._transport.post(command)

    def share_view(self, view_id: int, shared: bool) -> None:
        """Let those who watch a view steer it, or not."""
        self._transport.post(self._outbox.share_view, view_id, shared)

    def save_view(self, snapshot: Snapshot) -> None:
        """Ask for a snapshot."""

        def command() -> None:
            if not self._outbox.save_view(snapshot):
                snapshot.fail(f"the view was closed: {snapshot.view.closed_reason or 'the game closed it'}")
                self.note(notes.SnapshotTaken(snapshot))

        self._transport.post(command)

    def close_view(self, view_id: int) -> None:
        """Close a view; its unanswered words are cancelled."""

        def command() -> None:
            self._views.pop(view_id, None)
            self._end_receipts(self._outbox.close_view(view_id), "cancelled", "the view was closed")

        self._transport.post(command)

    def add_words(self, receipt: Receipt, how: dict[str, object]) -> None:
        """Send words; the receipt tells what becomes of them. `how`: the fields of their message, without both numbers.

        The message is made on the socket thread: the game's thread pays for the receipt only.
        """
        self._transport.post(self._add_words, receipt, how)

    def cancel(self, view_id: int, word_id: int) -> None:
        """Ask to take words back."""
        self._transport.post(self._outbox.cancel, view_id, word_id)

    def act(self, view_id: int, keys: dict[str, float]) -> None:
        """Set the held state of a view."""
        self._transport.post(self._outbox.act, view_id, keys)

    def pause(self, view_id: int, paused: bool) -> None:
        """Stop the playhead of a view, or let it move."""
        self._transport.post(self._outbox.pause, view_id, paused)

    def freed(self, view_id: int, frames: int) -> None:
        """Frames left a view's store; grant as many new ones."""
        self._transport.post(self._outbox.freed, view_id, frames)

    def note(self, note: notes.Note) -> None:
        """Put a note for `poll()` to hand out."""
        self.notes.put(note)

    def set_progress(self, progress: notes.Progress) -> None:
        """Say how far the start of the runtime is."""
        self.progress = progress
        self._wake_waiters()

    @property
    def healthy(self) -> bool:
        """Whether the runtime answers and its turns end."""
        return self.connected_now and not self._transport.is_stalled

    @property
    def stuck_s(self) -> float:
        """For how many seconds the runtime has not got on: it was silent, or in one turn."""
        return self.clock() - self._transport.progress_s

    @property
    def unknown_messages(self) -> int:
        """Messages of kinds that this version does not know."""
        return self._transport.unknown_messages

    def set_endpoint(self, endpoint: str | None, reason: str) -> None:
        """Leave the present runtime and turn to another; with None, to nobody yet."""
        self._transport.set_endpoint(endpoint, reason)

    def give_up(self, error: EddylineError) -> None:
        """Nothing more will come: answer all receipts, close all views."""
        self._transport.set_endpoint(None, str(error))
        self._transport.post(self.refused, error)

    def begin_close(self) -> list[Clip]:
        """The game closes all of it: nothing is recorded from now on. Returns what still is, to be finished."""
        with self.recording:
            self.closed = True
            return list(self.clips)

    def close(self) -> None:
        """Say goodbye and end the socket thread. Receipts without an answer are cancelled."""
        self._transport.post(self._say_bye)
        self._transport.close()

    def wait_connected(self, timeout_s: float, on_turn: Callable[[], object]) -> None:
        """Wait until the runtime answered; calls `on_turn` now and then, and whenever there is progress.

        Raises what made the runtime unreachable for good, ClosedError when another thread closes it meanwhile, or
        ConnectTimeoutError after `timeout_s` seconds.
        """
        deadline_s = self.clock() + timeout_s
        while True:
            on_turn()
            with self._changed:
                if self.closed:
                    raise ClosedError("the runtime was closed")
                if self.connected_now:
                    break
                if self.gone is not None:
                    raise self.gone
                left_s = deadline_s - self.clock()
                if left_s <= 0:
                    reason, endpoint = self._transport.last_reason, self._transport.endpoint
                    raise ConnectTimeoutError(
                        f"no runtime answered{f' at {endpoint}' if endpoint else ''} within {timeout_s:g} s"
                        f"{f' ({reason})' if reason else ''}; is it running, on this port, and done loading? "
                        "`eddyline-runtime serve --bind "
                        "tcp://127.0.0.1:7860` starts one, eddyline.launch() starts and finds its own"
                    )
                self._changed.wait(min(left_s, 0.1))
        on_turn()

    def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `done()`, for what a view is told, up to `timeout_s` seconds. Returns whether it is."""
        deadline_s = self.clock() + timeout_s
        with self._changed:
            while not done() and (left_s := deadline_s - self.clock()) > 0:
                self._changed.wait(min(left_s, 1.0))
        return done()

    def _wake_waiters(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # ---- the socket thread

    def _add_words(self, receipt: Receipt, how: dict[str, object]) -> None:
        message = _WORDS[receipt.kind](id=receipt.id, view=receipt.view.id, **how)
        if not self._outbox.add_words(message, receipt):
            reason = receipt.view.closed_reason or "the game closed it"
            self._end_receipts([receipt], "rejected", f"the view was closed: {reason}")

    def connected(self, welcome: protocol.Welcome) -> None:
        """A runtime took us in: tell it all it does not know."""
        self.world = World(
            model=welcome.model,
            fps=welcome.fps,
            height=welcome.height,
            width=welcome.width,
            action_names=welcome.action_names,
            phrases=welcome.phrases,
            profiles={profile.name: profile.chunk_frames for profile in welcome.profiles},
            default_profile=welcome.default_profile,
            max_views=welcome.max_views,
            runtime=welcome.runtime,
        )
        open_views = frozenset(welcome.views)
        hopeless = self._outbox.hopeless(open_views)
        if hopeless is not None:
            view_id, reason = hopeless
            self._end_view(view_id, ViewError(reason))
        self._outbox.welcome(open_views)
        if not self._outbox.is_connected:
            return  # it took no more of what it was told: the connection is lost again, which was said
        for view_id in self._views.keys() - open_views:
            self._views[view_id].receive_missing()
        first, same = self._instance is None, self._instance == welcome.instance
        self._instance = welcome.instance
        self.connected_now = True
        if not first:
            self.notes.put(notes.ConnectionRegained(same_runtime=same))
        self._wake_waiters()

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        self._outbox.lost()
        self.connected_now = False
        self.note(notes.ConnectionLost(reason))
        if self.on_trouble is not None:
            self.on_trouble(reason)

    def stalled(self, tick_age_s: float) -> None:
        """The runtime has been in one turn for long."""
        self.note(notes.RuntimeStalled(tick_age_s))
        if self.on_trouble is not None:
            self.on_trouble(f"one turn took {tick_age_s:.0f} s")

    def refused(self, error: EddylineError) -> None:
        """Nothing more will come."""
        if self.gone is not None:
            return
        self.gone = error
        self._outbox.lost()
        self.connected_now = False
        self._end_receipts(self._outbox.abandon(), "rejected", str(error))
        for view in self._views.values():
            view.receive_closed(error)
        self._views.clear()
        self.note(notes.RuntimeGone(str(error)))
        self._wake_waiters()

    def received(self, message: RuntimeMessage, payload: bytes | None, received_s: float) -> None:
        """Hand a message to whom it concerns."""
        match message:
            case protocol.FrameHeader():
                self._take_frame(message, payload, received_s)
            case protocol.ReceiptUpdate():
                self._take_receipt(message)
            case protocol.ViewOpened():
                news, again = self._outbox.view_opened(message)
                view = self._views.get(message.view)
                if view is not None and news:
                    view.receive_opened(message)
                    self.note(notes.ViewOpened(view, again=again))
                    self._wake_waiters()
            case protocol.ViewClosed():
                view = self._views.get(message.view)
                kind = OwnerClosedError if view is not None and view.watches else ViewError
                self._end_view(message.view, kind(message.reason or "the runtime closed it"))
            case protocol.ViewShared():
                view = self._views.get(message.view)
                if view is not None:
                    view.receive_shared(message.shared)
                    if not message.shared:
                        self._outbox.let_go(message.view)
            case protocol.StatusUpdate():
                view = self._views.get(message.view)
                if view is not None:
                    view.receive_status(message)
            case protocol.SnapshotHeader(view=view_id, id=number):
                snapshot = self._outbox.snapshot(view_id, number)
                if snapshot is not None:
                    snapshot.fail("it came without its file") if payload is None else snapshot.take(payload)
                    self.note(notes.SnapshotTaken(snapshot))
            case protocol.ErrorMessage():
                self._take_error(message)

    def _take_frame(self, header: protocol.FrameHeader, payload: bytes | None, received_s: float) -> None:
        view, clock_map = self._views.get(header.view), self._transport.clock_map
        if view is None or clock_map is None:
            return
        credit_left = self._outbox.frame(header.view, header.epoch, header.prompt)
        size = header.height * header.width * 3
        if payload is None or len(payload) != size:
            got = "none" if payload is None else f"{len(payload)}"
            text = f"a frame of {header.height} x {header.width} needs {size} bytes of pixels, {got} came"
            if credit_left is not None:
                self._outbox.freed(header.view, 1)  # it took a credit, and waits nowhere
            self.received(protocol.ErrorMessage(code="bad_message", message=text, view=header.view), None, received_s)
            return
        if credit_left is None:
            return
        pixels = np.frombuffer(payload, dtype=np.uint8).reshape(header.height, header.width, 3)
        frame = Frame(
            pixels=pixels,
            epoch=header.epoch,
            index=header.index,
            chunk=header.chunk,
            due_s=clock_map.to_local(header.due_s),
            made_s=clock_map.to_local(header.made_s),
            received_s=received_s,
            prompt=header.prompt,
            events=header.events,
        )
        view.receive_frame(frame, header.dropped, credit_left)

    def _take_receipt(self, update: ReceiptUpdate) -> bool:
        view = self._views.get(update.view)
        if view is not None and update.state == "applied" and update.epoch is not None:
            view.receive_epoch(update.epoch)  # before the receipt says so: who reads it there may use `at=` at once
        found = self._outbox.receipt(update)
        if found is None:
            return False
        receipt, changed = found
        if changed:
            self.note(notes.ReceiptChanged.of(receipt))
        return True

    def _take_error(self, message: protocol.ErrorMessage) -> None:
        """An error about words rejects them; one about a view that is not open ends it; all others become notes."""
        if message.id is not None and message.view is not None:
            rejected = ReceiptUpdate(id=message.id, view=message.view, state="rejected", reason=message.message)
            if self._take_receipt(rejected):
                return
            snapshot = self._outbox.snapshot(message.view, message.id)
            if snapshot is not None:
                snapshot.fail(message.message)
                self.note(notes.SnapshotTaken(snapshot))
                return
            if message.view not in self._views:
                return  # the game closed it; what it had asked for was answered then
        if message.view is not None and message.code in _ENDS_A_VIEW:
            self._end_view(message.view, _ENDS_A_VIEW[message.code](message.message))
            return
        view = None if message.view is None else self._views.get(message.view)
        self.note(notes.ErrorReported(message.code, message.message, view))

    def _end_view(self, view_id: int, error: EddylineError) -> None:
        view = self._views.pop(view_id, None)
        if view is not None:
            self._end_receipts(self._outbox.close_view(view_id), "cancelled", f"the view was closed: {error}")
            view.receive_closed(error)
            self.note(notes.ViewClosed(view, str(error)))
            self._wake_waiters()

    def _end_receipts(self, receipts: list[Receipt], state: protocol.WordState, reason: str) -> None:
        for receipt in receipts:
            if receipt.update(ReceiptUpdate(id=receipt.id, view=receipt.view.id, state=state, reason=reason)):
                self.note(notes.ReceiptChanged.of(receipt))

    def _say_bye(self) -> None:
        self._transport.send(protocol.Bye())
        self._end_receipts(self._outbox.abandon(), "cancelled", "the runtime was closed")
        for view in self._views.values():
            view.receive_closed(ClosedError("the runtime was closed"))
        self._views.clear()
        self._wake_waiters()
