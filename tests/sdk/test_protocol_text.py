"""PROTOCOL.md names every message, field, error and limit that the structs have, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from eddyline import protocol

TEXT = (Path(protocol.__file__).parent.parent / "PROTOCOL.md").read_text()
STRUCTS = (*protocol.ClientMessage.__args__, *protocol.RuntimeMessage.__args__)


def tables() -> dict[str, set[str]]:
    """The fields of each kind, as the tables of the text have them."""
    fields: dict[str, set[str]] = {}
    kinds: list[str] = []
    for line in TEXT.split("## 6. Messages")[1].split("\n## ")[0].splitlines():
        if not line.startswith("| ") or line.startswith(("| kind", "| ---")):
            continue
        kind, field = (cell.strip() for cell in line.split("|")[1:3])
        kinds = re.findall(r"`(\w+)`", kind) or kinds
        for name in kinds:
            fields.setdefault(name, set()).update(filter(None, re.split(r",\s*", field)))
    return fields


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: str(struct.__struct_config__.tag))
def test_the_text_lists_exactly_the_fields_of_the_struct(struct: type[msgspec.Struct]) -> None:
    assert tables()[str(struct.__struct_config__.tag)] == set(struct.__struct_fields__)


def test_the_text_lists_no_message_that_is_not_there() -> None:
    assert set(tables()) == protocol.CLIENT_KINDS | protocol.RUNTIME_KINDS


def test_the_text_lists_exactly_the_error_codes() -> None:
    section = TEXT.split("## 11. Errors")[1].split("\n## ")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == protocol.ERROR_CODES


def test_the_text_is_of_this_version_and_names_the_limits() -> None:
    assert f"| Version | {protocol.VERSION[0]}.{protocol.VERSION[1]} |" in TEXT
    limits = (
        protocol.MAX_TEXT_BYTES,
        protocol.MAX_CLIENT_HEADER_BYTES,
        protocol.MAX_HEADER_BYTES,
        protocol.MAX_PAYLOAD_BYTES,
        protocol.MAX_SNAPSHOT_HEADER_BYTES,
        protocol.MAX_CREDITS,
        protocol.MAX_PHRASES,
    )
    assert not [limit for limit in limits if str(limit) not in TEXT]
