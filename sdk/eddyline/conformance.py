"""A conformance check: does a runtime, any runtime, do what `sdk/PROTOCOL.md` says?

It speaks to the runtime over a bare socket, so that it also sees what the SDK would forgive. Each check is a function
whose docstring is the rule it checks.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeVar

import msgpack  # type: ignore[import-untyped]
import zmq

from eddyline import protocol
from eddyline.errors import ConformanceError, ProtocolError, SnapshotError, UnknownKindError, VersionError
from eddyline.protocol import ClientMessage, FrameHeader, ReceiptUpdate, RuntimeMessage
from eddyline.snapshots import snapshot_info
from eddyline.transport import check_endpoint

_Found = TypeVar("_Found", bound=protocol.Message)
NEWER_FIELD = {"a_field_of_a_later_version": 1}


class Peer:
    """A bare client: one socket, one HELLO, and the messages that came. A context manager."""

    def __init__(
        self, endpoint: str, *, token: str | None = None, hello: bool = True, patience_s: float = 10.0
    ) -> None:
        self.token = token or secrets.token_urlsafe(24)
        self.patience_s = patience_s
        self.pings = True
        """Whether it says PING while it listens and nothing comes."""
        self.inbox: list[tuple[RuntimeMessage, bytes | None]] = []
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.connect(endpoint)
        self.welcome: protocol.Welcome | None = None
        if hello:
            self.send(protocol.Hello(version=protocol.VERSION, token=self.token, client="check_runtime"))
            self.welcome = self.expect(protocol.Welcome)

    def send(self, message: ClientMessage, payload: bytes | None = None) -> None:
        """Send a message."""
        self._socket.send_multipart([protocol.encode(message), *([] if payload is None else [payload])])

    def send_raw(self, *parts: bytes) -> None:
        """Send bytes as they are."""
        self._socket.send_multipart(parts)

    def expect(self, kind: type[_Found], fits: Callable[[_Found], bool] = lambda _: True) -> _Found:
        """Return the first message of a kind that fits and was not returned before; wait for it if need be.

        Raises ConformanceError when it does not come in time.
        """
        return self._expect(kind, fits)[0]

    def expect_payload(self, kind: type[_Found], fits: Callable[[_Found], bool] = lambda _: True) -> bytes:
        """Like `expect`, but return the binary part. Raises ConformanceError also when there is none."""
        _, payload = self._expect(kind, fits)
        if payload is None:
            raise ConformanceError(f"a {kind.__name__} came without its binary part")
        return payload

    def _expect(self, kind: type[_Found], fits: Callable[[_Found], bool]) -> tuple[_Found, bytes | None]:
        deadline_s = time.monotonic() + self.patience_s
        position = 0
        while True:
            while position < len(self.inbox):
                message, payload = self.inbox[position]
                if isinstance(message, kind) and fits(message):
                    del self.inbox[position]
                    return message, payload
                position += 1
            if not self._receive(deadline_s - time.monotonic()):
                came = ", ".join(sorted({type(message).__name__ for message, _ in self.inbox})) or "nothing"
                raise ConformanceError(f"no fitting {kind.__name__} came; instead: {came}")

    def listen(self, seconds: float) -> None:
        """Take in everything that comes within so many seconds; keep the heartbeat."""
        deadline_s = time.monotonic() + seconds
        while (left_s := deadline_s - time.monotonic()) > 0:
            self._receive(left_s)

    def frames(self, view: int) -> list[tuple[FrameHeader, bytes | None]]:
        """All frames of a view that came so far."""
        return [
            (message, payload)
            for message, payload in self.inbox
            if isinstance(message, FrameHeader) and message.view == view
        ]

    def _receive(self, left_s: float) -> bool:
        """Take in one message of a kind that is known; say PING while there is none. Returns False when the time is
        over. Raises ConformanceError when a message does not follow the protocol."""
        end_s = time.monotonic() + left_s
        while (left_s := end_s - time.monotonic()) > 0:
            if self._socket.poll(round(min(0.5, left_s) * 1000) + 1):
                header, *payload = self._socket.recv_multipart()
                try:
                    message = protocol.decode_runtime_message(header)
                except UnknownKindError:
                    continue  # of a later minor version, which a client ignores
                except (ProtocolError, VersionError) as error:
                    raise ConformanceError(f"a message of {len(header)} bytes cannot be read: {error}") from error
                if not isinstance(message, protocol.Pong) or message.sent_s != -1.0:
                    self.inbox.append((message, payload[0] if payload else None))
                return True
            if self.pings:
                self.send(protocol.Ping(sent_s=-1.0))
        return False

    def close(self) -> None:
        """Close the socket without a word, as a client that vanishes does."""
        self._socket.close()
        self._context.term()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.send(protocol.Bye())
        self.close()


def check_runtime(endpoint: str, *, prompt: str = "a red room", patience_s: float = 10.0) -> list[str]:
    """Check a runtime against the protocol, and return the rules that it keeps.

    Uses up to two views at a time, and must find room for them. `patience_s` is how long it waits for any one answer.

    Raises ConformanceError, naming the rule, at the first one that is broken; EndpointError or KeysNeededError for an
    endpoint that cannot be used.
    """
    endpoint = check_endpoint(endpoint)
    kept: list[str] = []
    for check in CHECKS:
        rule = (check.__doc__ or "").strip()
        try:
            check(endpoint, prompt, patience_s)
        except (ConformanceError, SnapshotError) as error:
            raise ConformanceError(f"{rule} But: {error}") from error
        kept.append(rule)
    return kept


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ConformanceError(otherwise)


def _error(peer: Peer, code: str) -> protocol.ErrorMessage:
    error = peer.expect(protocol.ErrorMessage)
    _require(error.code == code, f"the error was {error.code!r} ({error.message}), not {code!r}")
    return error


def _open(peer: Peer, prompt: str, *, credits: int = 0) -> protocol.ViewOpened:
    peer.send(protocol.OpenView(view=1, prompt=prompt, seed=1, credits=credits))
    return peer.expect(protocol.ViewOpened, lambda opened: opened.view == 1)


def _wait_until_due(peer: Peer, header: FrameHeader) -> None:
    """Frames come before they belong on the screen; wait until one does, by the clock of the runtime."""
    peer.send(protocol.Ping(sent_s=-2.0))
    pong = peer.expect(protocol.Pong, lambda pong: pong.sent_s == -2.0)
    peer.listen(header.due_s - pong.runtime_s)  # counted from when the PONG came, so it is due then in any case


def _settled(peer: Peer, word_id: int) -> ReceiptUpdate:
    """Wait for the receipt with both dates, granting frames meanwhile so that the view does not park."""
    deadline_s = time.monotonic() + peer.patience_s
    while time.monotonic() < deadline_s:
        peer.send(protocol.Credit(view=1, frames=16))
        peer.listen(0.1)
        for message, _ in peer.inbox:
            if isinstance(message, ReceiptUpdate) and message.id == word_id and message.first_full_frame is not None:
                return message
    raise ConformanceError(f"words {word_id} got no receipt with both dates")


def _check_hello_first(endpoint: str, prompt: str, patience_s: float) -> None:
    """Anything before HELLO is answered with hello_first."""
    with Peer(endpoint, hello=False, patience_s=patience_s) as peer:
        peer.send(protocol.Ping(sent_s=1.0))
        _error(peer, "hello_first")


def _check_version(endpoint: str, prompt: str, patience_s: float) -> None:
    """A HELLO of another major version is answered with version_mismatch, and both versions are named."""
    with Peer(endpoint, hello=False, patience_s=patience_s) as peer:
        peer.send_raw(msgpack.packb({"kind": "hello", "version": [99, 7], "quite": "different"}))
        text = _error(peer, "version_mismatch").message
        ours = f"{protocol.VERSION[0]}.{protocol.VERSION[1]}"
        _require("99.7" in text and ours in text, f"the message is {text!r}")


def _check_unknown_fields(endpoint: str, prompt: str, patience_s: float) -> None:
    """Unknown fields are ignored."""
    hello = {"kind": "hello", "version": list(protocol.VERSION), "token": secrets.token_urlsafe(24), **NEWER_FIELD}
    with Peer(endpoint, hello=False, patience_s=patience_s) as peer:
        peer.send_raw(msgpack.packb(hello))
        peer.expect(protocol.Welcome)


def _check_bad_messages(endpoint: str, prompt: str, patience_s: float) -> None:
    """A bad message costs its sender one typed error, and nothing else."""
    event = {"kind": "event", "id": 1, "view": 1, "text": "x"}
    bad: Sequence[tuple[str, bytes]] = (
        ("bad_message", b"\xc1not MessagePack"),
        ("bad_message", b""),
        ("bad_message", msgpack.packb([1, 2, 3])),
        ("bad_message", msgpack.packb({**event, "hold_s": float("nan")})),
        ("bad_message", msgpack.packb({**event, "text": ""})),
        ("bad_message", msgpack.packb({"kind": "act", "view": 1, "keys": {"KeyA": float("inf")}})),
        ("unknown_kind", msgpack.packb({"kind": "from_the_future"})),
        ("too_large", b"\x81" * (protocol.MAX_CLIENT_HEADER_BYTES + 1)),
    )
    with Peer(endpoint, patience_s=patience_s) as peer:
        for code, data in bad:
            peer.send_raw(data)
            _error(peer, code)
        peer.send(protocol.Ping(sent_s=5.0))
        peer.expect(protocol.Pong, lambda pong: pong.sent_s == 5.0)


def _check_ping(endpoint: str, prompt: str, patience_s: float) -> None:
    """PING is answered with what it carried and the runtime's clock, which does not go back."""
    with Peer(endpoint, patience_s=patience_s) as peer:
        clock_s = 0.0
        for sent_s in (0.5, 1.5):
            peer.send(protocol.Ping(sent_s=sent_s))
            pong = peer.expect(protocol.Pong, lambda pong, sent_s=sent_s: pong.sent_s == sent_s)  # type: ignore[misc]
            _require(pong.runtime_s >= clock_s, f"the clock went from {clock_s} to {pong.runtime_s}")
            clock_s = pong.runtime_s


def _check_unknown_view(endpoint: str, prompt: str, patience_s: float) -> None:
    """Words for a view that is not open are answered with unknown_view, and both numbers."""
    with Peer(endpoint, patience_s=patience_s) as peer:
        peer.send(protocol.Event(id=7, view=99, text="rain"))
        error = _error(peer, "unknown_view")
        _require((error.view, error.id) == (99, 7), f"view {error.view} and id {error.id} were named, not 99 and 7")


def _check_open(endpoint: str, prompt: str, patience_s: float) -> None:
    """OPEN_VIEW is idempotent, an unknown profile is refused, CLOSE_VIEW is answered."""
    with Peer(endpoint, patience_s=patience_s) as peer:
        peer.send(protocol.OpenView(view=5, prompt=prompt, profile="no such profile"))
        _require(_error(peer, "unknown_profile").view == 5, "the view was not named")
        _require(_open(peer, prompt) == _open(peer, prompt), "the second VIEW_OPENED differs")
        peer.send(protocol.CloseView(view=1))
        peer.expect(protocol.ViewClosed, lambda closed: closed.view == 1)


def _check_frames(endpoint: str, prompt: str, patience_s: float) -> None:
    """No frame comes without credit; frames are whole, in order, and due one after the other."""
    with Peer(endpoint, patience_s=patience_s) as peer:
        opened = _open(peer, prompt, credits=5)
        deadline_s = time.monotonic() + patience_s
        while len(peer.frames(1)) < 5 and time.monotonic() < deadline_s:
            peer.listen(0.05)
        peer.listen(3 * opened.chunk_frames / opened.fps)
        frames = peer.frames(1)
        _require(len(frames) == 5, f"5 frames were granted, {len(frames)} came")
        for header, payload in frames:
            size = header.height * header.width * 3
            _require(
                payload is not None and len(payload) == size, f"frame {header.index} has no {size} bytes of pixels"
            )
            _require(
                (header.height, header.width) == (opened.height, opened.width), "another size than VIEW_OPENED said"
            )
            _require(header.epoch == opened.epoch, f"epoch {header.epoch}, VIEW_OPENED said {opened.epoch}")
        for (one, _), (two, _) in itertools.pairwise(frames):
            _require(two.index > one.index and two.due_s > one.due_s, f"frame {two.index} came after {one.index}")


def _check_words(endpoint: str, prompt: str, patience_s: float) -> None:
    """Words are accepted, then applied with both dates, at most once however often they are sent."""
    with Peer(endpoint, patience_s=patience_s) as peer:
        opened = _open(peer, prompt, credits=16)
        event = protocol.Event(id=3, view=1, text="thunder and lightning", hold_s=1.0)
        peer.send(event)
        first = peer.expect(ReceiptUpdate, lambda receipt: receipt.id == 3)
        _require(first.state in ("accepted", "applied"), f"the first receipt is {first.state}: {first.reason}")
        receipt = _settled(peer, 3)
        influenced, full = receipt.first_influenced_frame, receipt.first_full_frame
        _require(receipt.state == "applied" and receipt.epoch == opened.epoch, f"the receipt is {receipt}")
        _require(
            influenced is not None and full is not None and influenced <= full, f"the dates are {influenced}, {full}"
        )
        peer.inbox.clear()
        peer.send(event)
        again = peer.expect(ReceiptUpdate, lambda receipt: receipt.id == 3)
        _require(
            (again.state, again.first_influenced_frame, again.first_full_frame) == ("applied", influenced, full),
            f"sent again, they got {again}",
        )


def _check_cancel(endpoint: str, prompt: str, patience_s: float) -> None:
    """CANCEL takes back words that are not yet applied; of words that never came it is an error."""
    with Peer(endpoint, patience_s=patience_s) as peer:
        _open(peer, prompt)
        peer.send(protocol.Event(id=4, view=1, text="far in the future", at=10**6))
        peer.expect(ReceiptUpdate, lambda receipt: receipt.id == 4 and receipt.state == "accepted")
        peer.send(protocol.Cancel(id=4, view=1))
        peer.expect(ReceiptUpdate, lambda receipt: receipt.id == 4 and receipt.state == "cancelled")
        peer.send(protocol.Cancel(id=5, view=1))
        _require(_error(peer, "unknown_word").id == 5, "the words were not named")


def _check_past(endpoint: str, prompt: str, patience_s: float) -> None:
    """Words for a frame that has already been made are rejected with a reason."""
    with Peer(endpoint, patience_s=patience_s) as peer:
        _open(peer, prompt, credits=1)
        peer.expect(FrameHeader)
        peer.send(protocol.Event(id=6, view=1, text="too late", at=0))
        receipt = peer.expect(ReceiptUpdate, lambda receipt: receipt.id == 6)
        _require(receipt.state == "rejected" and receipt.reason != "", f"the receipt is {receipt}")


def _check_late(endpoint: str, prompt: str, patience_s: float) -> None:
    """Words for a frame that is being made, but not made yet, are applied at once."""
    with Peer(endpoint, patience_s=patience_s) as peer:
        opened = _open(peer, prompt, credits=200)
        peer.expect(FrameHeader)
        peer.send(protocol.Pause(view=1))  # so that no frame is made between seeing the newest one and asking
        peer.expect(protocol.StatusUpdate, lambda status: status.state == "paused")
        peer.listen(2 * opened.chunk_frames / opened.fps)
        newest = max((header.index for header, _ in peer.frames(1)), default=0)
        late = newest + 1 + 2 * opened.chunk_frames  # one chunk more may have been made, and be held back by the pause
        peer.send(protocol.Event(id=10, view=1, text="just in time", hold_s=1.0, at=late))
        receipt = peer.expect(ReceiptUpdate, lambda receipt: receipt.id == 10)
        _require(receipt.state in ("accepted", "applied"), f"the receipt is {receipt}, after frame {newest}")
        peer.send(protocol.Resume(view=1))
        influenced = _settled(peer, 10).first_influenced_frame
        _require(
            influenced is not None and influenced <= late, f"asked for frame {late}, they show from {influenced} on"
        )


def _check_cut(endpoint: str, prompt: str, patience_s: float) -> None:
    """A cut begins a new epoch at frame 0."""
    with Peer(endpoint, patience_s=patience_s) as peer:
        opened = _open(peer, prompt, credits=16)
        peer.expect(FrameHeader)
        peer.send(protocol.Cut(id=8, view=1, text="another place", seed=5))
        receipt = _settled(peer, 8)
        _require(receipt.epoch is not None and receipt.epoch > opened.epoch, f"the epoch is {receipt.epoch}")
        _require(receipt.first_influenced_frame == 0, f"the first frame is {receipt.first_influenced_frame}")
        peer.send(protocol.Credit(view=1, frames=64))
        peer.expect(FrameHeader, lambda header: header.epoch == receipt.epoch and header.prompt == "another place")


def _check_rewind(endpoint: str, prompt: str, patience_s: float) -> None:
    """A rewind goes on in a new epoch at frame 0; one that is too far back is rejected with a reason."""
    with Peer(endpoint, patience_s=patience_s) as peer:
        opened = _open(peer, prompt, credits=200)
        peer.expect(FrameHeader, lambda header: header.index >= opened.chunk_frames)
        peer.send(protocol.Rewind(id=11, view=1, seconds=3600.0))
        receipt = peer.expect(ReceiptUpdate, lambda receipt: receipt.id == 11)
        _require(receipt.state == "rejected" and receipt.reason != "", f"the receipt is {receipt}")
        peer.send(protocol.Rewind(id=12, view=1, seconds=0.5 * opened.chunk_frames / opened.fps))
        receipt = _settled(peer, 12)
        _require(receipt.state == "applied", f"the receipt is {receipt}")
        _require(receipt.epoch is not None and receipt.epoch > opened.epoch, f"the epoch is {receipt.epoch}")
        _require(receipt.first_influenced_frame == 0, f"the first frame is {receipt.first_influenced_frame}")
        header = peer.expect(FrameHeader, lambda header: header.epoch == receipt.epoch)
        _require(header.index == 0, f"the new epoch begins with frame {header.index}")


def _check_bookmark(endpoint: str, prompt: str, patience_s: float) -> None:
    """What is on the screen is bookmarked, a return begins a new epoch at frame 0 under the prompt that stands, and one
    to no bookmark is rejected with a reason that says which there are."""
    with Peer(endpoint, patience_s=patience_s) as peer:
        opened = _open(peer, prompt, credits=200)
        _wait_until_due(peer, peer.expect(FrameHeader))
        peer.send(protocol.Bookmark(id=13, view=1, name="the gate"))
        receipt = _settled(peer, 13)
        _require((receipt.state, receipt.epoch) == ("applied", opened.epoch), f"the receipt is {receipt}")
        peer.send(protocol.ReturnTo(id=14, view=1, name="nowhere"))
        receipt = peer.expect(ReceiptUpdate, lambda receipt: receipt.id == 14)
        _require(receipt.state == "rejected" and "the gate" in receipt.reason, f"the receipt is {receipt}")
        peer.send(protocol.ReturnTo(id=15, view=1, name="the gate"))
        receipt = _settled(peer, 15)
        _require(receipt.epoch is not None and receipt.epoch > opened.epoch, f"the epoch is {receipt.epoch}")
        header = peer.expect(FrameHeader, lambda header: header.epoch == receipt.epoch)
        _require((header.index, header.prompt) == (0, prompt), f"it begins with frame {header.index}: {header.prompt}")


def _check_fork(endpoint: str, prompt: str, patience_s: float) -> None:
    """A fork shows frames of its own from index 0 on, its source goes on; a fork of nothing is refused."""
    with Peer(endpoint, patience_s=patience_s) as peer:
        _open(peer, prompt, credits=200)
        peer.expect(FrameHeader)
        peer.send(protocol.ForkView(view=3, source=2))
        _require(_error(peer, "unknown_view").view == 3, "the view that was not opened was not named")
        peer.send(protocol.ForkView(view=2, source=1, credits=64))
        peer.expect(protocol.ViewOpened, lambda opened: opened.view == 2)
        first = peer.expect(FrameHeader, lambda header: header.view == 2)
        _require((first.index, first.prompt) == (0, prompt), f"it begins with frame {first.index} of {first.prompt!r}")
        peer.send(protocol.CloseView(view=2))
        peer.inbox.clear()
        peer.expect(FrameHeader, lambda header: header.view == 1)


def _check_snapshot(endpoint: str, prompt: str, patience_s: float) -> None:
    """A snapshot says what its view shows, and another view goes on from it; what is none is refused."""
    with Peer(endpoint, patience_s=patience_s) as peer:
        _open(peer, prompt, credits=64)
        peer.expect(FrameHeader)
        peer.send(protocol.SaveView(id=13, view=1))
        data = peer.expect_payload(protocol.SnapshotHeader, lambda header: header.id == 13)
        _require(snapshot_info(data).prompt == prompt, f"it says {snapshot_info(data)}")
        peer.send(protocol.RestoreView(view=4), data[: len(data) // 2])
        _require(_error(peer, "bad_snapshot").view == 4, "the view that was not opened was not named")
        peer.send(protocol.RestoreView(view=5, credits=64), data)
        first = peer.expect(FrameHeader, lambda header: header.view == 5)
        _require((first.index, first.prompt) == (0, prompt), f"it begins with frame {first.index} of {first.prompt!r}")


def _check_watch(endpoint: str, prompt: str, patience_s: float) -> None:
    """A view is watched by its name; whoever watches reads by credit of its own, steers only while it is shared, and is
    told when its owner closes it; a name that no view has is refused."""
    name = f"watched {secrets.token_hex(8)}"
    with Peer(endpoint, patience_s=patience_s) as owner, Peer(endpoint, patience_s=patience_s) as guest:
        owner.send(protocol.OpenView(view=1, prompt=prompt, seed=1, name=name, credits=200))
        opened = owner.expect(protocol.ViewOpened)
        guest.send(protocol.WatchView(view=6, name=f"{name} not"))
        _require(_error(guest, "unknown_name").view == 6, "the view that is not watched was not named")
        guest.send(protocol.WatchView(view=7, name=name, credits=3))
        seen = guest.expect(protocol.ViewOpened, lambda opened: opened.view == 7)
        _require((seen.fps, seen.profile) == (opened.fps, opened.profile), f"VIEW_OPENED says {seen}, not {opened}")
        _require(not guest.expect(protocol.ViewShared).shared, "it was shared without being told to")
        last = [guest.expect(FrameHeader) for _ in range(3)][-1]
        owner.expect(FrameHeader, lambda header: header.index > last.index)
        _require(last.view == 7 and not guest.frames(7), f"3 frames were granted, more than frame {last.index} came")
        guest.send(protocol.Event(id=14, view=7, text="thunder and lightning"))
        error = _error(guest, "not_allowed")
        _require((error.view, error.id) == (7, 14), f"view {error.view} and id {error.id} were named, not 7 and 14")
        owner.send(protocol.ShareView(view=1, shared=True))
        guest.expect(protocol.ViewShared, lambda told: told.shared)
        owner.send(protocol.Credit(view=1, frames=200))
        for peer, view in ((owner, 1), (guest, 7)):  # both may choose the same id
            peer.send(protocol.Event(id=15, view=view, text="thunder and lightning", hold_s=1.0))
            receipt = peer.expect(ReceiptUpdate, lambda receipt: receipt.id == 15 and receipt.state == "applied")
            _require(receipt.view == view, f"the receipt names view {receipt.view}, not {view}")
        guest.send(protocol.Pause(view=7))
        _error(guest, "not_allowed")
        owner.send(protocol.CloseView(view=1))
        closed = guest.expect(protocol.ViewClosed, lambda closed: closed.view == 7)
        _require(closed.reason != "", "no reason was given")


def _check_pause(endpoint: str, prompt: str, patience_s: float) -> None:
    """PAUSE stops the frames, RESUME lets them come again, STATUS tells both."""
    with Peer(endpoint, patience_s=patience_s) as peer:
        opened = _open(peer, prompt, credits=200)
        peer.expect(FrameHeader)
        peer.send(protocol.Pause(view=1))
        peer.expect(protocol.StatusUpdate, lambda status: status.state == "paused")
        peer.listen(2 * opened.chunk_frames / opened.fps)
        peer.inbox.clear()
        peer.listen(3 * opened.chunk_frames / opened.fps)
        _require(not peer.frames(1), f"{len(peer.frames(1))} frames came while it was paused")
        peer.send(protocol.Resume(view=1))
        peer.expect(protocol.StatusUpdate, lambda status: status.state == "live")
        peer.expect(FrameHeader)


def _check_reconnect(endpoint: str, prompt: str, patience_s: float) -> None:
    """After a reconnect WELCOME lists the views of the token, their credit is 0, and words are known."""
    with Peer(endpoint, patience_s=patience_s) as gone:
        opened = _open(gone, prompt, credits=100)
        gone.send(protocol.Event(id=9, view=1, text="far in the future", at=10**6))
        gone.expect(ReceiptUpdate, lambda receipt: receipt.id == 9)
        with Peer(endpoint, token=gone.token, patience_s=patience_s) as peer:
            assert peer.welcome is not None
            _require(peer.welcome.views == (1,), f"WELCOME lists the views {peer.welcome.views}")
            peer.listen(3 * opened.chunk_frames / opened.fps)
            _require(not peer.frames(1), "frames came without credit")
            peer.send(protocol.Event(id=9, view=1, text="far in the future", at=10**6))
            peer.expect(ReceiptUpdate, lambda receipt: receipt.id == 9 and receipt.state == "accepted")
            peer.send(protocol.Credit(view=1, frames=1))
            peer.expect(FrameHeader)


def _check_newest(endpoint: str, prompt: str, patience_s: float) -> None:
    """What belongs to a token goes to the connection that said HELLO with it last, and no longer to the one before."""
    with Peer(endpoint, patience_s=patience_s) as old:
        opened = _open(old, prompt, credits=100)
        old.expect(FrameHeader)
        with Peer(endpoint, token=old.token, patience_s=patience_s) as new:
            old.listen(0.2)  # what was on its way
            old.inbox.clear()
            new.send(protocol.Credit(view=1, frames=2 * opened.chunk_frames))
            new.expect(FrameHeader)
            old.listen(2 * opened.chunk_frames / opened.fps)
            _require(not old.frames(1), f"{len(old.frames(1))} frames went to the older connection")


def _check_other_token(endpoint: str, prompt: str, patience_s: float) -> None:
    """HELLO with another token makes a connection another client's; the first one's views wait for their own token."""
    with Peer(endpoint, patience_s=patience_s) as peer:
        _open(peer, prompt)
        peer.send(protocol.Hello(version=protocol.VERSION, token=secrets.token_urlsafe(24), client="check_runtime"))
        listed = peer.expect(protocol.Welcome).views
        _require(not listed, f"WELCOME lists the views {listed} of another token")
        peer.send(protocol.Event(id=1, view=1, text="rain"))
        peer.expect(protocol.ErrorMessage, lambda error: error.code == "unknown_view")
        with Peer(endpoint, token=peer.token, patience_s=patience_s) as again:
            assert again.welcome is not None
            _require(again.welcome.views == (1,), f"WELCOME lists the views {again.welcome.views}, not (1,)")


def _check_signs_of_life(endpoint: str, prompt: str, patience_s: float) -> None:
    """A client whose messages cannot be read is not silent: its views go on."""
    with Peer(endpoint, patience_s=patience_s) as peer:
        assert peer.welcome is not None
        until_s = 1.5 * peer.welcome.silence_s
        opened = _open(peer, prompt, credits=protocol.MAX_CREDITS)
        peer.expect(FrameHeader)
        peer.pings, begin_s, told_s = False, time.monotonic(), 0.0
        while (passed_s := time.monotonic() - begin_s) < until_s:
            if passed_s >= told_s:
                peer.send_raw(b"\xc1not MessagePack")
                told_s += peer.welcome.heartbeat_s / 2
            peer.listen(0.05)
        parked = [message for message, _ in peer.inbox if isinstance(message, protocol.StatusUpdate)]
        _require(all(status.state != "parked" for status in parked), "its view was parked")
        peer.inbox.clear()
        peer.listen(2 * opened.chunk_frames / opened.fps)
        _require(bool(peer.frames(1)), "frames ceased")


CHECKS: tuple[Callable[[str, str, float], None], ...] = (
    _check_hello_first,
    _check_version,
    _check_unknown_fields,
    _check_bad_messages,
    _check_ping,
    _check_unknown_view,
    _check_open,
    _check_frames,
    _check_words,
    _check_cancel,
    _check_past,
    _check_late,
    _check_cut,
    _check_rewind,
    _check_bookmark,
    _check_fork,
    _check_snapshot,
    _check_watch,
    _check_pause,
    _check_reconnect,
    _check_newest,
    _check_other_token,
    _check_signs_of_life,
)
