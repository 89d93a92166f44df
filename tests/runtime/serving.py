"""A server in a thread on a real socket, and bare clients of it that say what a test wants."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import zmq

from eddyline import protocol
from eddyline_runtime.config import EngineConfig, ServerConfig
from eddyline_runtime.engine import Engine
from eddyline_runtime.journal import JournalWriter
from eddyline_runtime.server import Server
from eddyline_runtime.weights import World

DEADLINE_S = 20.0
QUICK = ServerConfig(bind="tcp://127.0.0.1:0", silence_s=5.0, park_s=0.3, resume_s=30.0, status_s=0.05)
TOKEN = "0123456789abcdef"


class RawClient:
    """A client of another make: a bare socket that says what the test wants."""

    def __init__(self, endpoint: str, token: str = TOKEN) -> None:
        self.token = token
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(endpoint)
        self.heard: list[Any] = []
        self.binary = b""
        """The binary part of the last message."""

    def close(self, *, linger_ms: int = 0) -> None:
        self._socket.close(linger=linger_ms)
        self._context.term()

    def send(self, *messages: Any) -> None:
        for message in messages:
            self._socket.send(message if isinstance(message, bytes) else protocol.encode(message))

    def send_parts(self, *parts: bytes) -> None:
        self._socket.send_multipart(parts)

    def hello(self) -> protocol.Welcome:
        self.send(protocol.Hello(version=protocol.VERSION, token=self.token))
        return self.wait(protocol.Welcome)

    def welcome_views(self) -> tuple[int, ...]:
        """The views that a new greeting lists."""
        return self.hello().views

    def open(self, view: int = 1, *, credits: int = protocol.MAX_CREDITS, **fields: Any) -> protocol.ViewOpened:
        self.send(protocol.OpenView(view=view, prompt="a red fox", seed=7, credits=credits, **fields))
        return self.wait(protocol.ViewOpened)

    def next(self, timeout_s: float) -> Any | None:
        if not self._socket.poll(int(1000 * timeout_s)):
            return None
        parts = self._socket.recv_multipart()
        message = protocol.decode_runtime_message(parts[0])
        if isinstance(message, protocol.FrameHeader):
            assert len(parts[1]) == message.height * message.width * 3
        self.heard.append(message)
        self.binary = parts[1] if len(parts) == 2 else b""
        return message

    def wait(self, kind: type, fits: Callable[[Any], bool] = lambda message: True) -> Any:
        """The next message of a kind that fits; pings meanwhile, as a client does."""
        ping_s = time.monotonic()
        deadline_s = ping_s + DEADLINE_S
        while (now_s := time.monotonic()) < deadline_s:
            message = self.next(0.1)
            if isinstance(message, kind) and fits(message):
                return message
            if now_s >= ping_s:
                ping_s = now_s + 0.2
                self.send(protocol.Ping(sent_s=0.0))
        raise AssertionError(f"no such {kind.__name__} came; heard {self.heard[-5:]}")

    def error(self, code: str) -> protocol.ErrorMessage:
        return self.wait(protocol.ErrorMessage, lambda error: error.code == code)

    def receipt(self, word: int, state: str) -> protocol.ReceiptUpdate:
        return self.wait(protocol.ReceiptUpdate, lambda receipt: (receipt.id, receipt.state) == (word, state))

    def frame(self, index: int) -> protocol.FrameHeader:
        return self.wait(protocol.FrameHeader, lambda frame: frame.index >= index)


class Serving:
    """A server in a thread, and the clients a test connects to it."""

    def __init__(
        self, world: World, config: ServerConfig, *, journal: JournalWriter | None = None, **engine: Any
    ) -> None:
        self.engine = Engine(world, EngineConfig(**{"max_load": None, **engine}), clock=time.monotonic)
        self.server = Server(self.engine, config, journal=journal)
        self.endpoint = self.server.bind()
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._clients = ExitStack()
        self._thread.start()

    def _run(self) -> None:
        try:
            self.server.run()
        except BaseException as error:
            self.failure = error

    def client(self, token: str = TOKEN) -> RawClient:
        client = RawClient(self.endpoint, token)
        self._clients.callback(client.close)
        return client

    def stop(self) -> None:
        self.server.stop()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        self._clients.close()


@contextmanager
def serving(
    world: World, config: ServerConfig = QUICK, *, journal: JournalWriter | None = None, **engine: Any
) -> Iterator[Serving]:
    running = Serving(world, config, journal=journal, **engine)
    try:
        yield running
    finally:
        running.stop()
    assert running.failure is None


def event(word: int, text: str = "it rains", **fields: Any) -> protocol.Event:
    return protocol.Event(id=word, view=1, text=text, **fields)
