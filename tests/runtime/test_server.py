"""The server on a real socket: greetings, credits, bad input, clients that vanish. Other clients never notice."""

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgpack
import pytest
import torch
from safetensors.torch import load
from tests.runtime.forged import metadata_of, of_numbers, rewritten, with_words
from tests.runtime.serving import DEADLINE_S, QUICK, TOKEN, RawClient, Serving, event, serving

from eddyline import protocol
from eddyline.errors import BindError, ConfigError, EndpointError, KeysNeededError
from eddyline.testing import wait_until
from eddyline_runtime.address import check_endpoint, check_free
from eddyline_runtime.config import EngineConfig
from eddyline_runtime.engine import Engine
from eddyline_runtime.runner import Runner
from eddyline_runtime.server import Server
from eddyline_runtime.weights import World


@pytest.fixture
def served(tiny: World) -> Iterator[Serving]:
    with serving(tiny) as running:
        yield running


@pytest.fixture
def client(served: Serving) -> RawClient:
    client = served.client()
    client.hello()
    return client


def test_a_greeting_says_what_the_world_is(served, tiny):
    welcome = served.client().hello()
    assert (welcome.model, welcome.fps, welcome.height, welcome.width) == ("tiny", 16.0, 32, 48)
    assert {profile.name: profile.chunk_frames for profile in welcome.profiles} == {"smooth": 8, "responsive": 4}
    assert welcome.phrases == tiny.card.phrases
    assert welcome.views == ()


def test_frames_come_in_order_and_words_are_answered_with_both_dates(client):
    assert client.open().chunk_frames == 8
    client.frame(7)
    client.send(event(1))
    client.receipt(1, "accepted")
    applied = client.receipt(1, "applied")
    assert applied.first_full_frame == applied.first_influenced_frame + 24
    assert 0 <= applied.understood <= 1
    status = client.wait(protocol.StatusUpdate, lambda status: status.understood is not None)
    assert status.nearest
    client.frame(applied.first_full_frame)
    frames = [message for message in client.heard if isinstance(message, protocol.FrameHeader)]
    assert [frame.index for frame in frames] == list(range(len(frames)))
    for frame in frames:
        assert frame.events == (("it rains",) if frame.index >= applied.first_influenced_frame else ())


def test_no_more_frames_are_sent_than_were_granted(client):
    client.open(credits=3)
    client.frame(2)
    client.wait(protocol.StatusUpdate, lambda status: status.state == "parked")
    assert sum(isinstance(message, protocol.FrameHeader) for message in client.heard) == 3


def test_a_view_nobody_reads_parks_loses_only_frames_and_goes_on_when_it_is_read(client):
    client.open(credits=3)
    client.frame(2)
    client.wait(protocol.StatusUpdate, lambda status: status.state == "parked")
    client.send(event(1))
    client.receipt(1, "accepted")
    client.send(protocol.Credit(view=1, frames=200))
    client.receipt(1, "applied")
    client.wait(protocol.StatusUpdate, lambda status: status.state == "live")
    client.frame(40)


def test_the_oldest_frames_go_when_a_client_reads_too_slowly_and_are_counted(tiny):
    with serving(tiny, replace(QUICK, park_s=600.0)) as running:
        client = running.client()
        client.hello()
        client.open(credits=1)
        client.wait(protocol.StatusUpdate, lambda status: status.dropped >= 16)
        client.send(protocol.Credit(view=1, frames=100))
        later = client.wait(protocol.FrameHeader, lambda frame: frame.index > 0)
        assert later.dropped == later.index - 1 >= 16


def test_pause_stops_the_playhead_and_resume_lets_it_go_on_with_the_next_frame(client):
    client.open()
    client.frame(7)
    client.send(protocol.Pause(view=1))
    client.wait(protocol.StatusUpdate, lambda status: status.state == "paused")
    last = max(message.index for message in client.heard if isinstance(message, protocol.FrameHeader))
    client.send(protocol.Resume(view=1))
    assert client.wait(protocol.FrameHeader).index == last + 1


BAD_MESSAGES = {
    "no MessagePack": (b"\xc1 nonsense", "bad_message"),
    "half a message": (protocol.encode(protocol.Ping(sent_s=1.0))[:-3], "bad_message"),
    "an unknown kind": (msgpack.packb({"kind": "dance"}), "unknown_kind"),
    "no kind": (msgpack.packb([1, 2, 3]), "bad_message"),
    "NaN": (msgpack.packb({"kind": "act", "view": 1, "keys": {"KeyA": float("nan")}}), "bad_message"),
    "an infinite hold": (
        msgpack.packb({"kind": "event", "id": 5, "view": 1, "text": "a", "hold_s": float("inf")}),
        "bad_message",
    ),
    "empty text": (msgpack.packb({"kind": "event", "id": 5, "view": 1, "text": ""}), "bad_message"),
    "20 kB of text": (msgpack.packb({"kind": "event", "id": 5, "view": 1, "text": "a" * 20_000}), "too_large"),
    "an unknown view": (protocol.encode(protocol.Act(view=9, keys={})), "unknown_view"),
    "a word never said": (protocol.encode(protocol.Cancel(id=99, view=1)), "unknown_word"),
    "an unknown profile": (protocol.encode(protocol.OpenView(view=2, prompt="a", profile="fast")), "unknown_profile"),
    "a blank prompt": (protocol.encode(protocol.OpenView(view=2, prompt="  ")), "bad_message"),
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_a_bad_message_costs_its_sender_one_error_and_others_nothing(served, client, name):
    data, code = BAD_MESSAGES[name]
    client.open()
    client.frame(0)
    bad = served.client("another-client-token")
    bad.hello()
    bad.open()
    bad.send(data, protocol.Ping(sent_s=42.0))
    assert bad.error(code).message
    bad.wait(protocol.Pong, lambda pong: pong.sent_s == 42.0)
    assert sum(isinstance(message, protocol.ErrorMessage) for message in bad.heard) == 1
    frame = client.frame(8)
    assert frame.dropped == 0


@pytest.mark.parametrize(
    "forge",
    [
        lambda data: of_numbers(metadata_of(data)["moment"]),
        lambda data: of_numbers("[" * 100_000),
        lambda data: rewritten(data, latents=load(data)["latents"].to(torch.float8_e4m3fn)),
        lambda data: rewritten(data, **{name: load(data)[name].double() for name in ("decoded", "bookmarked_decoded")}),
        lambda data: with_words(data, slots=[{"prompt": "a" * 5000, "events": []}] * 8),
    ],
    ids=["numbers for tensors", "a deep moment", "eight bits", "double precision", "a long text"],
)
def test_a_forged_snapshot_costs_its_sender_one_error_and_the_runtime_goes_on(client, forge):
    client.open()
    client.frame(0)
    client.send(protocol.SaveView(id=1, view=1))
    client.wait(protocol.SnapshotHeader)
    client.send_parts(protocol.encode(protocol.RestoreView(view=2, credits=9)), forge(client.binary))
    assert client.error("bad_snapshot").view == 2
    client.send(protocol.Ping(sent_s=42.0))
    client.wait(protocol.Pong, lambda pong: pong.sent_s == 42.0)
    client.frame(8)


def test_a_view_whose_words_are_too_long_for_a_snapshot_is_saved_when_some_are_over(client):
    client.open()
    client.frame(0)
    for word in range(1, 65):
        client.send(protocol.Prompt(id=word, view=1, text='"' * 4096, at=10**6))
    client.receipt(64, "accepted")
    client.send(protocol.SaveView(id=101, view=1))
    assert "ask again when some are over" in client.error("not_yet").message
    client.send(*(protocol.Cancel(id=word, view=1) for word in range(1, 33)), protocol.SaveView(id=102, view=1))
    assert client.wait(protocol.SnapshotHeader).id == 102


def test_a_message_that_cannot_be_read_is_a_sign_of_life(served, client):
    (known,) = served.server._desk.clients.values()
    nonsense, heard = b"\xc1 nonsense", []
    for _ in range(2):
        client.send(nonsense)
        while not isinstance(client.next(DEADLINE_S), protocol.ErrorMessage):
            pass
        heard.append(known.heard_s)
    assert heard[0] < heard[1]


def test_a_message_of_two_parts_is_refused(client):
    client.send_parts(protocol.encode(protocol.Ping(sent_s=0.0)), b"more")
    assert "2 parts" in client.error("too_large").message


def test_ten_megabytes_of_text_cost_only_their_sender_the_connection(served, client):
    client.open()
    client.frame(0)
    bad = served.client("another-client-token")
    bad.hello()
    bad.send(msgpack.packb({"kind": "event", "id": 5, "view": 1, "text": "a" * 10_000_000}))
    client.frame(32)
    served.client("one-more-client-token").hello()


@pytest.mark.parametrize("at", [10**6, protocol.MAX_INDEX])
def test_words_for_a_frame_beyond_every_horizon_wait_and_can_be_taken_back(client, at):
    client.open()
    client.frame(0)
    client.send(event(1, at=at))
    client.receipt(1, "accepted")
    client.frame(24)
    client.send(protocol.Cancel(id=1, view=1))
    client.receipt(1, "cancelled")


def test_words_for_a_frame_that_no_index_reaches_are_refused(client):
    client.open()
    client.send(msgpack.packb({"kind": "event", "id": 1, "view": 1, "text": "a", "at": protocol.MAX_INDEX + 1}))
    client.error("bad_message")


def test_a_fork_of_a_view_that_was_closed_is_refused(client):
    client.open()
    client.send(protocol.CloseView(view=1), protocol.ForkView(view=2, source=1))
    error = client.error("unknown_view")
    assert (error.view, "not open" in error.message) == (2, True)


@pytest.mark.parametrize("reads", [True, False], ids=["and reads", "and reads nothing"])
def test_another_view_keeps_all_its_frames_while_a_client_floods_the_runtime_with_words(served, client, reads):
    """Far and near words of the flood, each with a text of its own; only what the next ticks need is encoded."""
    bad = served.client("another-client-token")
    bad.hello()
    bad.open(credits=protocol.MAX_CREDITS)
    client.open()
    client.frame(0)
    ids = itertools.count(1)
    for index in range(8, 72, 8):
        for word in itertools.islice(ids, 50):
            bad.send(protocol.Prompt(id=word, view=1, text=f"far prompt {word}", at=10**6 + word))
            bad.send(protocol.Act(view=1, keys={"ArrowLeft": 1.0}))
        for word in itertools.islice(ids, 50):
            bad.send(event(word, f"thing {word} happens", hold_s=0.01))
        client.frame(index)
        while reads and bad.next(0.0) is not None:
            pass
    frames = [message for message in client.heard if isinstance(message, protocol.FrameHeader)]
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert frames[-1].dropped == 0
    assert not any(f"far prompt {word}" in served.engine._dreamer.texts for word in range(1, 1000))


def test_other_scripts_are_words_like_any(client):
    client.open()
    for word, text in enumerate(["снег идёт", "下雪了", "يهطل الثلج", "❄️⛄"], start=1):
        client.send(event(word, text))
        client.receipt(word, "applied")


def test_blank_words_and_past_frames_are_rejected_with_the_cure(client):
    client.open()
    client.frame(0)
    client.send(event(1, "   "), event(2, at=0))
    assert "empty" in client.receipt(1, "rejected").reason
    assert 'at="now"' in client.receipt(2, "rejected").reason


def test_words_before_a_greeting_are_refused(served):
    client = served.client()
    client.send(protocol.Ping(sent_s=0.0))
    assert "HELLO" in client.error("hello_first").message


def test_another_major_version_is_refused_with_both_versions_named(served):
    client = served.client()
    client.send(msgpack.packb({"kind": "hello", "version": [7, 3], "token": TOKEN}))
    error = client.error("version_mismatch")
    assert "7.3" in error.message
    assert "1.0" in error.message


def test_a_client_without_the_codec_or_with_too_small_a_screen_is_refused(served):
    client = served.client()
    client.send(protocol.Hello(version=protocol.VERSION, token=TOKEN, codecs=("jpeg",)))
    assert "raw" in client.error("no_codec").message
    client.send(protocol.Hello(version=protocol.VERSION, token=TOKEN, max_width=16))
    assert "48x32" in client.error("no_codec").message


def test_words_sent_twice_are_applied_once_and_answered_again(client):
    client.open()
    client.frame(0)
    client.send(event(1), event(1), event(1))
    applied = client.receipt(1, "applied")
    client.send(event(1))
    assert client.receipt(1, "applied") == applied
    header = client.frame(applied.first_full_frame)
    assert header.events == ("it rains",)


def test_words_can_be_taken_back_until_they_are_applied(client):
    client.open()
    client.frame(0)
    client.send(event(1, at=10_000), protocol.Cancel(id=1, view=1))
    client.receipt(1, "cancelled")
    client.send(event(2))
    applied = client.receipt(2, "applied")
    client.send(protocol.Cancel(id=2, view=1))
    assert client.receipt(2, "applied") == applied


def test_more_views_than_allowed_are_refused_and_closing_makes_room(tiny):
    with serving(tiny, max_views=1) as running:
        client = running.client()
        client.hello()
        client.open(1)
        client.send(protocol.OpenView(view=2, prompt="a pig"))
        assert "close one" in client.error("too_many_views").message
        client.send(protocol.CloseView(view=1))
        client.wait(protocol.ViewClosed)
        client.open(2)
        client.frame(0)


def test_a_view_that_would_make_the_others_late_is_refused_with_what_would_fit(tiny, monkeypatch):
    costs = {tiny.card.profiles["smooth"]: {1: 0.2, 2: 0.37}}
    monkeypatch.setattr(Runner, "batch_costs", property(lambda self: costs))
    with serving(tiny, max_load=0.9) as running:
        client = running.client()
        client.hello()
        client.open(1, profile="smooth")
        client.open(2, profile="smooth")
        client.send(protocol.OpenView(view=3, prompt="a pig", profile="smooth"))
        error = client.error("no_capacity")
        assert error.view == 3
        assert "takes 0.200 s to make, lasting 0.500 s, 2 such views fit" in error.message
        assert "take 74% of the time; open it with stride=4 (4 frames a second)" in error.message
        client.send(protocol.ForkView(view=4, source=1))
        forked = client.error("no_capacity")
        assert forked.view == 4
        assert forked.message.endswith("time; close one first"), "nobody can give a fork another stride"
        client.open(5, profile="smooth", stride=4)
        client.open(6, profile="responsive")
        client.send(protocol.CloseView(view=1))
        client.wait(protocol.ViewClosed)
        client.open(7, profile="smooth", stride=2)


def test_a_snapshot_of_a_view_that_would_not_fit_is_not_gone_on_from(tiny, monkeypatch):
    costs: dict[Any, dict[int, float]] = {}
    monkeypatch.setattr(Runner, "batch_costs", property(lambda self: costs))
    with serving(tiny, max_load=0.9) as running:
        client = running.client()
        client.hello()
        client.open(1)
        client.frame(0)
        client.send(protocol.SaveView(id=1, view=1))
        client.wait(protocol.SnapshotHeader)
        data = client.binary
        costs |= {profile: {1: 5.0} for profile in tiny.card.profiles.values()}
        client.send_parts(protocol.encode(protocol.RestoreView(view=2)), data)
        assert "close one first" in client.error("no_capacity").message
        client.send(protocol.CloseView(view=1))
        client.wait(protocol.ViewClosed)
        client.send_parts(protocol.encode(protocol.RestoreView(view=3, credits=9)), data)
        client.wait(protocol.ViewOpened, lambda opened: opened.view == 3)


def test_opening_twice_changes_nothing_and_closing_an_unknown_view_is_answered(client):
    opened = client.open()
    client.frame(7)
    assert client.open() == opened
    assert client.wait(protocol.FrameHeader).epoch == 0
    client.send(protocol.CloseView(view=77))
    assert client.wait(protocol.ViewClosed).view == 77


def test_a_client_that_vanishes_finds_its_view_and_its_receipts_again(served, client):
    client.open()
    client.frame(7)
    client.send(event(1, at=10_000))
    client.receipt(1, "accepted")
    client.send(event(2))
    client.close()
    again = served.client()
    assert again.hello().views == (1,)
    again.send(event(1, at=10_000), event(2))
    again.receipt(1, "accepted")
    again.send(protocol.Credit(view=1, frames=100))
    applied = again.receipt(2, "applied")
    frame = again.frame(applied.first_influenced_frame)
    assert frame.epoch == 0
    assert (
        sum(receipt.state == "applied" for receipt in again.heard if isinstance(receipt, protocol.ReceiptUpdate)) == 1
    )


def test_the_views_of_a_vanished_client_are_closed_after_the_grace_period(tiny):
    with serving(tiny, replace(QUICK, resume_s=0.3), max_views=1) as running:
        gone = running.client()
        gone.hello()
        gone.open()
        gone.close()
        other = running.client("another-client-token")
        other.hello()
        deadline_s = time.monotonic() + DEADLINE_S
        answer = None
        while not isinstance(answer, protocol.ViewOpened):
            assert time.monotonic() < deadline_s
            other.send(protocol.OpenView(view=1, prompt="a pig", credits=50))
            answer = other.wait(protocol.ErrorMessage | protocol.ViewOpened)
        other.frame(0)


def test_a_second_connection_of_one_token_takes_the_place_of_the_first(served, client):
    client.open()
    second = served.client()
    assert second.hello().views == (1,)
    client.error("replaced")
    second.send(protocol.Credit(view=1, frames=50))
    second.frame(0)


def test_a_client_that_came_back_often_is_known_by_one_connection(served):
    for _ in range(4):
        served.client().hello()
    assert len(served.server._by_routing) == 1


def test_a_connection_that_greets_with_another_token_speaks_for_that_client_alone(served, client):
    client.open()
    client.frame(0)
    client.token = "another-client-token"
    assert client.hello().views == ()
    client.send(protocol.Act(view=1, keys={}))
    client.error("unknown_view")
    first = served.client()
    assert first.hello().views == (1,)
    first.send(protocol.Credit(view=1, frames=9))
    first.wait(protocol.FrameHeader)
    client.send(protocol.Ping(sent_s=42.0))
    client.wait(protocol.Pong, lambda pong: pong.sent_s == 42.0)
    assert [error.code for error in client.heard if isinstance(error, protocol.ErrorMessage)] == ["unknown_view"]


def test_a_second_connection_that_is_refused_replaces_nobody(served, client):
    second = served.client()
    second.send(protocol.Hello(version=protocol.VERSION, token=TOKEN, codecs=("jpeg",)))
    second.error("no_codec")
    client.open()
    client.frame(8)
    assert not any(isinstance(message, protocol.ErrorMessage) for message in client.heard)


def test_a_client_too_many_is_refused_with_the_limit(tiny):
    with serving(tiny, replace(QUICK, max_clients=1)) as running:
        running.client().hello()
        late = running.client("another-client-token")
        late.send(protocol.Hello(version=protocol.VERSION, token=late.token))
        assert "the limit is 1" in late.error("too_many_clients").message


def test_a_runtime_that_clients_could_not_read_is_not_started(tiny):
    engine = Engine(tiny, EngineConfig(max_views=10**6), clock=time.monotonic)
    with pytest.raises(ConfigError, match="max_views"):
        Server(engine, QUICK)


def test_leaving_closes_all_views(served, client):
    client.open()
    client.send(protocol.Bye(), protocol.Ping(sent_s=0.0))
    client.error("hello_first")
    assert served.client().hello().views == ()


def test_a_goodbye_counts_though_its_connection_is_seen_to_be_gone_before_it_is_read(served, client, monkeypatch):
    client.open()
    client.frame(0)
    (known,) = served.server._desk.clients.values()
    with monkeypatch.context() as busy:
        busy.setattr(served.server, "_receive", lambda: None)
        client.send(protocol.Bye())
        client.close(linger_ms=round(1000 * DEADLINE_S))
        wait_until(lambda: known.routing is None, DEADLINE_S)
        late = served.client("another-client-token")
        late.send(protocol.Hello(version=protocol.VERSION, token=late.token))
    late.wait(protocol.Welcome)
    wait_until(lambda: list(served.server._desk.clients) == [late.token], DEADLINE_S)
    late.open(2)


def test_a_heartbeat_is_answered_while_a_tick_runs_and_says_for_how_long(served, client):
    client.open()
    client.frame(0)
    hang = threading.Event()
    forward = served.engine.world.model.forward
    served.engine.world.model.forward = lambda *args: (hang.wait(DEADLINE_S), forward(*args))[1]
    try:
        pong = client.wait(protocol.Pong, lambda pong: pong.tick_age_s > 0.2)
        assert pong.ticks >= 1
    finally:
        hang.set()
        del served.engine.world.model.forward
    client.frame(16)


def test_a_client_that_takes_no_answers_is_let_go(served, client, monkeypatch):
    monkeypatch.setattr(served.server, "_try_send", lambda *parts: False)
    monkeypatch.setattr(served.server, "_config", replace(QUICK, outbox=8))
    client.send(*(protocol.Ping(sent_s=float(number)) for number in range(9)))
    (known,) = served.server._desk.clients.values()
    wait_until(lambda: known.routing is None, DEADLINE_S)
    assert not known.outbox


def test_stopping_tells_every_client(served, client):
    served.server.stop()
    client.error("shutting_down")


def test_a_failing_engine_ends_the_server_and_tells_why_however_much_it_says(tiny):
    running = Serving(tiny, QUICK)
    client = running.client()
    client.hello()

    def fail(*args: Any) -> None:
        raise RuntimeError("the device is gone: " + "no answer, " * 1000)

    running.engine.world.model.forward = fail
    try:
        client.send(protocol.OpenView(view=1, prompt="a red fox"))
        assert "the device is gone" in client.error("shutting_down").message
    finally:
        del running.engine.world.model.forward
        running.stop()
    assert isinstance(running.failure, RuntimeError)


def test_a_taken_port_is_named_with_the_cure(served):
    with pytest.raises(BindError, match="choose another port"):
        check_free(served.endpoint)
    with pytest.raises(BindError, match="choose another port"):
        Server(served.engine, replace(QUICK, bind=served.endpoint)).bind()


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:7860", "tcp://localhost:0", "tcp://[::1]:7860", "tcp://127.8.8.8:1"]
)
def test_loopback_addresses_are_served(endpoint):
    assert check_endpoint(endpoint) == endpoint


@pytest.mark.parametrize(
    "endpoint", ["tcp://0.0.0.0:7860", "tcp://*:7860", "tcp://192.168.0.7:7860", "tcp://[::]:7860"]
)
def test_addresses_that_others_can_reach_need_keys(endpoint):
    with pytest.raises(KeysNeededError, match=r"127\.0\.0\.1"):
        check_endpoint(endpoint)


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:7860", "tcp://127.0.0.1", "http://127.0.0.1:1", "tcp://127.0.0.1:99999", ""]
)
def test_what_is_no_address_is_refused(endpoint):
    with pytest.raises(EndpointError, match=r"tcp://127\.0\.0\.1:7860"):
        check_endpoint(endpoint)


def test_while_a_snapshot_is_taken_another_of_the_view_has_to_wait(served, client, monkeypatch):
    client.open()
    client.frame(20)
    save_view, asked = served.engine.save_view, threading.Event()

    def save_when_asked_again(*arguments, **named):
        assert asked.wait(DEADLINE_S)
        return save_view(*arguments, **named)

    monkeypatch.setattr(served.engine, "save_view", save_when_asked_again)
    client.send(protocol.SaveView(id=1, view=1), protocol.SaveView(id=2, view=1))
    assert client.error("not_yet").id == 2
    asked.set()
    assert client.wait(protocol.SnapshotHeader).id == 1


def test_a_snapshot_saved_here_is_restored_by_another_runtime_and_goes_on_from_the_frames_unseen(served, client, tiny):
    client.open()
    client.frame(20)
    client.send(protocol.SaveView(id=1, view=1))
    client.wait(protocol.SnapshotHeader)
    data = client.binary
    with serving(tiny, QUICK) as elsewhere:
        other = elsewhere.client("another-token-0123456789")
        other.hello()
        other.send_parts(protocol.encode(protocol.RestoreView(view=9, credits=64)), data)
        opened = other.wait(protocol.ViewOpened)
        assert (opened.view, opened.profile) == (9, tiny.card.default_profile)
        assert other.frame(30).prompt == client.frame(40).prompt
        other.send_parts(protocol.encode(protocol.RestoreView(view=10)), data[:-1])
        assert other.error("bad_snapshot").view == 10
        other.send_parts(protocol.encode(protocol.RestoreView(view=11)))
        other.error("too_large")
