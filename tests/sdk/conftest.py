"""What the SDK's tests share: a scripted runtime on a real loopback socket, and a connection to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import eddyline
from eddyline.testing import NoteLog, ScriptedRuntime, wait_until
from eddyline.view import View


@pytest.fixture
def scripted() -> Iterator[ScriptedRuntime]:
    """Small chunks and a high rate, so that words are dated within a tenth of a second."""
    with ScriptedRuntime(fps=80.0, chunk_frames=4, silence_s=2.0, heartbeat_s=0.05) as runtime:
        yield runtime


@pytest.fixture
def runtime(scripted: ScriptedRuntime) -> Iterator[eddyline.Runtime]:
    with eddyline.connect(scripted.endpoint) as connected:
        yield connected


@pytest.fixture
def view(runtime: eddyline.Runtime) -> View:
    opened = runtime.open_view("a red room", name="main")
    wait_until(lambda: opened.frame() is not None)
    return opened


@pytest.fixture
def notes(runtime: eddyline.Runtime) -> NoteLog:
    return NoteLog(runtime)
