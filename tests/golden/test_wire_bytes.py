"""The bytes of protocol 1.0 are frozen: `wire.json` holds one message of every kind, as fields and as MessagePack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import msgspec
import pytest

from eddyline import protocol

HERE = Path(__file__).parent
WIRE: dict[str, dict[str, Any]] = json.loads((HERE / "wire.json").read_text(encoding="utf-8"))
BEFORE: dict[str, dict[str, Any]] = json.loads((HERE / "wire_before.json").read_text(encoding="utf-8"))
"""Messages as they were before they had the fields that they have now."""


def decode(name: str, data: bytes) -> protocol.Message:
    client = WIRE[name]["fields"]["kind"] in protocol.CLIENT_KINDS
    return protocol.decode_client_message(data) if client else protocol.decode_runtime_message(data)


@pytest.mark.parametrize("name", WIRE)
def test_golden_bytes_decode_to_their_fields(name: str) -> None:
    message = decode(name, bytes.fromhex(WIRE[name]["bytes"]))
    assert json.loads(msgspec.json.encode(message)) == WIRE[name]["fields"]


@pytest.mark.parametrize("name", WIRE)
def test_messages_encode_to_the_golden_bytes(name: str) -> None:
    data = bytes.fromhex(WIRE[name]["bytes"])
    assert protocol.encode(decode(name, data)) == data  # type: ignore[arg-type]


@pytest.mark.parametrize("name", WIRE)
def test_golden_bytes_are_plain_messagepack_of_the_fields(name: str) -> None:
    assert msgpack.packb(WIRE[name]["fields"]) == bytes.fromhex(WIRE[name]["bytes"])


def test_every_kind_has_golden_bytes() -> None:
    assert {entry["fields"]["kind"] for entry in WIRE.values()} == protocol.CLIENT_KINDS | protocol.RUNTIME_KINDS


def test_golden_bytes_are_of_this_version() -> None:
    assert tuple(WIRE["hello"]["fields"]["version"]) == protocol.VERSION


@pytest.mark.parametrize("name", BEFORE)
def test_messages_of_before_still_decode_and_what_they_lack_is_empty(name: str) -> None:
    fields = BEFORE[name]["fields"]
    message = protocol.decode_runtime_message(bytes.fromhex(BEFORE[name]["bytes"]))
    now = json.loads(msgspec.json.encode(message))
    assert {**now, **fields} == now
    assert {now[added] for added in now.keys() - fields.keys()} <= {"", None}
    assert now.keys() != fields.keys()
