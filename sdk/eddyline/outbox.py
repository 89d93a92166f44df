"""What must reach the runtime, kept until it is answered: open views, words, held keys, pauses, credits.

Events, prompts, cuts, rewinds and bookmarks are sent at least once: they stay here until their receipt is final, and
are sent again after a reconnect; the runtime de-duplicates by id. Views that the runtime no longer knows are opened
anew, in a new epoch, under the prompt that stands. Belongs to the socket thread; knows no sockets itself (`send` is an
argument).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from eddyline import protocol
from eddyline.frames import CREDIT_FRAMES
from eddyline.protocol import ClientMessage, ReceiptUpdate, Words
from eddyline.receipts import Receipt
from eddyline.snapshots import Snapshot

MAX_AWAITING_FULL = 64
"""Applied words of one view whose second date is still awaited; older ones are not asked for after a reconnect."""
MAX_RESTORES = 2
"""How often a snapshot is sent in vain. A runtime hangs up without a word on one that is too large for it."""


@dataclass
class _Word:
    message: Words
    receipt: Receipt
    cancelled: bool = False


@dataclass
class _View:
    """What the runtime has to know about one view. `opening` is the message that would open it as it is now."""

    opening: protocol.OpenView | protocol.WatchView
    fork_of: int | None = None
    """The view it goes on from, until it was opened as its fork."""
    snapshot: bytes | None = None
    """What it goes on from, until it was opened so."""
    restores: int = 0
    """How often that was sent."""
    saves: dict[int, Snapshot] = field(default_factory=dict)
    opened: bool = False
    reopening: bool = False
    newest_epoch: int = 0
    prompt_since: tuple[int, int, int] = (0, 0, 0)
    """Epoch and frame from which its prompt shows, and the id of the words that brought it. Words for a later frame
    are applied after words with higher ids."""
    rewound_to: int | None = None
    """The epoch that a rewind began: from there on the frames tell which prompt stands, until words bring another."""
    paused: bool = False
    shared: bool | None = None
    """None: the game never said."""
    keys: dict[str, float] | None = None
    words: dict[int, _Word] = field(default_factory=dict)
    waiting_frames: int = 0
    granted: int = 0

    @property
    def watches(self) -> bool:
        """Whether another client opened it."""
        return isinstance(self.opening, protocol.WatchView)

    def grant(self) -> int:
        """Return how many frames may be granted now, and count them as granted."""
        frames = max(0, CREDIT_FRAMES - self.waiting_frames - self.granted)
        self.granted += frames
        return frames


class Outbox:
    """The client's side of everything that is answered or remembered. `send` is called only while connected,
    `on_failed` with each snapshot that will not come."""

    def __init__(
        self,
        send: Callable[[ClientMessage, bytes | None], None],
        *,
        on_failed: Callable[[Snapshot], None] = lambda _: None,
    ) -> None:
        self._send = send
        self._on_failed = on_failed
        self._connected = False
        self._views: dict[int, _View] = {}

    def open_view(self, message: protocol.OpenView, snapshot: bytes | None = None) -> None:
        """Open a view now, or as soon as there is a connection; from a snapshot, if one is given."""
        view = _View(opening=message, newest_epoch=message.epoch, snapshot=snapshot)
        self._views[message.view] = view
        if self._connected:
            self._send_opening(view, known=False)

    def fork_view(self, source_id: int, view_id: int, name: str) -> bool:
        """Open a view that goes on from another. Returns False when that one is not there any more."""
        source = self._views.get(source_id)
        if source is None or isinstance(source.opening, protocol.WatchView):
            return False
        opening = replace(source.opening, view=view_id, name=name, epoch=0, credits=0)
        view = _View(opening=opening, fork_of=source_id, keys=source.keys)
        self._views[view_id] = view
        if self._connected:
            self._send_opening(view, known=False)
        return True

    def watch_view(self, message: protocol.WatchView) -> None:
        """Watch a view of another client, now, or as soon as there is a connection."""
        view = _View(opening=message)
        self._views[message.view] = view
        if self._connected:
            self._send_opening(view, known=False)

    def share_view(self, view_id: int, shared: bool) -> None:
        """Let those who watch a view steer it, or not."""
        view = self._views.get(view_id)
        if view is not None:
            view.shared = shared
            if self._connected:
                self._tell(protocol.ShareView(view=view_id, shared=shared))

    def close_view(self, view_id: int) -> list[Receipt]:
        """Forget a view, and tell the runtime if it is connected. Returns the receipts that nobody will answer now."""
        view = self._views.pop(view_id, None)
        if view is None:
            return []
        if self._connected:
            self._tell(protocol.CloseView(view=view_id))
        self._fail_saves(view, "the view was closed")
        return _unanswered(view)

    def add_words(self, message: Words, receipt: Receipt) -> bool:
        """Send words and keep them until their receipt is final. Returns False when the view is not there any more."""
        view = self._views.get(message.view)
        if view is None:
            return False
        view.words[message.id] = _Word(message, receipt)
        if self._connected:
            self._tell(message)
        return True

    def save_view(self, snapshot: Snapshot) -> bool:
        """Ask for a snapshot, again after a reconnect. Returns False when the view is not there any more."""
        view = self._views.get(snapshot.view.id)
        if view is None:
            return False
        view.saves[snapshot.id] = snapshot
        if self._connected:
            self._tell(protocol.SaveView(id=snapshot.id, view=snapshot.view.id))
        return True

    def snapshot(self, view_id: int, number: int) -> Snapshot | None:
        """The snapshot that was asked for under a number, which is answered now; None when nobody waits for it."""
        view = self._views.get(view_id)
        return None if view is None else view.saves.pop(number, None)

    def cancel(self, view_id: int, word_id: int) -> None:
        """Ask to take words back; asked again after a reconnect."""
        view = self._views.get(view_id)
        if view is not None and word_id in view.words:
            view.words[word_id].cancelled = True
            if self._connected:
                self._tell(protocol.Cancel(id=word_id, view=view_id))

    def act(self, view_id: int, keys: dict[str, float]) -> None:
        """Set the held state of a view; the latest wins."""
        view = self._views.get(view_id)
        if view is not None:
            view.keys = keys
            if self._connected:
                self._tell(protocol.Act(view=view_id, keys=keys))

    def let_go(self, view_id: int) -> None:
        """Forget what is held in a view: the runtime has let it go."""
        view = self._views.get(view_id)
        if view is not None:
            view.keys = None

    def pause(self, view_id: int, paused: bool) -> None:
        """Stop the playhead of a view or let it move again."""
        view = self._views.get(view_id)
        if view is not None:
            view.paused = paused
            if self._connected:
                self._tell(protocol.Pause(view=view_id) if paused else protocol.Resume(view=view_id))

    def freed(self, view_id: int, frames: int) -> None:
        """Grant new frames for `frames` that left the view's store."""
        view = self._views.get(view_id)
        if view is not None:
            view.waiting_frames = max(0, view.waiting_frames - frames)
            self._send_credit(view)

    def frame(self, view_id: int, epoch: int, prompt: str = "") -> int | None:
        """Count a frame that came, under a prompt (empty: it does not say). Returns how many more are granted, or None
        when it must be thrown away: its view is not open, or it is beyond what was granted."""
        view = self._views.get(view_id)
        if view is None or view.granted == 0:
            return None
        view.granted -= 1
        view.waiting_frames += 1
        view.newest_epoch = max(view.newest_epoch, epoch)
        _follow(view, epoch, prompt)
        return view.granted

    def view_opened(self, message: protocol.ViewOpened) -> tuple[bool, bool]:
        """Take in VIEW_OPENED. Returns (whether it is news, whether the view was opened again)."""
        view = self._views.get(message.view)
        if view is None or view.opened:
            return False, False
        again, view.opened, view.reopening = view.reopening, True, False
        view.fork_of = view.snapshot = None
        view.newest_epoch = max(view.newest_epoch, message.epoch)
        return True, again

    def receipt(self, update: ReceiptUpdate) -> tuple[Receipt, bool] | None:
        """Take in RECEIPT. Returns the receipt and whether it changed; None when nobody waits for it."""
        view = self._views.get(update.view)
        word = None if view is None else view.words.get(update.id)
        if view is None or word is None:
            return None
        changed = word.receipt.update(update)
        message = word.message
        if update.state == "applied":
            view.newest_epoch = max(view.newest_epoch, update.epoch or 0)
            _redescribe(view, message, update)
        if word.receipt.is_final:
            del view.words[update.id]
        else:
            self._forget_old(view)
        return word.receipt, changed

    @property
    def is_connected(self) -> bool:
        """Whether what is told goes out; sending it may show that it does not."""
        return self._connected

    def lost(self) -> None:
        """The connection is gone: send nothing until `welcome`."""
        self._connected = False

    def hopeless(self, open_views: Collection[int]) -> tuple[int, str] | None:
        """A view to be given up before `welcome`, and why: its snapshot, once more, was sent and not answered.

        Messages arrive in order, so it is the first snapshot that was not taken on which the connection was lost; those
        after it did not arrive.
        """
        for view_id, view in self._views.items():
            if view.snapshot is None or view_id in open_views:
                continue
            if view.restores < MAX_RESTORES:
                return None
            return view_id, (
                f"{view.restores} times the connection was lost before its snapshot of {len(view.snapshot)} bytes was "
                "answered; it may be too large for this runtime: restore it in one of the world it was taken of"
            )
        return None

    def welcome(self, open_views: Collection[int]) -> None:
        """A connection is there, and the runtime still has `open_views` of ours. Send all that it does not know."""
        self._connected = True
        for view_id in open_views:
            if view_id not in self._views:
                self._tell(protocol.CloseView(view=view_id))
        for view_id, view in self._views.items():
            view.granted = 0
            known = view_id in open_views
            if view.fork_of not in open_views:
                view.fork_of = None  # there is nothing to go on from: it opens as the source did
            if not (known and view.opened):
                self._send_opening(view, known=known)
            if known:
                self._send_credit(view)
            if view.keys or (view.keys is not None and not view.watches):
                self._tell(protocol.Act(view=view_id, keys=view.keys))
            if (view.paused or known) and not view.watches:
                self._tell(protocol.Pause(view=view_id) if view.paused else protocol.Resume(view=view_id))
            if view.shared is not None:
                self._tell(protocol.ShareView(view=view_id, shared=view.shared))
            if not known:
                self._fail_saves(view, "the runtime was lost before it was taken")
            for number in view.saves:
                self._tell(protocol.SaveView(id=number, view=view_id))
            for word in self._words_to_repeat(view, known=known):
                self._tell(word.message)
                if word.cancelled:
                    self._tell(protocol.Cancel(id=word.message.id, view=view_id))

    def abandon(self) -> list[Receipt]:
        """Forget everything. Returns all receipts that nobody will answer now."""
        receipts = [receipt for view in self._views.values() for receipt in _unanswered(view)]
        for view in self._views.values():
            self._fail_saves(view, "the runtime is gone")
        self._views.clear()
        return receipts

    def _tell(self, message: ClientMessage) -> None:
        self._send(message, None)

    def _send_opening(self, view: _View, *, known: bool) -> None:
        if view.opened:
            view.opened, view.reopening = False, True
            view.newest_epoch += 1
            if isinstance(view.opening, protocol.OpenView):
                view.opening = replace(view.opening, epoch=view.newest_epoch)
        opening, credits = view.opening, 0 if known else view.grant()
        if isinstance(opening, protocol.WatchView):
            self._tell(replace(opening, credits=credits))
        elif view.fork_of is not None:
            self._tell(protocol.ForkView(view=opening.view, source=view.fork_of, name=opening.name, credits=credits))
        elif view.snapshot is not None:
            restoring = protocol.RestoreView(view=opening.view, name=opening.name, epoch=opening.epoch, credits=credits)
            view.restores += 1
            self._send(restoring, view.snapshot)
        else:
            self._tell(replace(opening, credits=credits))

    def _send_credit(self, view: _View) -> None:
        frames = view.grant() if self._connected else 0
        if frames:
            self._tell(protocol.Credit(view=view.opening.view, frames=frames))

    def _words_to_repeat(self, view: _View, *, known: bool) -> Iterator[_Word]:
        """To a runtime that knows the view, all words without a final receipt; to a new one, those not yet applied.

        A frame index given as `at` belongs to an epoch that is over in a new runtime, so those words are due now.
        """
        for word in list(view.words.values()):
            if known:
                yield word
            elif word.receipt.state in ("sent", "accepted"):
                if isinstance(word.message, protocol.Event | protocol.Prompt) and isinstance(word.message.at, int):
                    word.message = replace(word.message, at="now")
                yield word
            else:
                del view.words[word.message.id]

    def _fail_saves(self, view: _View, reason: str) -> None:
        saves, view.saves = view.saves, {}
        for snapshot in saves.values():
            snapshot.fail(reason)
            self._on_failed(snapshot)

    @staticmethod
    def _forget_old(view: _View) -> None:
        applied = [word_id for word_id, word in view.words.items() if word.receipt.state == "applied"]
        for word_id in applied[:-MAX_AWAITING_FULL]:
            del view.words[word_id]


def _redescribe(view: _View, message: Words, update: ReceiptUpdate) -> None:
    """Keep what opens a view as it is after words that were applied, unless what was applied before shows later."""
    epoch = update.epoch or 0
    since = (epoch, update.first_influenced_frame or 0, update.id)
    if isinstance(message, protocol.Rewind):
        since = (epoch, 0, 0)  # words that waited meanwhile have lower ids, and are applied after it
    if not isinstance(view.opening, protocol.OpenView) or since <= view.prompt_since:
        return
    if isinstance(message, protocol.Rewind):
        view.prompt_since, view.rewound_to = since, epoch
    elif _redescribes(message):
        view.prompt_since, view.rewound_to = since, None
        view.opening = _under(view.opening, message)


def _follow(view: _View, epoch: int, prompt: str) -> None:
    """Let a frame tell which prompt stands, where a rewind put back one that nobody here remembers."""
    opening = view.opening
    if view.rewound_to is None or epoch < view.rewound_to or not isinstance(opening, protocol.OpenView):
        return
    if prompt not in ("", opening.prompt):
        view.opening = replace(opening, prompt=prompt)


def _redescribes(message: Words) -> bool:
    """Whether another prompt stands after these words."""
    if isinstance(message, protocol.ReturnTo):
        return message.prompt is not None
    return isinstance(message, protocol.Prompt | protocol.Cut)


def _under(opening: protocol.OpenView, message: Words) -> protocol.OpenView:
    """What opens a view as it is after these words."""
    match message:
        case protocol.Cut(text=text, seed=int(seed)):
            return replace(opening, prompt=text, seed=seed)
        case protocol.Prompt(text=text) | protocol.Cut(text=text) | protocol.ReturnTo(prompt=str(text)):
            return replace(opening, prompt=text)
        case _:
            return opening


def _unanswered(view: _View) -> list[Receipt]:
    return [word.receipt for word in view.words.values() if word.receipt.state in ("sent", "accepted")]
