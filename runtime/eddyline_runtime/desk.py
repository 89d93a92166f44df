"""The front desk: what each message of a client does, and what each outcome of the engine means to a client.

Knows clients and the engine's runner, no sockets: answers go into the clients' outboxes, the server sends them.
"""

from collections.abc import Callable
from itertools import count

from msgspec.structs import replace

from eddyline import protocol
from eddyline.errors import ConfigError, ProtocolError, SnapshotError
from eddyline.protocol import ClientMessage, ErrorMessage, ReceiptUpdate
from eddyline_runtime import requests
from eddyline_runtime.clients import Client, ClientView
from eddyline_runtime.config import ServerConfig
from eddyline_runtime.engine import Outcome, Rested, Rewound, Saved, Told, ViewStatus
from eddyline_runtime.prompts import Wish
from eddyline_runtime.release import release
from eddyline_runtime.runner import Runner
from eddyline_runtime.snapshot import read_snapshot, write_snapshot
from eddyline_runtime.view import Chunk, FrameRing
from eddyline_runtime.weights import WorldCard

MAX_WAITING = 256
"""Words of one view that may wait for their first receipt."""


class Desk:
    """Clients and their views. All methods belong to the server's thread."""

    def __init__(
        self,
        card: WorldCard,
        runner: Runner,
        config: ServerConfig,
        *,
        max_views: int,
        instance: str,
        clock: Callable[[], float],
    ) -> None:
        """Raises ConfigError when `config` or `max_views` are beyond what WELCOME can say."""
        self._card = card
        self._runner = runner
        self._config = config
        self._max_views = max_views
        self._instance = instance
        self._clock = clock
        self._handles = count(1)
        self._views: dict[int, tuple[Client, ClientView]] = {}
        self.clients: dict[str, Client] = {}
        try:
            protocol.decode_runtime_message(protocol.encode(self._welcome(())))
        except ProtocolError as error:
            raise ConfigError(f"this runtime cannot be told to clients ({error}); change that number") from error

    # ---- clients come and go

    def welcome(self, hello: protocol.Hello, routing: bytes) -> Client | ErrorMessage:
        """Let a client in, or say why not. A token that is known keeps its views; its credits are taken back."""
        card = self._card
        if protocol.RAW_CODEC not in hello.codecs or hello.max_height < card.height or hello.max_width < card.width:
            theirs = f"{hello.max_width}x{hello.max_height} as {', '.join(hello.codecs)}"
            text = f"this runtime sends {card.width}x{card.height} frames as {protocol.RAW_CODEC}, not {theirs}"
            return ErrorMessage(code="no_codec", message=f"{text}; allow both in HELLO")
        client = self.clients.get(hello.token)
        if client is None:
            if len(self.clients) >= self._config.max_clients:
                text = f"{len(self.clients)} clients are connected, the limit is {self._config.max_clients}; close one"
                return ErrorMessage(code="too_many_clients", message=text)
            client = Client(hello.token, self._clock(), routing)
            self.clients[hello.token] = client
        client.leave(self._clock())
        client.routing, client.away_s = routing, None
        client.tell(self._welcome(tuple(client.views)))
        return client

    def _welcome(self, views: tuple[int, ...]) -> protocol.Welcome:
        card = self._card
        per_latent = card.codec.frames_per_latent
        profiles = (
            protocol.ProfileInfo(name=name, chunk_frames=profile.partition.chunk_frames * per_latent)
            for name, profile in card.profiles.items()
        )
        return protocol.Welcome(
            version=protocol.VERSION,
            runtime=f"eddyline-runtime {release()}",
            instance=self._instance,
            model=card.name,
            fps=card.fps,
            height=card.height,
            width=card.width,
            action_names=card.action_names,
            profiles=tuple(profiles),
            default_profile=card.default_profile,
            phrases=card.phrases[: protocol.MAX_PHRASES],
            max_views=self._max_views,
            views=views,
            heartbeat_s=self._config.heartbeat_s,
            silence_s=self._config.silence_s,
            resume_s=self._config.resume_s,
            runtime_s=self._clock(),
        )

    def vanish(self, client: Client) -> None:
        """A client is away: its keys are let go, its views park until it comes back."""
        client.leave(self._clock())
        for view in client.views.values():
            self._runner.act(view.handle, {})
            self._park(view, True)

    def forget(self, client: Client) -> None:
        """Close all views of a client and forget its token."""
        for view in list(client.views.values()):
            self._close(client, view)
        client.leave(self._clock())
        del self.clients[client.token]

    def keep_house(self, now_s: float) -> None:
        """What time brings: silent clients vanish, vanished ones are forgotten, views that nobody reads park."""
        for client in list(self.clients.values()):
            if client.away_s is None and now_s - client.heard_s > self._config.silence_s:
                self.vanish(client)
            elif client.away_s is not None and now_s - client.away_s > self._config.resume_s:
                self.forget(client)
                continue
            for view in client.views.values():
                if view.credits > 0 or view.paused:
                    view.asked_s = now_s
                elif not view.parked and now_s - view.asked_s > self._config.park_s:
                    self._park(view, True)

    def ask_status(self) -> None:
        """Let the engine say how all views do."""
        handles = list(self._views)
        self._runner.post(lambda engine: [engine.status(handle) for handle in handles if engine.is_open(handle)])

    # ---- messages

    def take(self, client: Client, message: ClientMessage) -> None:
        """Do what a message says; whatever is wrong with it becomes one answer to its sender."""
        match message:
            case protocol.Ping(sent_s=sent_s):
                age_s = self._runner.tick_age_s()
                now_s = self._clock()
                client.tell(protocol.Pong(sent_s=sent_s, runtime_s=now_s, ticks=self._runner.ticks, tick_age_s=age_s))
            case protocol.OpenView():
                self._open(client, message)
            case protocol.ForkView():
                self._fork(client, message)
            case protocol.CloseView(view=number):
                if number in client.views:
                    for receipt in client.views[number].cancelled("the view was closed"):
                        client.tell(receipt)
                    self._close(client, client.views[number])
                client.tell(protocol.ViewClosed(view=number))
            case protocol.Bye():
                self.forget(client)
            case protocol.Hello() | protocol.RestoreView():
                raise AssertionError("HELLO is taken by welcome(), RESTORE_VIEW by restore()")
            case _:
                view = client.views.get(message.view)
                if view is None:
                    word = None if isinstance(message, _WITHOUT_ID) else message.id
                    text = f"view {message.view} is not open; open it with OPEN_VIEW"
                    client.tell(ErrorMessage(code="unknown_view", message=text, view=message.view, id=word))
                else:
                    self._take_for_view(client, view, message)

    def _take_for_view(self, client: Client, view: ClientView, message: ClientMessage) -> None:
        handle = view.handle
        match message:
            case protocol.Credit(frames=frames):
                view.credits = min(view.credits + frames, protocol.MAX_CREDITS)
                if view.parked:
                    self._park(view, False)
            case protocol.Act(keys=keys):
                self._runner.act(handle, keys)
            case protocol.Pause() | protocol.Resume():
                pause = isinstance(message, protocol.Pause)
                if pause != view.paused:
                    view.paused, view.resting, at_s = pause, True, self._clock()
                    self._runner.post(requests.Rest(view=handle, at_s=at_s, paused=pause))
            case protocol.SaveView(id=number):
                self._save(client, view, number)
            case protocol.Cancel(id=word):
                self._cancel(client, view, word)
            case protocol.Prompt() | protocol.Event() | protocol.Cut() | protocol.Rewind():
                self._say(client, view, message)

    def _open(self, client: Client, message: protocol.OpenView) -> None:
        if message.view in client.views:
            client.tell(client.views[message.view].opened)
            return
        refusal = self._refusal(message) or self._no_room(message.view)
        if refusal is not None:
            client.tell(refusal)
            return
        card, profile_name = self._card, message.profile or self._card.default_profile
        opened = protocol.ViewOpened(
            view=message.view,
            epoch=message.epoch,
            profile=profile_name,
            fps=card.fps / message.stride,
            chunk_frames=card.profiles[profile_name].partition.chunk_frames * card.codec.frames_per_latent,
            height=card.height,
            width=card.width,
        )
        view = self._enter(client, opened, message.credits)
        self._runner.post(
            requests.Open(
                view=view.handle,
                prompt=message.prompt,
                seed=message.seed,
                profile=profile_name,
                stride=message.stride,
                epoch=message.epoch,
            )
        )
        client.tell(opened)

    def _fork(self, client: Client, message: protocol.ForkView) -> None:
        if message.view in client.views:
            client.tell(client.views[message.view].opened)
            return
        source, refusal = client.views.get(message.source), self._no_room(message.view)
        if source is None:
            text = f"view {message.source}, which view {message.view} was to go on from, is not open"
            client.tell(ErrorMessage(code="unknown_view", message=text, view=message.view))
            return
        if refusal is not None:
            client.tell(refusal)
            return
        view = self._enter(client, replace(source.opened, view=message.view, epoch=0), message.credits)
        self._runner.post(requests.Fork(view=view.handle, source=source.handle, at_s=self._clock()))
        client.tell(view.opened)

    def restore(self, client: Client, message: protocol.RestoreView, data: bytes) -> None:
        """Open a view that goes on from a snapshot, or say why it cannot be one."""
        if message.view in client.views:
            client.tell(client.views[message.view].opened)
            return
        refusal = self._no_room(message.view)
        if refusal is not None:
            client.tell(refusal)
            return
        card = self._card
        try:
            moment = read_snapshot(data, card).moment
        except SnapshotError as error:
            client.tell(ErrorMessage(code="bad_snapshot", message=str(error)[:4096], view=message.view))
            return
        opened = protocol.ViewOpened(
            view=message.view,
            epoch=message.epoch,
            profile=next(name for name, profile in card.profiles.items() if profile == moment.profile),
            fps=card.fps / moment.stride,
            chunk_frames=moment.profile.partition.chunk_frames * card.codec.frames_per_latent,
            height=card.height,
            width=card.width,
        )
        view = self._enter(client, opened, message.credits)
        self._runner.post(requests.Restore(view=view.handle, epoch=message.epoch, at_s=self._clock(), snapshot=data))
        client.tell(opened)

    def _enter(self, client: Client, opened: protocol.ViewOpened, credits: int) -> ClientView:
        view = ClientView(
            number=opened.view,
            handle=next(self._handles),
            opened=opened,
            ring=FrameRing((self._config.lead_chunks + 1) * opened.chunk_frames),
            fps=opened.fps,
            credits=credits,
            asked_s=self._clock(),
            max_receipts=self._config.max_receipts,
        )
        client.views[view.number] = view
        self._views[view.handle] = (client, view)
        return view

    def _refusal(self, message: protocol.OpenView) -> ErrorMessage | None:
        if message.profile and message.profile not in self._card.profiles:
            known = ", ".join(sorted(self._card.profiles))
            text = f"profile {message.profile!r} is unknown; this world has {known}"
            return ErrorMessage(code="unknown_profile", message=text, view=message.view)
        if message.prompt.isspace():
            text = "the prompt is empty; say in words what is to be seen"
            return ErrorMessage(code="bad_message", message=text, view=message.view)
        return None

    def _no_room(self, view: int) -> ErrorMessage | None:
        if len(self._views) < self._max_views:
            return None
        text = f"{len(self._views)} views are open, the limit is {self._max_views}; close one first"
        return ErrorMessage(code="too_many_views", message=text, view=view)

    def _close(self, client: Client, view: ClientView) -> None:
        del client.views[view.number], self._views[view.handle]
        self._runner.close_view(view.handle)

    def _park(self, view: ClientView, parked: bool) -> None:
        if parked != view.parked:
            view.parked, view.resting = parked, True
            self._runner.post(requests.Rest(view=view.handle, at_s=self._clock(), parked=parked))

    def _say(self, client: Client, view: ClientView, message: protocol.Words) -> None:
        if view.knows(message.id):
            if message.id in view.receipts:
                client.tell(view.receipts[message.id])
            return
        if len(view.waiting) >= MAX_WAITING:
            text = f"{MAX_WAITING} words wait for their receipt; send these again when some are answered"
            client.tell(ErrorMessage(code="too_many_words", message=text, view=view.number, id=message.id))
            return
        view.waiting.add(message.id)
        if isinstance(message, protocol.Rewind):
            self._runner.post(
                requests.Rewind(view=view.handle, word=message.id, seconds=message.seconds, at_s=self._clock())
            )
        else:
            self._runner.post(requests.Say(view=view.handle, wish=_wish(message, view.fps)))

    def _save(self, client: Client, view: ClientView, number: int) -> None:
        if view.saving or any(payload is not None for _, payload in client.outbox):
            text = "a snapshot is on its way already; ask again when it has come"
            client.tell(ErrorMessage(code="not_yet", message=text, view=view.number, id=number))
            return
        view.saving, handle, at_s = True, view.handle, self._clock()
        self._runner.post(lambda engine: [engine.save_view(handle, number, at_s=at_s)])

    def _cancel(self, client: Client, view: ClientView, word: int) -> None:
        if not view.knows(word):
            text = f"words {word} never came, so they cannot be taken back"
            client.tell(ErrorMessage(code="unknown_word", message=text, view=view.number, id=word))
            return
        receipt = view.receipts.get(word)
        if receipt is not None and receipt.state != "accepted":
            client.tell(receipt)
            return
        self._runner.post(requests.Cancel(view=view.handle, word=word))

    # ---- outcomes

    def take_outcome(self, outcome: Outcome) -> None:
        """Pass on what the engine did; what belongs to a view that was closed meanwhile is dropped."""
        found = self._views.get(outcome.view)
        if found is None:
            return
        client, view = found
        match outcome:
            case Chunk():
                view.ring.push(outcome)
            case Rested(resting=resting, by_s=by_s):
                view.ring.delay(by_s)
                view.resting = resting
            case Rewound():
                view.ring.clear()
            case Saved(id=number, snapshot=snapshot):
                view.saving = False
                if snapshot is None:
                    text = "the scene is still beginning; ask again once it shows its first frame"
                    client.tell(ErrorMessage(code="not_yet", message=text, view=view.number, id=number))
                else:
                    header = protocol.SnapshotHeader(id=number, view=view.number)
                    client.tell(header, write_snapshot(snapshot, self._card))
            case Told():
                receipt = _receipt(view.number, outcome)
                view.remember(receipt)
                client.tell(receipt)
            case ViewStatus():
                client.tell(_status(view, outcome))


_WITHOUT_ID = (protocol.Act, protocol.Pause, protocol.Resume, protocol.Credit)


def _wish(message: protocol.Prompt | protocol.Event | protocol.Cut, fps: float) -> Wish:
    match message:
        case protocol.Prompt():
            return Wish(id=message.id, verb="prompt", text=message.text, at=message.at)
        case protocol.Event():
            hold_frames = max(1, round(message.hold_s * fps))
            return Wish(id=message.id, verb="event", text=message.text, at=message.at, hold_frames=hold_frames)
        case protocol.Cut():
            return Wish(id=message.id, verb="cut", text=message.text, seed=message.seed)


def _receipt(view: int, told: Told) -> ReceiptUpdate:
    note, understanding = told.note, told.understanding
    return ReceiptUpdate(
        id=note.id,
        view=view,
        state=note.state,
        epoch=told.epoch if note.state == "applied" else None,
        first_influenced_frame=note.first_influenced_frame,
        first_full_frame=note.first_full_frame,
        understood=None if understanding is None else understanding.score,
        nearest="" if understanding is None else understanding.nearest[:128],
        reason=note.reason,
    )


def _status(view: ClientView, status: ViewStatus) -> protocol.StatusUpdate:
    return protocol.StatusUpdate(
        view=view.number,
        state=status.state,
        epoch=status.epoch,
        playhead=status.playhead,
        lead_s=status.lead_s,
        dropped=view.ring.dropped,
        fps=status.fps,
        denoise_ms=1000 * status.denoise_s,
        decode_ms=1000 * status.decode_s,
        tick_ms=1000 * status.tick_s,
    )
