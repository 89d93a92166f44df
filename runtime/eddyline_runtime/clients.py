"""What the server remembers of a client: views, credits, frames that wait, receipts already given. No sockets."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from eddyline import protocol
from eddyline.protocol import ReceiptUpdate, RuntimeMessage
from eddyline_runtime.view import FrameRing, WaitingFrame


@dataclass
class ClientView:
    """One view as its client sees it."""

    number: int
    """The client's own number for it."""
    handle: int
    """The engine's number for it."""
    opened: protocol.ViewOpened
    ring: FrameRing
    fps: float
    credits: int = 0
    asked_s: float = 0.0
    """When it last had credit, on the server's clock."""
    paused: bool = False
    parked: bool = False
    resting: bool = False
    """As the engine last said."""
    saving: bool = False
    """Whether a snapshot was asked for and the engine has not answered."""
    max_receipts: int = 1024
    waiting: set[int] = field(default_factory=set)
    """Words that came and have no receipt yet."""
    receipts: OrderedDict[int, ReceiptUpdate] = field(default_factory=OrderedDict)
    """The last receipt of each of its words, oldest words first."""

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
        if self.credits == 0 or self.paused or self.parked or self.resting:
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
