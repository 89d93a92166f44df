"""For a game's own tests: a scripted runtime that needs no model, and a conformance check for any runtime.

    import eddyline
    from eddyline.testing import ScriptedRuntime, wait_until

    def test_thunder_darkens_the_sky():
        with ScriptedRuntime() as scripted, eddyline.connect(scripted.endpoint) as runtime:
            view = runtime.open_view("a red room")
            receipt = view.event("thunder")
            wait_until(lambda: receipt.state == "applied")

`ScriptedRuntime` is a real runtime on a real loopback socket, in a thread: it keeps to the protocol, draws a square
that moves over a ground coloured by the words in force, and gives exact dates on receipts. It can be told to misbehave:
`reject_next`, `drop_connections`, `hang`, `stall`, `slow`, `kill` and `restart`, `send_raw`.

`python -m eddyline.testing serve` runs it as a process, which `launch(command=[sys.executable, "-m",
"eddyline.testing"])` starts in place of a runtime with a model.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeVar

import zmq

from eddyline import protocol
from eddyline.client import Runtime
from eddyline.conformance import check_runtime
from eddyline.errors import BindError, ConformanceError, ProtocolError, SnapshotError, TooLargeError, VersionError
from eddyline.notes import Note
from eddyline.protocol import ClientMessage, RuntimeMessage
from eddyline.scripted import ScriptedView, Seat
from eddyline.snapshots import snapshot_info

__all__ = ["NoteLog", "ScriptedRuntime", "check_runtime", "wait_until"]

Kind = TypeVar("Kind", bound=Note)
TURN_MS = 2
MAX_VIEWS = 8

PROFILES = ("smooth", "responsive", "fine")
"""As the embedded world calls its own; they make no difference here."""
PHRASES = ("a red room", "a green meadow", "a blue night", "thunder and lightning")
"""What the world of a scripted runtime knows, unless it is given other phrases."""


def wait_until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Return as soon as `condition()` is true. Raises ConformanceError when it is not within `timeout_s` seconds."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            name = getattr(condition, "__name__", "the condition")
            raise ConformanceError(f"{name} did not become true within {timeout_s:g} s")
        time.sleep(0.002)


class NoteLog:
    """Polls a runtime, keeps every note in `seen`, and waits for one that fits."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        """The one that is polled."""
        self.seen: list[Note] = []
        """Every note so far, in order."""

    def wait(self, fits: Callable[[Note], bool], timeout_s: float = 30.0) -> Note:
        """Return the first note that fits, also one seen before. Raises ConformanceError when none comes in time."""

        def a_fitting_note() -> bool:
            self.seen += self.runtime.poll()
            return any(fits(note) for note in self.seen)

        wait_until(a_fitting_note, timeout_s)
        return next(note for note in self.seen if fits(note))

    def wait_kind(self, kind: type[Kind], timeout_s: float = 30.0) -> Kind:
        """Return the first note of a kind. Raises ConformanceError when none comes in time."""
        note = self.wait(lambda note: isinstance(note, kind), timeout_s)
        assert isinstance(note, kind)
        return note


class _Client:
    def __init__(self, route: bytes, now_s: float) -> None:
        self.route = route
        self.heard_s = now_s
        self.views: dict[int, tuple[ScriptedView, Seat]] = {}


class ScriptedRuntime:
    """A runtime without a model. A context manager; every method may be called by any thread.

    fps: frames a second. chunk_frames: frames of a chunk. num_chunks: chunks of the pretended buffer, which decides
    when words show fully. height, width: pixels. action_names, phrases: what it pretends to know. max_words: so many
    words of a text are read, and the rest is told as unread; None: all. heartbeat_s, silence_s,
    resume_s: as in WELCOME of `sdk/PROTOCOL.md`. version: of the protocol, as it says that it speaks. port: 0 lets the
    system choose.

    Raises BindError when the port is taken.
    """

    def __init__(
        self,
        *,
        fps: float = 16.0,
        chunk_frames: int = 8,
        num_chunks: int = 4,
        height: int = 24,
        width: int = 40,
        action_names: Sequence[str] = ("ArrowLeft", "ArrowRight", "ArrowUp", "KeyA", "KeyD"),
        phrases: Sequence[str] = PHRASES,
        max_words: int | None = None,
        heartbeat_s: float = 0.1,
        silence_s: float = 3.0,
        resume_s: float = 30.0,
        version: tuple[int, int] = protocol.VERSION,
        port: int = 0,
    ) -> None:
        self.received: list[ClientMessage] = []
        """Every message that could be decoded, in order; their classes are in `eddyline.protocol`."""
        self.fps, self.chunk_frames, self.num_chunks = fps, chunk_frames, num_chunks
        self.height, self.width = height, width
        self.action_names, self.phrases = tuple(action_names), tuple(phrases)
        self.max_words = max_words
        self.heartbeat_s, self.silence_s, self.resume_s = heartbeat_s, silence_s, resume_s
        self.version = version
        self.instance = ""
        self._port = port
        self._clients: dict[str, _Client] = {}
        self._tokens: dict[bytes, str] = {}
        self._commands: deque[Callable[[], None]] = deque()
        self._reject_reason: str | None = None
        self._slowness = 1.0
        self._silent = threading.Event()
        self._stalled_s: float | None = None
        self._ticks = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.restart()

    @property
    def endpoint(self) -> str:
        """Where it listens; stays the same over `restart()`."""
        return f"tcp://127.0.0.1:{self._port}"

    # ---- the script

    def reject_next(self, reason: str) -> None:
        """Answer the next event, prompt or cut with `rejected` and this reason."""
        self._do(lambda: setattr(self, "_reject_reason", reason))

    def drop_connections(self) -> None:
        """Hang up on all clients, but keep their views; they may come back at once."""
        self._do(self._rebind)

    def hang(self) -> None:
        """Answer nothing any more, until `recover()`; the socket stays open."""
        self._silent.set()

    def stall(self) -> None:
        """Pretend to be stuck in one turn, until `recover()`; pings are still answered."""
        self._do(lambda: setattr(self, "_stalled_s", time.monotonic() - 1000.0))

    def slow(self, factor: float) -> None:
        """Make frames `factor` times slower than they are due (1.0: in time), until `recover()`."""
        self._do(lambda: setattr(self, "_slowness", factor))

    def recover(self) -> None:
        """End `hang`, `stall` and `slow`."""

        def command() -> None:
            self._stalled_s, self._slowness = None, 1.0

        self._silent.clear()
        self._do(command)

    def send_raw(self, *parts: bytes) -> None:
        """Send these bytes to every client as they are."""

        def command() -> None:
            for client in self._clients.values():
                self._socket.send_multipart([client.route, *parts])

        self._do(command)

    def send(self, message: RuntimeMessage) -> None:
        """Send a message of `eddyline.protocol` to every client."""
        self.send_raw(protocol.encode(message))

    def kill(self) -> None:
        """End at once, without a word, and forget everything."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()
            self._thread = None
            self._clients.clear()
            self._tokens.clear()

    def restart(self) -> None:
        """Listen on the same port as a new runtime process would, which knows nothing. Ends a `kill()`."""
        self.kill()
        self._context = zmq.Context()
        try:
            self._bind()
        except BindError:
            self._context.term()
            raise
        self.instance = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._stopping.clear()
        self._silent.clear()
        self._stalled_s, self._slowness, self._ticks = None, 1.0, 0
        self._commands.clear()
        self._thread = threading.Thread(target=self._run, name="eddyline-scripted-runtime", daemon=True)
        self._thread.start()

    def wait_for(self, kind: type[ClientMessage], count: int = 1, timeout_s: float = 30.0) -> list[ClientMessage]:
        """Wait until `count` messages of a kind of `eddyline.protocol` came, and return all of them.

        Raises ConformanceError when they do not come in time.
        """

        def found() -> list[ClientMessage]:
            return [message for message in self.received if isinstance(message, kind)]

        wait_until(lambda: len(found()) >= count, timeout_s)
        return found()

    def close(self) -> None:
        """Stop. Closing twice is fine."""
        self.kill()

    def __enter__(self) -> ScriptedRuntime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- the thread

    def _do(self, command: Callable[[], None]) -> None:
        """Run `command` on the thread and wait until it is done."""
        done = threading.Event()

        def both() -> None:
            command()
            done.set()

        self._commands.append(both)
        if not done.wait(5.0) and self._thread is not None:
            raise ConformanceError("the scripted runtime does not take commands; is it hanging? call recover() first")

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                while self._commands:
                    self._commands.popleft()()
                if self._silent.is_set():
                    self._stopping.wait(TURN_MS / 1000)
                    continue
                while self._socket.poll(TURN_MS):
                    route, *parts = self._socket.recv_multipart()
                    self._answer(route, parts)
                    if self._commands or self._stopping.is_set():
                        break
                self._tick(time.monotonic())
        finally:
            self._socket.close(linger=0)
            self._context.term()

    def _bind(self) -> None:
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        try:
            self._socket.bind(self.endpoint)
        except zmq.ZMQError as error:
            self._socket.close(linger=0)
            raise BindError(f"{self.endpoint} cannot be listened on ({error.strerror}); give another port") from error
        self._port = int(self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])

    def _rebind(self) -> None:
        self._socket.close(linger=0)
        self._tokens.clear()
        deadline_s = time.monotonic() + 5.0
        while True:
            try:
                self._bind()
                return
            except BindError:  # the old socket is closed by a thread of libzmq, a moment later
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.01)

    def _send(self, route: bytes, message: RuntimeMessage, payload: bytes | None = None) -> None:
        parts = [route, protocol.encode(message)]
        self._socket.send_multipart(parts if payload is None else [*parts, payload])

    def _answer(self, route: bytes, parts: list[bytes]) -> None:
        token = self._tokens.get(route)
        if token is not None:
            self._clients[token].heard_s = time.monotonic()
        try:
            message = protocol.decode_client_message(parts[0])
            wanted = 2 if isinstance(message, protocol.RestoreView) else 1
            if len(parts) != wanted:
                raise TooLargeError(f"a message of {len(parts)} parts; {message.__struct_config__.tag} has {wanted}")
        except (ProtocolError, VersionError) as error:
            self._send(route, protocol.error_of(error))
            return
        self.received.append(message)
        if isinstance(message, protocol.Hello):
            self._welcome(route, message)
            return
        if token is None:
            self._send(route, protocol.ErrorMessage(code="hello_first", message="say HELLO first"))
            return
        client = self._clients[token]
        match message:
            case protocol.Ping(sent_s=sent_s):
                now_s = time.monotonic()
                age_s = 0.0 if self._stalled_s is None else now_s - self._stalled_s
                pong = protocol.Pong(sent_s=sent_s, runtime_s=now_s, ticks=self._ticks, tick_age_s=age_s)
                self._send(route, pong)
            case protocol.Bye():
                self._forget(token)
                del self._tokens[route]
            case protocol.OpenView():
                self._open_view(client, message)
            case protocol.ForkView():
                self._fork_view(client, message)
            case protocol.RestoreView():
                self._restore_view(client, message, parts[1])
            case protocol.WatchView():
                self._watch_view(client, message)
            case protocol.CloseView(view=view_id):
                self._close_view(client, view_id)
                self._send(route, protocol.ViewClosed(view=view_id))
            case _:
                self._steer(client, message)

    def _steer(self, client: _Client, message: protocol.AboutView) -> None:
        """Take a message about a view that is open, or say why not."""
        word_id = None if not hasattr(message, "id") else message.id
        found = client.views.get(message.view)
        if found is None:
            text = f"view {message.view} is not open"
            error = protocol.ErrorMessage(code="unknown_view", message=text, view=message.view, id=word_id)
            self._send(client.route, error)
            return
        view, seat = found
        refusal = view.refusal(seat, message)
        if refusal is not None:
            error = protocol.ErrorMessage(code="not_allowed", message=refusal, view=message.view, id=word_id)
            self._send(client.route, error)
            return
        if isinstance(message, protocol.SaveView):
            self._send(client.route, protocol.SnapshotHeader(id=message.id, view=seat.number), view.snapshot())
            return
        if isinstance(message, protocol.Words):
            reason, self._reject_reason = self._reject_reason, None
            if reason is not None and message.id not in seat.receipts:
                view.reject(seat, message, reason)
        for answer in view.take(seat, message, time.monotonic()):
            self._send(client.route, answer)

    def _watch_view(self, client: _Client, message: protocol.WatchView) -> None:
        if message.view not in client.views:
            seats = (found for other in self._clients.values() for found in other.views.values())
            named = [view for view, seat in seats if seat is view.owner and view.name == message.name]
            if len(named) != 1:
                text = f"{len(named)} views are called {message.name!r}"
                error = protocol.ErrorMessage(code="unknown_name", message=text, view=message.view)
                self._send(client.route, error)
                return
            seat = Seat(message.view, message.credits)
            named[0].seats.append(seat)
            client.views[message.view] = (named[0], seat)
        view, _ = client.views[message.view]
        self._tell_opened(client, view, message.view)
        self._send(client.route, protocol.ViewShared(view=message.view, shared=view.shared))

    def _close_view(self, client: _Client, view_id: int) -> None:
        """A client leaves a view; with the one that opened it, it ends for all."""
        view, seat = client.views.pop(view_id, (None, None))
        if view is None or seat is None:
            return
        if seat is not view.owner:
            view.seats.remove(seat)
            return
        for other in self._clients.values():
            for number, (watched, _) in list(other.views.items()):
                if watched is view:
                    del other.views[number]
                    self._send(other.route, protocol.ViewClosed(view=number, reason="its owner closed it"))

    def _forget(self, token: str) -> None:
        client = self._clients[token]
        for view_id in list(client.views):
            self._close_view(client, view_id)
        del self._clients[token]

    def _welcome(self, route: bytes, hello: protocol.Hello) -> None:
        if self.version[0] != hello.version[0]:
            text = f"the client speaks protocol {_dotted(hello.version)}, this runtime speaks {_dotted(self.version)}"
            self._send(route, protocol.ErrorMessage(code="version_mismatch", message=text))
            return
        if protocol.RAW_CODEC not in hello.codecs or hello.max_height < self.height or hello.max_width < self.width:
            text = f"this runtime sends raw frames of {self.height} x {self.width} only"
            self._send(route, protocol.ErrorMessage(code="no_codec", message=text))
            return
        old = self._clients.get(hello.token)
        client = _Client(route, time.monotonic())
        if old is not None:
            client.views = old.views
            if old.route != route and self._tokens.get(old.route) == hello.token:
                del self._tokens[old.route]
                text = "another connection said HELLO with this token"
                self._send(old.route, protocol.ErrorMessage(code="replaced", message=text))
        for _, seat in client.views.values():
            seat.credits = 0
        self._clients[hello.token] = client
        self._tokens[route] = hello.token
        self._send(
            route,
            protocol.Welcome(
                version=self.version,
                runtime="eddyline.testing",
                instance=self.instance,
                model="scripted",
                fps=self.fps,
                height=self.height,
                width=self.width,
                action_names=self.action_names,
                profiles=tuple(protocol.ProfileInfo(name=name, chunk_frames=self.chunk_frames) for name in PROFILES),
                default_profile=PROFILES[0],
                phrases=self.phrases,
                max_views=MAX_VIEWS,
                views=tuple(client.views),
                heartbeat_s=self.heartbeat_s,
                silence_s=self.silence_s,
                resume_s=self.resume_s,
                runtime_s=time.monotonic(),
            ),
        )
        for view, seat in client.views.values():
            if seat is not view.owner:
                self._send(route, protocol.ViewShared(view=seat.number, shared=view.shared))

    def _restore_view(self, client: _Client, message: protocol.RestoreView, data: bytes) -> None:
        try:
            prompt = snapshot_info(data).prompt
        except SnapshotError as error:
            self._send(client.route, protocol.ErrorMessage(code="bad_snapshot", message=str(error), view=message.view))
            return
        opening = protocol.OpenView(
            view=message.view, prompt=prompt, name=message.name, epoch=message.epoch, credits=message.credits
        )
        self._open_view(client, opening)

    def _fork_view(self, client: _Client, message: protocol.ForkView) -> None:
        source, seat = client.views.get(message.source, (None, None))
        if source is None:
            text = f"view {message.source} is not open"
            self._send(client.route, protocol.ErrorMessage(code="unknown_view", message=text, view=message.view))
        elif seat is not source.owner:
            text = f"view {message.source} is another client's"
            self._send(client.route, protocol.ErrorMessage(code="not_allowed", message=text, view=message.view))
        else:
            opening = protocol.OpenView(
                view=message.view, prompt=source.prompt, name=message.name, credits=message.credits
            )
            self._open_view(client, opening)
            if message.view in client.views:
                client.views[message.view][0].bookmarks = source.bookmarks

    def _open_view(self, client: _Client, message: protocol.OpenView) -> None:
        view, _ = client.views.get(message.view, (None, None))
        if view is None:
            if message.profile not in ("", *PROFILES):
                text = f"profile {message.profile!r} is not known; there are {', '.join(PROFILES)}"
                error = protocol.ErrorMessage(code="unknown_profile", message=text, view=message.view)
            elif self._open_views() >= MAX_VIEWS:
                text = f"{MAX_VIEWS} views are open, and no more are served"
                error = protocol.ErrorMessage(code="too_many_views", message=text, view=message.view)
            else:
                view = ScriptedView(
                    message,
                    fps=self.fps / message.stride,
                    chunk_frames=self.chunk_frames,
                    num_chunks=self.num_chunks,
                    height=self.height,
                    width=self.width,
                    phrases=self.phrases,
                    max_words=self.max_words,
                    now_s=time.monotonic(),
                )
                client.views[message.view] = (view, view.owner)
        if view is None:
            self._send(client.route, error)
            return
        self._tell_opened(client, view, message.view)

    def _open_views(self) -> int:
        return sum(seat is view.owner for client in self._clients.values() for view, seat in client.views.values())

    def _tell_opened(self, client: _Client, view: ScriptedView, view_id: int) -> None:
        self._send(
            client.route,
            protocol.ViewOpened(
                view=view_id,
                epoch=view.epoch,
                profile=view.profile or PROFILES[0],
                fps=view.fps,
                chunk_frames=self.chunk_frames,
                height=self.height,
                width=self.width,
            ),
        )

    def _tick(self, now_s: float) -> None:
        for token, client in list(self._clients.items()):
            if now_s - client.heard_s > self.resume_s:
                if self._tokens.get(client.route) == token:
                    del self._tokens[client.route]
                self._forget(token)
            if now_s - client.heard_s > self.silence_s or self._tokens.get(client.route) != token:
                continue
            for view, seat in client.views.values():
                if self._stalled_s is None:
                    self._ticks += view.advance(now_s, slowness=self._slowness)
                for message, payload in view.leave(seat, now_s):
                    self._send(client.route, message, payload)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a scripted runtime as a process, with the output of `eddyline-runtime serve` and what `launch` may ask it."""
    parser = argparse.ArgumentParser(
        prog="python -m eddyline.testing", description="A scripted runtime, without a model."
    )
    parser.add_argument("--fail", metavar="TEXT", help="end before it is ready, with this error")
    parser.add_argument("--crash-after", type=float, metavar="SECONDS", help="end by itself after it was ready")
    parser.add_argument("--phrase", action="append", metavar="TEXT", help="what its world knows; may be repeated")
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--model", default="scripted", help="which world it pretends to load (default: scripted)")
    parser.add_argument(
        "--bind",
        default="tcp://127.0.0.1:0",
        metavar="tcp://127.0.0.1:PORT",
        help="where it listens (default: any free port)",
    )
    parser.add_argument("--parent-pid", type=int, help="end when this process is no longer the parent")
    parser.add_argument("--profile", choices=PROFILES, help="taken and ignored, but for one that it does not have")
    parser.add_argument("--random-weights", action="store_true", help="taken and ignored")
    parser.add_argument("--journal", metavar="FILE", help="taken and ignored: nothing is written")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    print(json.dumps({"progress": 0.5, "doing": f"pretending to load {options.model}"}), flush=True)
    if options.fail is not None:
        print(json.dumps({"error": options.fail}), flush=True)
        return 1
    port, phrases = int(options.bind.rpartition(":")[2]), options.phrase or PHRASES
    with ScriptedRuntime(port=port, phrases=phrases) as scripted:
        print(json.dumps({"ready": True, "endpoint": scripted.endpoint}), flush=True)
        crash_s = None if options.crash_after is None else time.monotonic() + options.crash_after
        while not stop.wait(0.05):
            if crash_s is not None and time.monotonic() > crash_s:
                os._exit(3)
            if options.parent_pid is not None and hasattr(os, "getppid") and os.getppid() != options.parent_pid:
                break
        scripted.send(protocol.ErrorMessage(code="shutting_down", message="the runtime was asked to stop"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
