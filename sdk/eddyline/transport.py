"""The ZeroMQ thread: the one owner of the socket; connects, says HELLO, keeps the heartbeat, and reconnects.

A connection is one DEALER socket and one HELLO. When it is lost - the other side hung up, or was silent for too long -
the socket is thrown away and a new one made, with backoff, for as long as there is an endpoint. The game's threads
never touch the socket: they `post` small functions, which run here in order. While frames arrive the thread looks for
them every few milliseconds, or as often as the system's timer lets it; else `post` wakes it.
"""

from __future__ import annotations

import logging
import math
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeVarTuple

import zmq

from eddyline import addresses, protocol
from eddyline.errors import (
    BadMessageError,
    EddylineError,
    EndpointError,
    KeysNeededError,
    ProtocolError,
    UnknownKindError,
    VersionError,
)
from eddyline.pacing import ClockMap, measure_clock
from eddyline.protocol import ClientMessage, RuntimeMessage
from eddyline.waker import Waker

HANDSHAKE_S = 5.0
"""How long a WELCOME may take before the connection is tried anew."""
FIRST_BACKOFF_S = 0.05
LAST_BACKOFF_S = 2.0
"""The waits between attempts double from the first to the last."""
LINGER_MS = 200
"""How long closing waits for what is still to be sent."""
STALL_S = 5.0
"""A turn of the runtime older than this is reported as stalled."""
GLANCE_S = 0.005
"""How often the thread looks for commands while frames arrive. Waking it would cost the game's thread a system call, on
an idle processor of 50 us and more; looking costs less than a hundredth of one core beside a model that dreams."""
FLOW_S = 3.0
"""Frames are taken to arrive for so long after the last: a chunk of a view at stride 4 lasts 2 s."""
BATCH = 64
"""Messages taken from the socket before the thread looks at its other duties."""

_REFUSALS = ("version_mismatch", "no_codec", "replaced")
_HANDSHAKE_FAILURES = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_log = logging.getLogger(__name__)
_Arguments = TypeVarTuple("_Arguments")


class Handler(Protocol):
    """What the transport tells its owner, always on the socket thread."""

    def connected(self, welcome: protocol.Welcome) -> None:
        """A runtime answered HELLO; `send` works from now on."""

    def received(self, message: RuntimeMessage, payload: bytes | None, received_s: float) -> None:
        """A message came that is not the transport's own business."""

    def lost(self, reason: str) -> None:
        """The connection is gone; the transport tries to get another."""

    def refused(self, error: EddylineError) -> None:
        """The runtime will never take this client; the transport has given up."""

    def stalled(self, tick_age_s: float) -> None:
        """The runtime answers, but one of its turns has taken this long; told once per stall."""


def check_endpoint(endpoint: str) -> str:
    """Return `endpoint` in the form the socket takes.

    Raises EndpointError unless it is `tcp://HOST:PORT`, and KeysNeededError unless HOST is this machine.
    """
    address = addresses.parse(endpoint) if isinstance(endpoint, str) else None
    if address is None or address[1] == 0:
        raise EndpointError(f"{endpoint!r} is not an endpoint; give tcp://HOST:PORT, such as tcp://127.0.0.1:7860")
    host, port = address
    if not addresses.is_this_machine(host):
        raise KeysNeededError(
            f"{endpoint} is not on this machine; a remote runtime needs keys, which this version does not have: run "
            "the runtime here and connect to tcp://127.0.0.1:PORT, or forward its port over ssh"
        )
    return f"tcp://127.0.0.1:{port}" if host == "localhost" else endpoint


class Transport:
    """One connection to one runtime, kept up by a thread of its own. `endpoint` may be None until it is known."""

    def __init__(
        self,
        handler: Handler,
        hello: protocol.Hello,
        endpoint: str | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.clock_map: ClockMap | None = None
        self.last_reason = ""
        """Why the last attempt failed, for the message of a timeout."""
        self.unknown_messages = 0
        """Messages of kinds that this version does not know; they are counted and ignored."""
        self.is_stalled = False
        """Whether the last PONG told of a turn older than STALL_S."""
        self.progress_s: float = clock()
        """When the runtime last got on with something, as far as is known: it answered while it rested, or the
        turn it was in began then. Time in which this process itself was asleep does not count."""
        self._handler = handler
        self._hello = hello
        self.endpoint = endpoint
        """Where the runtime is, or is looked for; None while that is not known."""
        self._clock = clock
        self._commands: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._waker = Waker()
        self._stopping = False
        self._ended = False
        self._after_end = threading.RLock()  # commands run one after the other, also when there is no socket thread
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._welcome: protocol.Welcome | None = None
        self._hello_s = 0.0
        self._heard_s = 0.0
        self._flowed_s = -math.inf
        self._next_ping_s = 0.0
        self._retry_s = 0.0
        self._backoff_s = FIRST_BACKOFF_S
        self._refused = False
        self._thread = threading.Thread(target=self._run, name="eddyline-socket", daemon=True)
        self._thread.start()

    # ---- called by any thread

    def post(self, command: Callable[[*_Arguments], None], *arguments: *_Arguments) -> None:
        """Run `command(*arguments)` on the socket thread, after all that was posted before. Returns at once.

        When that thread has ended, the command runs here and now, with no connection: what it sends goes nowhere.
        """
        self._commands.append((command, arguments))
        if self._ended:
            self._run_the_rest()
        else:
            self._waker.wake()

    def set_endpoint(self, endpoint: str | None, reason: str = "") -> None:
        """Leave the present connection, because of `reason`, and connect to `endpoint` (to nothing when it is None)."""
        self.post(self._move, endpoint, reason)

    def close(self) -> None:
        """Send what is posted, close the socket and end the thread."""
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self.post(self._stop)
            self._thread.join()

    # ---- the socket thread

    def send(self, message: ClientMessage, payload: bytes | None = None) -> None:
        """Send a message, if there is a connection. Only for the socket thread."""
        if self._socket is None:
            return
        header = protocol.encode(message)
        try:
            self._socket.send_multipart([header] if payload is None else [header, payload], zmq.NOBLOCK)
        except zmq.Again:
            self._lose("the runtime takes no more messages")

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        except Exception as error:
            _log.exception("the socket thread failed")
            self._handler.refused(EddylineError(f"the socket thread failed: {error!r}; this is a mistake in eddyline"))
        finally:
            self._close_socket(linger_ms=LINGER_MS)
            self._context.term()
            self._waker.close()
            self._ended = True  # from here on every `post` looks after its command itself
            self._run_the_rest()

    def _run_the_rest(self) -> None:
        with self._after_end:
            self._run_commands()

    def _run_commands(self) -> None:
        while self._commands:
            command, arguments = self._commands.popleft()
            command(*arguments)

    def _turn(self) -> None:
        now_s = self._clock()
        if self._socket is None and self.endpoint is not None and not self._refused and now_s >= self._retry_s:
            self._open_socket(self.endpoint)
        poller = zmq.Poller()
        poller.register(self._waker.fileno(), zmq.POLLIN)
        if self._socket is not None and self._monitor is not None:
            poller.register(self._socket, zmq.POLLIN)
            poller.register(self._monitor, zmq.POLLIN)
        planned_s = self._next_duty_s(now_s)
        is_flowing = now_s < self._flowed_s + FLOW_S
        if not is_flowing:
            self._waker.rest()  # what is posted from here on ends the wait; what was posted before is seen now
        wait_s = 0.0 if self._commands else max(0.0, planned_s - self._clock())
        poller.poll(math.ceil(1000 * (min(wait_s, GLANCE_S) if is_flowing else wait_s)))
        self._waker.clear()  # in a flow too: a call that found the thread asleep before it may write only now
        woke_s = self._clock()
        if woke_s - planned_s > 1.0:  # this process itself was asleep; that says nothing about the runtime,
            self._heard_s = woke_s
            self.progress_s += woke_s - planned_s  # which may have been asleep in a turn
        self._run_commands()
        self._receive()
        self._watch()
        self._keep_alive()

    def _next_duty_s(self, now_s: float) -> float:
        if self._socket is None:
            return self._retry_s if self.endpoint is not None and not self._refused else now_s + 60.0
        if self._welcome is None:
            return self._hello_s + HANDSHAKE_S
        return min(self._next_ping_s, self._heard_s + self._welcome.silence_s)

    def _open_socket(self, endpoint: str) -> None:
        dealer = self._context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.RECONNECT_IVL, 50)
        dealer.setsockopt(zmq.MAXMSGSIZE, protocol.MAX_PAYLOAD_BYTES)
        dealer.setsockopt(zmq.IPV6, 1 if "[" in endpoint else 0)
        self._monitor = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED | _HANDSHAKE_FAILURES)
        dealer.connect(endpoint)
        self._socket, self._welcome = dealer, None
        self._hello_s = self._clock()
        self.send(self._hello)

    def _close_socket(self, *, linger_ms: int = 0) -> None:
        if self._socket is not None and self._monitor is not None:
            self._socket.disable_monitor()
            self._monitor.close(linger=0)
            self._socket.close(linger=linger_ms)
        self._socket = self._monitor = self._welcome = None

    def _receive(self) -> None:
        for _ in range(BATCH):
            if self._socket is None:
                return
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._heard_s = received_s = self._clock()
            if len(parts) > 1:
                self._flowed_s = received_s
            try:
                if len(parts) > 2:
                    raise BadMessageError(f"a message of {len(parts)} parts; there are one or two")
                message = protocol.decode_runtime_message(parts[0])
            except UnknownKindError:
                self.unknown_messages += 1
            except VersionError as error:
                self._refuse(error)
            except ProtocolError as error:
                self.last_reason = f"a bad message came from the runtime: {error}"
                self._handler.received(protocol.error_of(error), None, received_s)
            else:
                self._take(message, parts[1] if len(parts) == 2 else None, received_s)

    def _take(self, message: RuntimeMessage, payload: bytes | None, received_s: float) -> None:
        match message:
            case protocol.Welcome():
                if self._welcome is None:
                    self._backoff_s = FIRST_BACKOFF_S
                    self._welcome = message
                    self._next_ping_s = received_s
                    self._measure(self._hello_s, received_s, message.runtime_s)
                    self.progress_s = received_s
                    self._handler.connected(message)
            case protocol.Pong():
                self._measure(message.sent_s, received_s, message.runtime_s)
                self.progress_s = max(self.progress_s, received_s - message.tick_age_s)
                was_stalled, self.is_stalled = self.is_stalled, message.tick_age_s > STALL_S
                if self.is_stalled and not was_stalled:
                    self._handler.stalled(message.tick_age_s)
            case protocol.ErrorMessage(code=code) if code in _REFUSALS:
                kind = VersionError if code == "version_mismatch" else ProtocolError
                self._refuse(kind(f"the runtime refuses this client: {message.message}"))
            case protocol.ErrorMessage(code="hello_first"):
                self._lose("the runtime does not know this connection any more")
            case protocol.ErrorMessage(code="shutting_down"):
                self._lose("the runtime is shutting down")
            case protocol.ErrorMessage(message=reason) if self._welcome is None:
                self._lose(f"the runtime did not take HELLO: {reason}")
            case _ if self._welcome is not None:
                self._handler.received(message, payload, received_s)

    def _measure(self, sent_s: float, received_s: float, runtime_s: float) -> None:
        if sent_s <= received_s:
            self.clock_map = measure_clock(self.clock_map, sent_s=sent_s, received_s=received_s, runtime_s=runtime_s)

    def _watch(self) -> None:
        """See whether the other side hung up. All its messages have been received by now."""
        while self._monitor is not None and self._monitor.poll(0):
            # `zmq.utils.monitor` would parse this too, but imports asyncio.
            (event,) = struct.unpack_from("=H", self._monitor.recv_multipart()[0])
            if event & _HANDSHAKE_FAILURES:
                self.last_reason = f"what answers at {self.endpoint} does not speak ZeroMQ"
            elif event == zmq.EVENT_DISCONNECTED:
                self._lose("the runtime hung up")

    def _keep_alive(self) -> None:
        now_s = self._clock()
        if self._socket is None:
            return
        if self._welcome is None:
            if now_s >= self._hello_s + HANDSHAKE_S:
                self._lose(self.last_reason or "no answer to HELLO")
        elif now_s >= self._heard_s + self._welcome.silence_s:
            self._lose(f"no sign of life for {self._welcome.silence_s:g} s")
        elif now_s >= self._next_ping_s:
            self._next_ping_s = now_s + self._welcome.heartbeat_s
            self.send(protocol.Ping(sent_s=now_s))

    def _lose(self, reason: str) -> None:
        was_connected = self._welcome is not None
        self._close_socket()
        self.last_reason = reason
        self.is_stalled = False
        self._retry_s = self._clock() + self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, LAST_BACKOFF_S)
        if was_connected:
            self._handler.lost(reason)

    def _refuse(self, error: EddylineError) -> None:
        was_connected = self._welcome is not None
        self._close_socket()
        self._refused = True
        self.last_reason = str(error)
        if was_connected:
            self._handler.lost(str(error))
        self._handler.refused(error)

    def _move(self, endpoint: str | None, reason: str) -> None:
        if self._socket is not None:
            self._lose(reason)
        self.endpoint = endpoint
        self._retry_s, self._backoff_s = self._clock(), FIRST_BACKOFF_S

    def _stop(self) -> None:
        self._stopping = True
