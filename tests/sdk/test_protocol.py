"""Encoding and decoding: what goes in comes out, and nothing bad comes through."""

from __future__ import annotations

import math
from typing import Any

import msgpack  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eddyline import protocol
from eddyline.errors import BadMessageError, ProtocolError, TooLargeError, UnknownKindError, VersionError

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1000)
views = st.integers(1, 2**31 - 1)
ids = st.integers(1, protocol.MAX_INDEX)
ats = st.one_of(st.sampled_from(["now", "next"]), st.integers(0, protocol.MAX_INDEX))
seconds = st.floats(0.0, 1e12)
key_names = st.from_regex(r"\A[A-Za-z][A-Za-z0-9_]{0,31}\Z")

client_messages = st.one_of(
    st.builds(protocol.OpenView, view=views, prompt=texts, seed=st.integers(0, 2**63 - 1)),
    st.builds(protocol.Prompt, id=ids, view=views, text=texts, at=ats),
    st.builds(protocol.Event, id=ids, view=views, text=texts, hold_s=st.floats(0.001, 3600.0), at=ats),
    st.builds(protocol.Cut, id=ids, view=views, text=texts, seed=st.none() | st.integers(0, 2**63 - 1)),
    st.builds(protocol.Act, view=views, keys=st.dictionaries(key_names, st.floats(-1.0, 1.0), max_size=64)),
    st.builds(protocol.Credit, view=views, frames=st.integers(1, protocol.MAX_CREDITS)),
    st.builds(protocol.Ping, sent_s=st.floats(-1e12, 1e12)),
)
runtime_messages = st.one_of(
    st.builds(
        protocol.FrameHeader,
        view=views,
        epoch=ids,
        index=ids,
        chunk=ids,
        height=st.integers(1, 8192),
        width=st.integers(1, 8192),
        due_s=seconds,
        made_s=seconds,
        events=st.lists(texts, max_size=16).map(tuple),
    ),
    st.builds(
        protocol.ReceiptUpdate,
        id=ids,
        view=views,
        state=st.sampled_from(["accepted", "applied", "rejected", "superseded", "cancelled"]),
        epoch=st.none() | ids,
        first_full_frame=st.none() | ids,
        understood=st.none() | st.floats(0.0, 1.0),
    ),
    st.builds(
        protocol.StatusUpdate,
        view=views,
        state=st.sampled_from(["live", "paused", "parked"]),
        understood=st.none() | st.floats(0.0, 1.0),
        nearest=st.text(max_size=128),
    ),
    st.builds(protocol.Pong, sent_s=st.floats(-1e12, 1e12), runtime_s=seconds, tick_age_s=seconds),
)
EVENT: dict[str, Any] = {"kind": "event", "id": 1, "view": 1, "text": "rain"}
WELCOME: dict[str, Any] = {
    "kind": "welcome", "version": [1, 0], "runtime": "r", "instance": "i", "model": "m",
    "fps": 16.0, "height": 8, "width": 8,
}  # fmt: skip


@given(client_messages)
def test_a_client_message_decodes_to_what_was_encoded(message: protocol.ClientMessage) -> None:
    assert protocol.decode_client_message(protocol.encode(message)) == message


@given(runtime_messages)
@settings(max_examples=60)
def test_a_runtime_message_decodes_to_what_was_encoded(message: protocol.RuntimeMessage) -> None:
    assert protocol.decode_runtime_message(protocol.encode(message)) == message


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_any_bytes_are_decoded_or_refused_with_a_typed_error(data: bytes) -> None:
    for decode in (protocol.decode_client_message, protocol.decode_runtime_message):
        with pytest.raises((ProtocolError, VersionError)):
            decode(data)


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text() | st.binary(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))  # fmt: skip
def test_any_messagepack_in_a_field_is_accepted_or_refused_with_a_typed_error(value: Any) -> None:
    for field in ("id", "view", "text", "hold_s", "at", "kind"):
        try:
            message = protocol.decode_client_message(msgpack.packb({**EVENT, field: value}))
        except ProtocolError:
            continue
        assert msgspec.to_builtins(message)[field] == value


@pytest.mark.parametrize(
    "fields",
    [
        {**EVENT, "hold_s": math.nan},
        {**EVENT, "hold_s": math.inf},
        {**EVENT, "hold_s": 0.0},
        {**EVENT, "text": ""},
        {**EVENT, "text": "é" * 2049},
        {**EVENT, "at": -1},
        {**EVENT, "at": True},
        {**EVENT, "at": "later"},
        {**EVENT, "id": 0},
        {**EVENT, "view": 2**31},
        {"kind": "event", "view": 1, "text": "no id"},
        {"kind": "act", "view": 1, "keys": {"KeyA": math.nan}},
        {"kind": "act", "view": 1, "keys": {"KeyA": 1.5}},
        {"kind": "act", "view": 1, "keys": {"": 1.0}},
        {"kind": "act", "view": 1, "keys": {f"Key{i}": 1.0 for i in range(65)}},
        {"kind": "credit", "view": 1, "frames": 0},
        {"kind": "ping", "sent_s": math.nan},
        {"kind": 7},
        {},
        [],
        None,
        {"kind": "hello", "version": "1.0", "token": "x" * 20},
        {"kind": "hello", "version": [1, 0], "token": "short"},
    ],
)
def test_a_field_out_of_bounds_is_a_bad_message(fields: object) -> None:
    with pytest.raises(BadMessageError):
        protocol.decode_client_message(msgpack.packb(fields))


def test_no_float_of_any_message_takes_nan() -> None:
    unbounded = []
    for struct in (*protocol.ClientMessage.__args__, *protocol.RuntimeMessage.__args__):
        info = msgspec.inspect.type_info(struct)
        assert isinstance(info, msgspec.inspect.StructType)
        pending = [(f"{struct.__name__}.{field.name}", field.type) for field in info.fields]
        while pending:
            name, kind = pending.pop()
            if isinstance(kind, msgspec.inspect.FloatType) and (
                (kind.ge is None and kind.gt is None) or (kind.le is None and kind.lt is None)
            ):
                unbounded.append(name)
            for part in ("types", "item_types"):
                pending += [(name, inner) for inner in getattr(kind, part, ())]
            for part in ("item_type", "key_type", "value_type"):
                if hasattr(kind, part):
                    pending.append((name, getattr(kind, part)))
            if isinstance(kind, msgspec.inspect.StructType):
                pending += [(f"{name}.{field.name}", field.type) for field in kind.fields]
    assert not unbounded


def test_an_unknown_kind_is_told_apart_from_a_bad_message() -> None:
    with pytest.raises(UnknownKindError, match="from_the_future"):
        protocol.decode_client_message(msgpack.packb({"kind": "from_the_future"}))
    with pytest.raises(UnknownKindError):
        protocol.decode_client_message(msgpack.packb(WELCOME))


def test_unknown_fields_are_ignored() -> None:
    message = protocol.decode_client_message(msgpack.packb({**EVENT, "loudness": 11}))
    assert message == protocol.Event(id=1, view=1, text="rain")


def test_a_header_over_the_limit_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(TooLargeError, match=str(protocol.MAX_CLIENT_HEADER_BYTES)):
        protocol.decode_client_message(b"\x81" * (protocol.MAX_CLIENT_HEADER_BYTES + 1))


def test_a_message_over_the_limit_is_refused_before_it_is_sent() -> None:
    with pytest.raises(TooLargeError, match=str(protocol.MAX_CLIENT_HEADER_BYTES)):
        protocol.encode(protocol.Act(view=1, keys={f"Key{number}": 1.0 for number in range(10_000)}))


@pytest.mark.parametrize(
    "bomb", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\x91" * 9000, b"\xdb\xff\xff\xff\xff"]
)
def test_a_header_that_promises_more_than_it_holds_is_a_bad_message(bomb: bytes) -> None:
    with pytest.raises(BadMessageError):
        protocol.decode_client_message(bomb)


def test_another_major_version_is_refused_and_both_are_named_whatever_else_hello_says() -> None:
    with pytest.raises(VersionError, match=r"2\.5.*1\.0"):
        protocol.decode_client_message(msgpack.packb({"kind": "hello", "version": [2, 5], "token": 7}))
    with pytest.raises(VersionError, match=r"3\.0.*1\.0"):
        protocol.decode_runtime_message(msgpack.packb({"kind": "welcome", "version": [3, 0]}))


def test_another_minor_version_is_welcome() -> None:
    message = protocol.decode_runtime_message(msgpack.packb({**WELCOME, "version": [1, 9]}))
    assert isinstance(message, protocol.Welcome)
    assert message.version == (1, 9)


def test_every_decoding_error_has_a_code_of_the_wire() -> None:
    for error in (BadMessageError("x"), UnknownKindError("x"), TooLargeError("x"), VersionError("x")):
        assert protocol.error_of(error).code in protocol.ERROR_CODES
