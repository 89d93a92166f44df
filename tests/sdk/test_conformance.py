"""The conformance check passes what keeps to the protocol, and names the rule that something else breaks."""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]
import msgspec
import pytest

from eddyline import protocol
from eddyline.conformance import (
    CHECKS,
    _check_newest,
    _check_other_token,
    _check_ping,
    _check_signs_of_life,
    _check_snapshot,
    _check_watch,
)
from eddyline.errors import ConformanceError, KeysNeededError
from eddyline.scripted import ScriptedView, Seat
from eddyline.testing import ScriptedRuntime, check_runtime, wait_until


def test_the_scripted_runtime_keeps_every_rule() -> None:
    with ScriptedRuntime(fps=80.0, chunk_frames=4, silence_s=1.0) as scripted:
        assert len(check_runtime(scripted.endpoint)) == len(CHECKS)


def test_a_runtime_that_sends_frames_without_credit_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    leave = ScriptedView.leave

    def generous(self: ScriptedView, seat: Seat, now_s: float) -> Any:
        seat.credits += 1
        return leave(self, seat, now_s)

    monkeypatch.setattr(ScriptedView, "leave", generous)
    with ScriptedRuntime(fps=80.0, chunk_frames=4) as scripted, pytest.raises(ConformanceError, match="5 frames were"):
        check_runtime(scripted.endpoint)


def test_a_runtime_that_applies_words_twice_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    take = ScriptedView.take

    def forgetful(self: ScriptedView, seat: Seat, message: protocol.ClientMessage, now_s: float) -> Any:
        if isinstance(message, protocol.Event):
            seat.receipts.pop(message.id, None)
        return take(self, seat, message, now_s)

    monkeypatch.setattr(ScriptedView, "take", forgetful)
    with ScriptedRuntime(fps=80.0, chunk_frames=4) as scripted, pytest.raises(ConformanceError, match="at most once"):
        check_runtime(scripted.endpoint)


def test_a_silent_runtime_is_found_out_within_the_patience_given() -> None:
    with ScriptedRuntime() as scripted:
        scripted.hang()
        with pytest.raises(ConformanceError, match="nothing"):
            check_runtime(scripted.endpoint, patience_s=0.2)


def test_a_runtime_whose_messages_cannot_be_read_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ScriptedRuntime, "_answer", lambda self, route, _: self._socket.send_multipart([route, b"\xc1"])
    )
    with ScriptedRuntime() as scripted, pytest.raises(ConformanceError, match=r"hello_first\. But:.*cannot be read"):
        check_runtime(scripted.endpoint)


def test_a_runtime_whose_snapshot_is_none_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptedView, "snapshot", lambda _: b"none")
    monkeypatch.setattr("eddyline.conformance.CHECKS", (_check_snapshot,))
    with ScriptedRuntime() as scripted, pytest.raises(ConformanceError, match=r"A snapshot says what .* But:"):
        check_runtime(scripted.endpoint)


def test_messages_of_a_later_minor_version_break_no_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    send, later = ScriptedRuntime._send, msgpack.packb({"kind": "from_the_future"})

    def send_more(self: ScriptedRuntime, route: bytes, message: protocol.RuntimeMessage, payload: Any = None) -> None:
        self._socket.send_multipart([route, later])
        send(self, route, message, payload)

    monkeypatch.setattr(ScriptedRuntime, "_send", send_more)
    monkeypatch.setattr("eddyline.conformance.CHECKS", (_check_ping,))
    with ScriptedRuntime() as scripted:
        assert len(check_runtime(scripted.endpoint)) == 1


def test_only_a_runtime_on_this_machine_is_checked() -> None:
    with pytest.raises(KeysNeededError):
        check_runtime("tcp://10.0.0.1:7860")


def test_wait_until_gives_up_with_a_typed_error() -> None:
    with pytest.raises(ConformanceError, match=r"0\.05 s"):
        wait_until(lambda: False, 0.05)


def test_a_runtime_that_refuses_words_for_frames_not_made_yet_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    take = ScriptedView.take

    def strict(self: ScriptedView, seat: Seat, message: protocol.ClientMessage, now_s: float) -> Any:
        entering = (self._chunk + self._num_chunks - 1) * self._chunk_frames
        if isinstance(message, protocol.Event) and isinstance(message.at, int) and message.at < entering:
            self.reject(seat, message, "its chunk is being made")
        return take(self, seat, message, now_s)

    monkeypatch.setattr(ScriptedView, "take", strict)
    with (
        ScriptedRuntime(fps=80.0, chunk_frames=4) as scripted,
        pytest.raises(ConformanceError, match="applied at once"),
    ):
        check_runtime(scripted.endpoint)


def test_a_runtime_that_goes_on_sending_to_the_older_connection_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    welcome = ScriptedRuntime._welcome

    def stubborn(self: ScriptedRuntime, route: bytes, hello: protocol.Hello) -> None:
        before = self._clients.get(hello.token)
        welcome(self, route, hello)
        if before is not None:
            self._clients[hello.token].route = before.route
            self._tokens[before.route] = hello.token

    monkeypatch.setattr(ScriptedRuntime, "_welcome", stubborn)
    monkeypatch.setattr("eddyline.conformance.CHECKS", (_check_newest,))
    with ScriptedRuntime(fps=80.0, chunk_frames=4) as scripted, pytest.raises(ConformanceError, match="no longer"):
        check_runtime(scripted.endpoint, patience_s=2.0)


def test_a_runtime_that_hands_views_to_whoever_has_the_connection_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    welcome = ScriptedRuntime._welcome

    def generous(self: ScriptedRuntime, route: bytes, hello: protocol.Hello) -> None:
        welcome(self, route, msgspec.structs.replace(hello, token=self._tokens.get(route, hello.token)))

    monkeypatch.setattr(ScriptedRuntime, "_welcome", generous)
    monkeypatch.setattr("eddyline.conformance.CHECKS", (_check_other_token,))
    with ScriptedRuntime(fps=80.0, chunk_frames=4) as scripted, pytest.raises(ConformanceError, match="another token"):
        check_runtime(scripted.endpoint, patience_s=2.0)


def test_a_runtime_that_takes_who_cannot_be_read_for_silent_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ScriptedRuntime._answer

    def deaf(self: ScriptedRuntime, route: bytes, parts: list[bytes]) -> None:
        heard = {token: client.heard_s for token, client in self._clients.items()}
        answer(self, route, parts)
        for token, client in self._clients.items():
            if parts[0].startswith(b"\xc1"):
                client.heard_s = heard[token]

    monkeypatch.setattr(ScriptedRuntime, "_answer", deaf)
    monkeypatch.setattr("eddyline.conformance.CHECKS", (_check_signs_of_life,))
    with (
        ScriptedRuntime(fps=80.0, chunk_frames=4, silence_s=0.5) as scripted,
        pytest.raises(ConformanceError, match="is not silent"),
    ):
        check_runtime(scripted.endpoint, patience_s=2.0)


def test_a_runtime_that_lets_whoever_watches_steer_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptedView, "refusal", lambda self, seat, message: None)
    monkeypatch.setattr("eddyline.conformance.CHECKS", (_check_watch,))
    with ScriptedRuntime(fps=80.0, chunk_frames=4) as scripted, pytest.raises(ConformanceError, match="is watched by"):
        check_runtime(scripted.endpoint, patience_s=2.0)
