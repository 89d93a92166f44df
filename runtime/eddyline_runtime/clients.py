"""What the server remembers of views and clients: who sees which, credits, frames that wait, receipts. No sockets.

A view of the engine has one seat for the client that opened it, its owner, and one for each that watches it. What one
seat does not read, it alone loses.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from msgspec.structs import replace

from eddyline import protocol
from eddyline.protocol import ReceiptUpdate, RuntimeMessage
from eddyline_runtime.view import FrameRing, WaitingFrame


@dataclass(eq=False)
class ServedView:
    """One view of the engine, whoever watches it."""

    handle: int
    """The engine's number for it."""
    name: str
    """What it can be watched by; empty: by nothing."""
    opened: protocol.ViewOpened
    """As its owner was told."""
    epoch: int
    """Of the newest chunk."""
    paused: bool = False
    parked: bool = False
    resting: bool = False
    """As the engine last said."""
    shared: bool = False
    """Whether those who watch may steer, too."""
    saving: bool = False
    """Whether a snapshot was asked for and the engine has not answered."""
    asked_s: float = 0.0
    """When anybody last had credit, on the server's clock."""
    seats: list["ClientView"] = field(default_factory=list)
    """Its owner's, then those of who watches."""
    held_by: "ClientView | None" = None
    """Who set the held keys last."""
    words: dict[int, tuple["ClientView", int]] = field(default_factory=dict)
    """The engine's ids of words of who watches, until they are applied or come to nothing: whose, and their own id."""
    next_word: Iterator[int] = field(default_factory=lambda: count(protocol.MAX_INDEX + 1))
    """Ids that no client chooses: two clients may choose the same."""

    @property
    def owner(self) -> "ClientView":
        return self.seats[0]

    def engine_word(self, seat: "ClientView", word: int) -> int:
        """The engine's id for words that a client is about to say."""
        if seat is self.owner:
            return word
        number = next(self.next_word)
        self.words[number] = (seat, word)
        return number

    def known_word(self, seat: "ClientView", word: int) -> int | None:
        """The engine's id for words that a client said and that still wait; None when they do not."""
        if seat is self.owner:
            return word
        return next((number for number, said in self.words.items() if said == (seat, word)), None)

    def said(self, number: int) -> tuple["ClientView", int] | None:
        """Whose words an id of the engine names, and their own id; None when nobody is there to be told."""
        return (self.owner, number) if number <= protocol.MAX_INDEX else self.words.get(number)

    def words_of(self, seat: "ClientView") -> list[int]:
        """The engine's ids of the words of somebody who watches that are not applied yet."""
        return [number for number, (who, _) in self.words.items() if who is seat]

    def leave(self, seat: "ClientView") -> None:
        """Somebody does not watch any more: nobody is told of their words."""
        self.seats.remove(seat)
        self.words = {number: said for number, said in self.words.items() if said[0] is not seat}


@dataclass(eq=False)
class ClientView:
    """One view as one client sees it: its seat."""

    number: int
    """The client's own number for it."""
    client: "Client"
    view: ServedView
    ring: FrameRing
    credits: int = 0
    max_receipts: int = 1024
    waiting: set[int] = field(default_factory=set)
    """Words that came and have no receipt yet."""
    receipts: OrderedDict[int, ReceiptUpdate] = field(default_factory=OrderedDict)
    """The last receipt of each of its words, oldest words first."""

    @property
    def opened(self) -> protocol.ViewOpened:
        """What its client is told of the view."""
        return replace(self.view.opened, view=self.number, epoch=self.view.epoch)

    @property
    def watches(self) -> bool:
        """Whether another client opened the view."""
        return self is not self.view.owner

    def knows(self, word: int) -> bool:
        """Whether words of this id came before."""
        return word in self.waiting or word in self.receipts

    def remember(self, receipt: ReceiptUpdate) -> None:
        """Keep a receipt, to answer with it again; the oldest final ones are forgotten where there are too many."""
        self.waiting.discard(receipt.id)
        self.receipts[receipt.id] = receipt
        if len(self.receipts) > self.max_receipts:
            oldest = next((known.id for known in self.receipts.values() if known.state != "accepted"), receipt.id)
            del self.receipts[oldest]

    def cancelled(self, reason: str) -> list[ReceiptUpdate]:
        """The receipts of all words that are not applied when the view ends."""
        accepted = [known.id for known in self.receipts.values() if known.state == "accepted"]
        return [
            ReceiptUpdate(id=word, view=self.number, state="cancelled", reason=reason)
            for word in sorted({*accepted, *self.waiting})
        ]

    def next_frame(self) -> WaitingFrame | None:
        """The frame to send now, if there is one that may be sent; a resting view's wait, for their time will move."""
        if self.credits == 0 or self.view.paused or self.view.parked or self.view.resting:
            return None
        return self.ring.pop()


@dataclass
class Client:
    """One client, known by the token of its HELLO, whatever connection it comes by."""

    token: str
    heard_s: float
    routing: bytes | None
    """The connection it is reached by; None while it is away."""
    views: dict[int, ClientView] = field(default_factory=dict)
    outbox: deque[tuple[bytes, bytes | None]] = field(default_factory=deque)
    """Headers that could not be sent yet, oldest first, and the binary part of a snapshot's."""
    away_s: float | None = None
    """Since when it is away."""

    def tell(self, message: RuntimeMessage, payload: bytes | None = None) -> None:
        """Put a message into the outbox; a client that is away is told nothing but what it asks for again."""
        if self.routing is not None:
            self.outbox.append((protocol.encode(message), payload))

    def leave(self, now_s: float) -> None:
        """The connection is gone: nothing can be told, nothing may be sent."""
        self.routing, self.away_s = None, now_s
        self.outbox.clear()
        for view in self.views.values():
            view.credits = 0
