"""The server: messages in, frames out. The only place of the runtime that touches sockets.

One ROUTER socket, bound to loopback, polled by one thread; the engine has a thread of its own, so a heartbeat is
answered while a tick runs. Receipts and answers wait in the outbox of their client until they can be sent; frames go
only against credit and are never queued: what a client does not take is dropped by its view's ring, counted.
"""

import contextlib
import logging
import math
import socket
import time
import uuid
from collections.abc import Callable

import zmq

from eddyline import protocol
from eddyline.errors import BindError, ProtocolError, TooLargeError, VersionError
from eddyline.protocol import ErrorMessage
from eddyline_runtime.address import bind, check_endpoint
from eddyline_runtime.clients import Client, ClientView
from eddyline_runtime.config import ServerConfig
from eddyline_runtime.desk import Desk
from eddyline_runtime.engine import Engine
from eddyline_runtime.journal import JournalWriter
from eddyline_runtime.runner import Runner
from eddyline_runtime.snapshot import max_snapshot_bytes
from eddyline_runtime.view import WaitingFrame

POLL_MS = 50
"""Housekeeping happens at least this often."""
BATCH = 256
"""Messages taken in before frames are sent again."""
MAX_PART_BYTES = 1 << 20
"""The socket cuts the connection of whoever sends a larger part, unless a snapshot of the world may be larger; what is
smaller and still too large is answered."""
SEND_QUEUE = 64
"""Messages in the socket for one client; more wait in its outbox, or in its views' rings."""
STOP_S = 5.0
"""How long the last tick may take when the server stops."""
LINGER_MS = 250

log = logging.getLogger(__name__)


class Server:
    """Serves one engine on one address."""

    def __init__(
        self,
        engine: Engine,
        config: ServerConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        journal: JournalWriter | None = None,
    ) -> None:
        """`clock` must be the engine's. What is asked of the engine, and what comes of it, goes into `journal`.

        Raises:
            EndpointError, KeysNeededError: see `check_endpoint`.
            ConfigError: a number of the configuration is beyond what the protocol can say.
        """
        check_endpoint(config.bind)
        self._config = config
        self._clock = clock
        self._wake_in, self._wake_out = socket.socketpair()
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        self._max_part_bytes = max(MAX_PART_BYTES, max_snapshot_bytes(engine.world.card))
        limit = engine.config.max_load
        self._runner = Runner(engine, clock=clock, wake=self._wake, journal=journal)
        self._desk = Desk(
            engine.world.card,
            self._runner,
            config,
            max_views=engine.config.max_views,
            max_load=math.inf if limit is None or not engine.config.paced else limit,
            instance=uuid.uuid4().hex,
            clock=clock,
        )
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._by_routing: dict[bytes, Client] = {}
        self._stopping = False

    def bind(self) -> str:
        """Listen; returns the endpoint with its real port.

        Raises:
            BindError: the address is taken or not there.
        """
        router = self._router
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        router.setsockopt(zmq.SNDHWM, SEND_QUEUE)
        router.setsockopt(zmq.MAXMSGSIZE, self._max_part_bytes)
        router.setsockopt(zmq.LINGER, LINGER_MS)
        try:
            return bind(router, self._config.bind)
        except BindError:
            self._close_sockets()
            raise

    def stop(self) -> None:
        """End `run`; may be called from a signal handler or another thread."""
        self._stopping = True
        self._wake()

    def run(self, on_turn: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop`; `on_turn` is called now and then. Raises what made the engine fail."""
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._wake_out.fileno(), zmq.POLLIN)
        self._runner.start()
        next_status_s = self._clock()
        try:
            while not self._stopping and self._runner.failure is None:
                events = dict(poller.poll(POLL_MS))
                if self._wake_out.fileno() in events:
                    with contextlib.suppress(BlockingIOError):
                        self._wake_out.recv(4096)
                if self._router in events:
                    self._receive()
                for outcome in self._runner.take_outcomes():
                    self._desk.take_outcome(outcome)
                now_s = self._clock()
                self._desk.keep_house(now_s)
                if now_s >= next_status_s:
                    next_status_s = now_s + self._config.status_s
                    self._desk.ask_status()
                self._send()
                on_turn()
        finally:
            self._close()
        if self._runner.failure is not None:
            raise self._runner.failure

    # ---- in

    def _receive(self) -> None:
        for _ in range(BATCH):
            try:
                routing, *parts = self._router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            known = self._by_routing.get(routing)
            client = known if known is not None and known.routing == routing else None  # else away, or come back
            if client is not None:
                client.heard_s = self._clock()  # whatever it says shows that it is there
            try:
                message = protocol.decode_client_message(parts[0])
                wanted = 2 if isinstance(message, protocol.RestoreView) else 1
                if len(parts) != wanted:
                    kind = message.__struct_config__.tag
                    raise TooLargeError(f"a message of {len(parts)} parts; {kind} has {wanted}")
            except (ProtocolError, VersionError) as error:
                self._answer(routing, protocol.error_of(error))
                continue
            if isinstance(message, protocol.Hello):
                self._let_in(routing, message)
                continue
            if isinstance(message, protocol.Bye) and known is not None and self._is_away(known):
                self._desk.forget(known)  # it hung up after that, which may be seen first
                continue
            if client is None:
                text = f"{message.__struct_config__.tag} came before HELLO; say HELLO on every connection"
                self._answer(routing, ErrorMessage(code="hello_first", message=text))
                continue
            if isinstance(message, protocol.RestoreView):
                self._desk.restore(client, message, parts[1])
            else:
                self._desk.take(client, message)

    def _let_in(self, routing: bytes, hello: protocol.Hello) -> None:
        known = self._desk.clients.get(hello.token)
        before = None if known is None else known.routing
        answer = self._desk.welcome(hello, routing)
        if isinstance(answer, ErrorMessage):
            self._answer(routing, answer)
            return
        if before not in (None, routing):
            text = "another connection said HELLO with this client's token; use one connection for each token"
            self._answer(before, ErrorMessage(code="replaced", message=text))
        answer.heard_s = self._clock()
        gone = self._by_routing.get(routing)
        if gone is not None and gone is not answer and gone.routing == routing:
            self._desk.vanish(gone)  # the connection speaks for another client now
        self._by_routing = {
            other: client
            for other, client in self._by_routing.items()
            if client.routing == other or self._is_away(client)
        }
        self._by_routing[routing] = answer

    def _is_away(self, client: Client) -> bool:
        """Whether a client is awaited that is not there."""
        return client.routing is None and self._desk.clients.get(client.token) is client

    # ---- out

    def _send(self) -> None:
        for client in list(self._desk.clients.values()):
            if client.routing is not None and self._flush(client):
                for view in client.views.values():
                    self._send_frames(client, view)

    def _flush(self, client: Client) -> bool:
        """Send a client what waits for it; False when it cannot take all of it now."""
        while client.outbox and client.routing is not None:
            header, payload = client.outbox[0]
            if not self._try_send(client.routing, header, payload):
                if len(client.outbox) > self._config.outbox:
                    log.warning("a client reads nothing and %d messages wait: it is let go", len(client.outbox))
                    self._desk.vanish(client)
                return False
            client.outbox.popleft()
        return client.routing is not None

    def _send_frames(self, client: Client, view: ClientView) -> None:
        while client.routing is not None and (frame := view.next_frame()) is not None:
            header = protocol.encode(_header(view, frame))
            if not self._try_send(client.routing, header, frame.pixels.data.cast("B")):
                view.ring.put_back(frame)
                return
            view.credits -= 1

    def _answer(self, routing: bytes | None, message: ErrorMessage) -> None:
        """One error to somebody who may be no client; who does not take it now never gets it."""
        if routing is not None:
            self._try_send(routing, protocol.encode(message))

    def _try_send(self, routing: bytes, header: bytes, payload: memoryview | bytes | None = None) -> bool:
        try:
            self._router.send(routing, zmq.NOBLOCK | zmq.SNDMORE)
            if payload is None:
                self._router.send(header, zmq.NOBLOCK)
            else:
                self._router.send(header, zmq.NOBLOCK | zmq.SNDMORE)
                self._router.send(payload, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            client = self._by_routing.get(routing)
            if client is not None and client.routing == routing:
                self._desk.vanish(client)
            return False
        return True

    # ---- the end

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            self._wake_in.send(b"w")

    def _close(self) -> None:
        ended = self._runner.stop(STOP_S)
        if not ended:
            log.warning("the engine did not end within %.0f s", STOP_S)
        why = (
            "the runtime is shutting down"
            if self._runner.failure is None
            else f"the engine failed: {self._runner.failure}"
        )
        for client in self._desk.clients.values():
            self._flush(client)
            self._answer(client.routing, ErrorMessage(code="shutting_down", message=why[: protocol.MAX_NOTE]))
        self._close_sockets()

    def _close_sockets(self) -> None:
        self._router.close()
        self._context.term()
        self._wake_in.close()
        self._wake_out.close()


def _header(view: ClientView, frame: WaitingFrame) -> protocol.FrameHeader:
    height, width, _ = frame.pixels.shape
    return protocol.FrameHeader(
        view=view.number,
        epoch=frame.chunk.epoch,
        index=frame.index,
        chunk=frame.chunk.number,
        height=height,
        width=width,
        due_s=frame.due_s,
        made_s=frame.chunk.made_s,
        dropped=view.ring.dropped,
        prompt=frame.chunk.prompt,
        events=frame.chunk.events,
    )
