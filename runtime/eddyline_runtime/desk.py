"""The front desk: what each message of a client does, and what each outcome of the engine means to a client.

Knows clients and the engine's runner, no sockets: answers go into the clients' outboxes, the server sends them.
"""

from collections.abc import Callable
from itertools import count

from msgspec.structs import replace

from eddyline import protocol
from eddyline.errors import ConfigError, ProtocolError, SnapshotError
from eddyline.protocol import AboutView, ClientMessage, ErrorMessage
from eddyline_runtime import admission, answers, requests
from eddyline_runtime.admission import Demand
from eddyline_runtime.clients import Client, ClientView, ServedView
from eddyline_runtime.config import ServerConfig
from eddyline_runtime.model.streamdit import STRIDES
from eddyline_runtime.outcomes import Outcome, Rested, Rewound, Saved, Told, ViewStatus
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
        max_load: float,
        instance: str,
        clock: Callable[[], float],
    ) -> None:
        """Raises ConfigError when `config` or `max_views` are beyond what WELCOME can say."""
        self._card = card
        self._runner = runner
        self._config = config
        self._max_views = max_views
        self._max_load = max_load
        self._instance = instance
        self._clock = clock
        self._handles = count(1)
        self._views: dict[int, ServedView] = {}
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
        for seat in client.views.values():
            _tell_shared(seat)
        return client

    def _welcome(self, views: tuple[int, ...]) -> protocol.Welcome:
        welcome: protocol.Welcome = replace(
            self._card.welcome(),
            runtime=f"eddyline-runtime {release()}",
            instance=self._instance,
            max_views=self._max_views,
            views=views,
            heartbeat_s=self._config.heartbeat_s,
            silence_s=self._config.silence_s,
            resume_s=self._config.resume_s,
            runtime_s=self._clock(),
        )
        return welcome

    def vanish(self, client: Client) -> None:
        """A client is away: its keys are let go, its views park until it comes back, unless others watch them."""
        client.leave(self._clock())
        for seat in client.views.values():
            self._let_go(seat)
            if all(other.client.routing is None for other in seat.view.seats):
                self._park(seat.view, True)

    def forget(self, client: Client) -> None:
        """Close all views of a client and forget its token."""
        while client.views:  # closing one may end others: those that watched it
            self._close(next(iter(client.views.values())))
        client.leave(self._clock())
        del self.clients[client.token]

    def keep_house(self, now_s: float) -> None:
        """What time brings: silent clients vanish, vanished ones are forgotten, views that nobody reads park."""
        for client in list(self.clients.values()):
            if client.away_s is None and now_s - client.heard_s > self._config.silence_s:
                self.vanish(client)
            elif client.away_s is not None and now_s - client.away_s > self._config.resume_s:
                self.forget(client)
        for view in self._views.values():
            if view.paused or any(seat.credits > 0 for seat in view.seats):
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
            case protocol.OpenView() | protocol.ForkView() | protocol.WatchView() if message.view in client.views:
                _tell_open(client.views[message.view])
            case protocol.OpenView():
                self._open(client, message)
            case protocol.ForkView():
                self._fork(client, message)
            case protocol.WatchView():
                self._watch(client, message)
            case protocol.CloseView(view=number):
                if number in client.views:
                    for receipt in client.views[number].cancelled("the view was closed"):
                        client.tell(receipt)
                    self._close(client.views[number])
                client.tell(protocol.ViewClosed(view=number))
            case protocol.Bye():
                self.forget(client)
            case protocol.Hello() | protocol.RestoreView():
                raise AssertionError("HELLO is taken by welcome(), RESTORE_VIEW by restore()")
            case _:
                self._take_for_view(client, message)

    def _take_for_view(self, client: Client, message: AboutView) -> None:
        seat = client.views.get(message.view)
        word = None if isinstance(message, _WITHOUT_ID) else message.id
        if seat is None:
            text = f"view {message.view} is not open; open it with OPEN_VIEW"
            client.tell(ErrorMessage(code="unknown_view", message=text, view=message.view, id=word))
            return
        refusal = _not_allowed(seat, message)
        if refusal is not None:
            client.tell(ErrorMessage(code="not_allowed", message=refusal, view=message.view, id=word))
            return
        view, handle = seat.view, seat.view.handle
        match message:
            case protocol.Credit(frames=frames):
                self._grant(seat, frames)
            case protocol.Act(keys=keys):
                view.held_by = seat
                self._runner.act(handle, keys)
            case protocol.Pause() | protocol.Resume():
                pause = isinstance(message, protocol.Pause)
                if pause != view.paused:
                    view.paused, view.resting = pause, True
                    self._runner.post(requests.Rest(view=handle, at_s=self._clock(), paused=pause))
            case protocol.ShareView(shared=shared):
                self._share(view, shared)
            case protocol.SaveView(id=number):
                self._save(seat, number)
            case protocol.Cancel(id=number):
                self._cancel(seat, number)
            case (
                protocol.Prompt()
                | protocol.Event()
                | protocol.Cut()
                | protocol.Rewind()
                | protocol.Bookmark()
                | protocol.ReturnTo()
            ):
                self._say(seat, message)

    # ---- views open and close

    def _open(self, client: Client, message: protocol.OpenView) -> None:
        profile_name = message.profile or self._card.default_profile
        refusal = self._refusal(message) or self._no_room(message.view, profile_name, message.stride)
        if refusal is not None:
            client.tell(refusal)
            return
        view = self._enter(client, self._opened(message, profile_name, message.stride), message)
        self._runner.post(
            requests.Open(
                view=view.handle,
                prompt=message.prompt,
                seed=message.seed,
                profile=profile_name,
                stride=message.stride,
                epoch=message.epoch,
                name=message.name,
            )
        )

    def _fork(self, client: Client, message: protocol.ForkView) -> None:
        source = client.views.get(message.source)
        if source is None:
            text = f"view {message.source}, which view {message.view} was to go on from, is not open"
            client.tell(ErrorMessage(code="unknown_view", message=text, view=message.view))
            return
        if source.watches:
            text = f"view {message.source} is another client's, which alone may fork it; open a view of your own"
            client.tell(ErrorMessage(code="not_allowed", message=text, view=message.view))
            return
        refusal = self._no_room(message.view, source.opened.profile, self._stride(source.view), strides=())
        if refusal is not None:
            client.tell(refusal)
            return
        view = self._enter(client, replace(source.opened, view=message.view, epoch=0), message)
        self._runner.post(
            requests.Fork(view=view.handle, source=source.view.handle, at_s=self._clock(), name=message.name)
        )

    def restore(self, client: Client, message: protocol.RestoreView, data: bytes) -> None:
        """Open a view that goes on from a snapshot, or say why it cannot be one."""
        if message.view in client.views:
            _tell_open(client.views[message.view])
            return
        try:
            moment = read_snapshot(data, self._card).moment
        except SnapshotError as error:
            client.tell(ErrorMessage(code="bad_snapshot", message=str(error)[: protocol.MAX_NOTE], view=message.view))
            return
        profile_name = next(name for name, profile in self._card.profiles.items() if profile == moment.profile)
        refusal = self._no_room(message.view, profile_name, moment.stride, strides=())
        if refusal is not None:
            client.tell(refusal)
            return
        view = self._enter(client, self._opened(message, profile_name, moment.stride), message)
        self._runner.post(
            requests.Restore(
                view=view.handle, epoch=message.epoch, at_s=self._clock(), snapshot=data, name=message.name
            )
        )

    def _watch(self, client: Client, message: protocol.WatchView) -> None:
        named = [view for view in self._views.values() if view.name == message.name]
        if len(named) != 1:
            found = f"{len(named)} views are" if named else "no view is"
            cure = "open it with a name of its own" if named else "open it with that name first, or close this one"
            text = f"{found} called {message.name!r}, so it cannot be watched; {cure}"
            client.tell(ErrorMessage(code="unknown_name", message=text, view=message.view))
            return
        (view,) = named
        if len(view.seats) > self._config.max_watchers:
            text = f"view {message.name!r} is watched {self._config.max_watchers} times already, which is the limit"
            client.tell(ErrorMessage(code="too_many_watchers", message=f"{text}; close one", view=message.view))
            return
        self._grant(self._seat(client, view, message.view), message.credits)

    def _opened(
        self, message: protocol.OpenView | protocol.RestoreView, profile_name: str, stride: int
    ) -> protocol.ViewOpened:
        """What is told of a view of this profile and stride when it opens."""
        card = self._card
        return protocol.ViewOpened(
            view=message.view,
            epoch=message.epoch,
            profile=profile_name,
            fps=card.fps / stride,
            chunk_frames=card.chunk_frames(card.profiles[profile_name]),
            height=card.height,
            width=card.width,
        )

    def _enter(
        self,
        client: Client,
        opened: protocol.ViewOpened,
        message: protocol.OpenView | protocol.ForkView | protocol.RestoreView,
    ) -> ServedView:
        view = ServedView(
            handle=next(self._handles),
            name=message.name,
            opened=opened,
            epoch=opened.epoch,
            asked_s=self._clock(),
        )
        self._views[view.handle] = view
        view.held_by = self._seat(client, view, opened.view)
        view.held_by.credits = message.credits
        return view

    def _seat(self, client: Client, view: ServedView, number: int) -> ClientView:
        """Let a client see a view, and tell it so."""
        ring = FrameRing((self._config.lead_chunks + 1) * view.opened.chunk_frames)
        seat = ClientView(number=number, client=client, view=view, ring=ring, max_receipts=self._config.max_receipts)
        view.seats.append(seat)
        client.views[number] = seat
        _tell_open(seat)
        return seat

    def _refusal(self, message: protocol.OpenView) -> ErrorMessage | None:
        if message.profile and message.profile not in self._card.profiles:
            known = ", ".join(sorted(self._card.profiles))
            text = f"profile {message.profile!r} is unknown; this world has {known}"
            return ErrorMessage(code="unknown_profile", message=text, view=message.view)
        if message.prompt.isspace():
            text = "the prompt is empty; say in words what is to be seen"
            return ErrorMessage(code="bad_message", message=text, view=message.view)
        return None

    def _no_room(self, view: int, profile: str, stride: int, strides: tuple[int, ...] = STRIDES) -> ErrorMessage | None:
        """Why one more view may not be opened. A view that rests may go on at any time, so it counts. `strides`: those
        it could be opened with; one that goes on from another has no choice."""
        if len(self._views) >= self._max_views:
            text = f"{len(self._views)} views are open, the limit is {self._max_views}; close one first"
            return ErrorMessage(code="too_many_views", message=text, view=view)
        opened = [self._demand(other.opened.profile, self._stride(other)) for other in self._views.values()]
        refusal = admission.refusal(
            self._demand(profile, stride),
            opened,
            self._runner.batch_costs,
            strides=strides,
            max_load=self._max_load,
            max_views=self._max_views,
        )
        if refusal is None:
            return None
        text = admission.told(refusal, profile=profile, fps=self._card.fps)
        return ErrorMessage(code="no_capacity", message=text, view=view)

    def _demand(self, profile: str, stride: int) -> Demand:
        chosen = self._card.profiles[profile]
        every_chunk_s = self._card.chunk_frames(chosen) / self._card.fps
        return Demand(group=chosen, every_chunk_s=every_chunk_s, stride=stride)

    def _stride(self, view: ServedView) -> int:
        return round(self._card.fps / view.opened.fps)

    def _close(self, seat: ClientView) -> None:
        """Somebody leaves a view: for who watches it goes on, with its owner it ends."""
        view = seat.view
        if seat.watches:
            self._let_go(seat)
            for word in view.words_of(seat):  # its client is told that they are cancelled
                self._runner.post(requests.Cancel(view=view.handle, word=word))
            view.leave(seat)
            del seat.client.views[seat.number]
            return
        for other in view.seats:
            del other.client.views[other.number]
        for other in view.seats[1:]:
            for receipt in other.cancelled("its owner closed the view"):
                other.client.tell(receipt)
            other.client.tell(protocol.ViewClosed(view=other.number, reason="its owner closed it"))
        del self._views[view.handle]
        self._runner.close_view(view.handle)

    # ---- what a view is told

    def _grant(self, seat: ClientView, frames: int) -> None:
        seat.credits = min(seat.credits + frames, protocol.MAX_CREDITS)
        if seat.credits:
            self._park(seat.view, False)

    def _let_go(self, seat: ClientView) -> None:
        """The keys that somebody holds are released."""
        if seat.view.held_by is seat:
            self._runner.act(seat.view.handle, {})

    def _park(self, view: ServedView, parked: bool) -> None:
        if parked != view.parked:
            view.parked, view.resting = parked, True
            self._runner.post(requests.Rest(view=view.handle, at_s=self._clock(), parked=parked))

    def _share(self, view: ServedView, shared: bool) -> None:
        if shared == view.shared:
            return
        view.shared = shared
        for seat in view.seats[1:]:
            _tell_shared(seat)
            if not shared:
                self._let_go(seat)

    def _say(self, seat: ClientView, message: protocol.Words) -> None:
        if seat.knows(message.id):
            if message.id in seat.receipts:
                seat.client.tell(seat.receipts[message.id])
            return
        if len(seat.waiting) >= MAX_WAITING:
            text = f"{MAX_WAITING} words wait for their receipt; send these again when some are answered"
            seat.client.tell(ErrorMessage(code="too_many_words", message=text, view=seat.number, id=message.id))
            return
        seat.waiting.add(message.id)
        handle, word = seat.view.handle, seat.view.engine_word(seat, message.id)
        match message:
            case protocol.Rewind(seconds=seconds):
                self._runner.post(requests.Rewind(view=handle, word=word, seconds=seconds, at_s=self._clock()))
            case protocol.Bookmark(name=name):
                self._runner.post(requests.Bookmark(view=handle, word=word, name=name, at_s=self._clock()))
            case _:
                wish = answers.wish(message, word=word, fps=seat.view.opened.fps)
                self._runner.post(requests.Say(view=handle, wish=wish))

    def _save(self, seat: ClientView, number: int) -> None:
        view = seat.view
        if view.saving or any(payload is not None for _, payload in seat.client.outbox):
            _tell_not_yet(seat, number, "a snapshot is on its way already; ask again when it has come")
            return
        view.saving, handle, at_s = True, view.handle, self._clock()
        self._runner.post(lambda engine: [engine.save_view(handle, number, at_s=at_s)])

    def _cancel(self, seat: ClientView, word: int) -> None:
        if not seat.knows(word):
            text = f"words {word} never came, so they cannot be taken back"
            seat.client.tell(ErrorMessage(code="unknown_word", message=text, view=seat.number, id=word))
            return
        receipt = seat.receipts.get(word)
        number = seat.view.known_word(seat, word)
        if number is None or (receipt is not None and receipt.state != "accepted"):
            seat.client.tell(seat.receipts[word])
            return
        self._runner.post(requests.Cancel(view=seat.view.handle, word=number))

    # ---- outcomes

    def take_outcome(self, outcome: Outcome) -> None:
        """Pass on what the engine did; what belongs to a view that was closed meanwhile is dropped."""
        view = self._views.get(outcome.view)
        if view is None:
            return
        match outcome:
            case Chunk():
                view.epoch = outcome.epoch
                for seat in view.seats:
                    seat.ring.push(outcome)
            case Rested(resting=resting, by_s=by_s):
                for seat in view.seats:
                    seat.ring.delay(by_s)
                view.resting = resting
            case Rewound():
                for seat in view.seats:
                    seat.ring.clear()
            case Saved():
                view.saving = False
                self._hand_over(view.owner, outcome)
            case Told():
                self._answer(view, outcome)
            case ViewStatus():
                for seat in view.seats:
                    seat.client.tell(answers.status(seat.number, outcome, dropped=seat.ring.dropped))

    def _hand_over(self, seat: ClientView, saved: Saved) -> None:
        """Whoever asked for a snapshot gets it, or is told why it cannot be taken now."""
        if saved.snapshot is None:
            _tell_not_yet(seat, saved.id, "the scene is still beginning; ask again once it shows its first frame")
            return
        try:
            data = write_snapshot(saved.snapshot, self._card)
        except SnapshotError as error:
            _tell_not_yet(seat, saved.id, str(error))
            return
        seat.client.tell(protocol.SnapshotHeader(id=saved.id, view=seat.number), data)

    def _answer(self, view: ServedView, told: Told) -> None:
        """Words have news: whoever said them is told."""
        said = view.said(told.note.id)
        if said is None:
            return
        seat, word = said
        receipt = answers.receipt(seat.number, word, told)
        if receipt.state != "accepted":
            view.words.pop(told.note.id, None)
        seat.remember(receipt)
        seat.client.tell(receipt)


_WITHOUT_ID = (protocol.Act, protocol.Pause, protocol.Resume, protocol.Credit, protocol.ShareView)


def _tell_open(seat: ClientView) -> None:
    seat.client.tell(seat.opened)
    _tell_shared(seat)


def _tell_shared(seat: ClientView) -> None:
    """Whoever watches is told whether it may steer."""
    if seat.watches:
        seat.client.tell(protocol.ViewShared(view=seat.number, shared=seat.view.shared))


def _tell_not_yet(seat: ClientView, number: int, text: str) -> None:
    """The snapshot that was asked for under this number cannot be taken now."""
    seat.client.tell(ErrorMessage(code="not_yet", message=text, view=seat.number, id=number))


_OWNERS = (protocol.SaveView, protocol.ShareView, protocol.Pause, protocol.Resume)


def _not_allowed(seat: ClientView, message: AboutView) -> str | None:
    """Why a client may not do this to a view that another one opened; None when it may."""
    if isinstance(message, protocol.Credit) or not seat.watches:
        return None
    if isinstance(message, _OWNERS):
        return f"view {seat.number} is another client's, which alone may pause, save or share it; open one of your own"
    if not seat.view.shared:
        return f"view {seat.number} is another client's, and not shared: it can be watched, not steered"
    return None
