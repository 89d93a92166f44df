"""`connect()` to a runtime that is already there, and `Runtime`: the connection that views are opened on."""

from __future__ import annotations

import atexit
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, cast

from eddyline import protocol
from eddyline.errors import ClosedError, OptionError, SnapshotError
from eddyline.link import Link, World
from eddyline.notes import Note, Progress
from eddyline.snapshots import snapshot_info
from eddyline.transport import check_endpoint
from eddyline.view import View, check_name, check_seed, check_text, check_timeout

_open_runtimes: set[Runtime] = set()
"""Closed when the program ends; also those that the game has dropped, so that no launched process stays behind."""


@dataclass(frozen=True)
class ViewPlan:
    """A view to be opened by `Runtime.open_views`; its fields are the arguments of `Runtime.open_view`."""

    prompt: str
    seed: int = 0
    profile: str | None = None
    stride: int = 1
    name: str = ""


class Runtime:
    """The connection to a runtime. Made by `connect()` or `launch()`; a context manager that closes it.

    A thread of its own keeps the connection; when it is lost, it is regained, views are opened again under their last
    prompt in a new epoch, and words without an answer are sent again. `poll()` tells.
    """

    def __init__(
        self,
        link: Link,
        *,
        profile: str | None = None,
        on_progress: Callable[[float, str], None] | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._link = link
        self._on_close = on_close
        self._on_progress = on_progress
        self._progress = link.progress
        self._profile = profile
        self._closed = False
        _close_all_at_exit()
        _open_runtimes.add(self)

    @property
    def ready(self) -> bool:
        """Whether the runtime answers now."""
        return self._link.connected_now and not self._closed

    @property
    def gone(self) -> bool:
        """Whether nothing more will come from this runtime (it was not started again, or refuses this client)."""
        return self._link.gone is not None

    @property
    def world(self) -> World | None:
        """What the runtime dreams; None until it has answered for the first time."""
        return self._link.world

    @property
    def progress(self) -> Progress:
        """How far the start of a launched runtime is."""
        return self._link.progress

    @property
    def unknown_messages(self) -> int:
        """Messages of kinds that this version does not know (of a later minor version); they are ignored."""
        return self._link.unknown_messages

    def wait_ready(self, timeout_s: float = math.inf) -> None:
        """Wait until the runtime answers, up to `timeout_s` seconds. Not for a game's loop.

        Raises ConnectTimeoutError, VersionError, LaunchError, OptionError or ClosedError.
        """
        self._check_open()
        check_timeout(timeout_s)
        self._link.wait_connected(timeout_s, self._tell_progress)

    def open_view(
        self, prompt: str, *, seed: int = 0, profile: str | None = None, stride: int = 1, name: str = ""
    ) -> View:
        """Open a view on the world. Returns at once; frames come as soon as they are made.

        prompt: the standing description. seed: 0 to 2**63 - 1; the same seed and words give the same stream. profile:
        one of `world.profiles` (None: what `launch` was given, or the world's default). stride: 1, 2 or 4; a view with
        stride 2 runs at half the frame rate, and takes twice as long to show words and keys. name: for notes, logs and
        `watch_view`, which finds it if no other view has the same; up to 128 characters.

        Raises TextError, OptionError or ClosedError. Whether the runtime took it, `poll()` tells by ViewOpened or
        ViewClosed.
        """
        return self.open_views([ViewPlan(prompt, seed=seed, profile=profile, stride=stride, name=name)])[0]

    def open_views(self, plans: Sequence[ViewPlan]) -> list[View]:
        """Open several views, in the order of their plans; as many as share a profile are dreamed as one batch.

        Raises as `open_view`, before any is opened.
        """
        self._check_open()
        messages = [self._checked(plan) for plan in plans]
        return [self._opened(message) for message in messages]

    def watch_view(self, name: str) -> View:
        """Watch the view that has this name, whichever client of the runtime opened it. Returns at once.

        It shows the frames that are made from then on, reads for itself alone, and ends when its owner closes the view.
        Words and keys are taken while the owner shares it (`View.share`, `View.may_steer`). When no view is called so,
        `poll()` tells by ViewClosed, and `View.wait_open()` raises UnknownNameError; watch it again after its runtime
        was lost.

        name: 1 to 128 characters. Raises OptionError or ClosedError.
        """
        self._check_open()
        if not check_name(name):
            raise OptionError("an empty name names no view; give the one that the view was opened with")
        view = View(self._link, self._link.next_id(), name, 0.0, held={}, watches=True)
        self._link.watch_view(view)
        return view

    def restore_view(self, data: bytes, *, name: str = "") -> View:
        """Open a view that goes on from a snapshot: `Snapshot.data`, or a file of `Snapshot.save()`. Returns at once.

        It begins with the frames that were not shown when the snapshot was taken, and then goes on as that view did,
        bit for bit on one build, device and batch. Where the runtime is of another world, the snapshot was changed, or
        the connection is lost each time that it is sent, `poll()` tells by ViewClosed. name: as for `open_view`.

        Raises SnapshotError when it is cut, too large or something else, OptionError or ClosedError.
        """
        self._check_open()
        if not isinstance(data, bytes | bytearray | memoryview):
            raise OptionError(
                f"a snapshot of type {type(data).__name__}; give its bytes: Snapshot.data, or Path(...).read_bytes() "
                "of a file of Snapshot.save()"
            )
        if len(data) > protocol.MAX_PAYLOAD_BYTES:
            raise SnapshotError(
                f"these {len(data)} bytes are over the limit of {protocol.MAX_PAYLOAD_BYTES} for a snapshot; give a "
                "file of Snapshot.save()"
            )
        info, name = snapshot_info(data), check_name(name)
        message = protocol.OpenView(
            view=self._link.next_id(), prompt=info.prompt, seed=info.seed, stride=info.stride, name=name
        )
        return self._opened(message, data)

    def _checked(self, plan: ViewPlan) -> protocol.OpenView:
        """A plan as the message that opens its view."""
        if not isinstance(plan, ViewPlan):
            raise OptionError(f"a plan of type {type(plan).__name__}; give ViewPlan(prompt, seed=..., ...)")
        check_text(plan.prompt)
        check_seed(plan.seed)
        if type(plan.stride) is not int or plan.stride not in (1, 2, 4):
            raise OptionError(f"stride={plan.stride!r}; give 1, 2 or 4")
        check_name(plan.name)
        world, profile = self._link.world, self._profile if plan.profile is None else plan.profile
        if profile is not None and not isinstance(profile, str):
            raise OptionError(f"profile={profile!r}; give the name of one, or None")
        if profile is not None and world is not None and profile not in world.profiles:
            raise OptionError(f"profile={profile!r} is not known; {world.model} has {', '.join(world.profiles)}")
        return protocol.OpenView(
            view=self._link.next_id(),
            prompt=plan.prompt,
            seed=plan.seed,
            profile=profile or "",
            stride=cast(Literal[1, 2, 4], plan.stride),
            name=plan.name,
        )

    def _opened(self, message: protocol.OpenView, snapshot: bytes | None = None) -> View:
        world = self._link.world
        rate = 0.0 if world is None else world.fps / message.stride
        view = View(self._link, message.view, message.name, rate, held={} if snapshot is None else None)
        self._link.open_view(view, message, snapshot)
        return view

    def poll(self) -> list[Note]:
        """Return notes of what happened since the last call, oldest first. Never waits; call it in every turn."""
        taken = self._link.notes.take()
        if self._tell_progress():
            taken.append(self._progress)
        return taken

    def _tell_progress(self) -> bool:
        """Call `on_progress`, on the game's thread, if there is any since the last time."""
        progress = self._link.progress
        if progress is self._progress:
            return False
        self._progress = progress
        if self._on_progress is not None:
            self._on_progress(progress.fraction, progress.doing)
        return True

    def close(self) -> None:
        """Close all views and the connection; a launched runtime is stopped, what is being recorded is finished.

        Closing twice is fine.
        """
        if self._closed:
            return
        self._closed = True
        _open_runtimes.discard(self)
        try:
            for clip in self._link.begin_close():
                clip.finish()
            self._link.close()
        finally:
            if self._on_close is not None:
                self._on_close()

    def __repr__(self) -> str:
        world = self.world
        state = "closed" if self._closed else "gone" if self.gone else "ready" if self.ready else "not ready"
        return f"<Runtime{'' if world is None else f' of {world.model}'}: {state}>"

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("this runtime was closed; connect() or launch() another")


def connect(endpoint: str, *, timeout_s: float = 5.0) -> Runtime:
    """Connect to a runtime at `tcp://127.0.0.1:PORT` and wait up to `timeout_s` seconds for its answer.

    Raises EndpointError, KeysNeededError (the endpoint is not on this machine), ConnectTimeoutError, VersionError or
    OptionError.
    """
    runtime = Runtime(Link(check_endpoint(endpoint)))
    try:
        runtime.wait_ready(timeout_s)
    except BaseException:
        runtime.close()
        raise
    return runtime


@functools.cache
def _close_all_at_exit() -> None:
    """Have `_close_all` called at the program's end, however often this is asked for."""
    atexit.register(_close_all)


def _close_all() -> None:
    for runtime in list(_open_runtimes):
        runtime.close()
