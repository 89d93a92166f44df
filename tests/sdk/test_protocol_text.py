"""PROTOCOL.md names every message, field, error and limit that the structs have, and no other."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from msgspec import inspect

from eddyline import protocol

TEXT = (Path(protocol.__file__).parent.parent / "PROTOCOL.md").read_text()
STRUCTS = (*protocol.ClientMessage.__args__, *protocol.RuntimeMessage.__args__)


@dataclass(frozen=True)
class Cell:
    """What the text says of one field."""

    type: str
    default: str


def tables() -> dict[str, dict[str, Cell]]:
    """The fields of each kind, as the tables of the text have them."""
    fields: dict[str, dict[str, Cell]] = {}
    kinds: list[str] = []
    for line in TEXT.split("## 6. Messages")[1].split("\n## ")[0].splitlines():
        if not line.startswith("| ") or line.startswith(("| kind", "| ---")):
            continue
        kind, field, types, default = (cell.strip() for cell in line.split("|")[1:5])
        kinds = re.findall(r"`(\w+)`", kind) or kinds
        names = [name for name in re.split(r",\s*", field) if name]
        # "id, view | id, view" is one type for each; "height, width | side" and "a_ms, b_ms | float, 0 to 1" are not
        each = types.split(", ") if "float" not in types and len(types.split(", ")) == len(names) else None
        for name in kinds:
            row = {of: Cell(each[place] if each else types, default) for place, of in enumerate(names)}
            fields.setdefault(name, {}).update(row)
    return fields


def named_types() -> dict[str, str]:
    """The bounds of each type that section 4 gives a name."""
    section = TEXT.split("## 4. Types")[1].split("\n## ")[0]
    found = dict(re.findall(r"^\| (\w+) \| .* \| ([^|]*) \|$", section, re.MULTILINE))
    return found | {"at": found["index"]}


def numbers(cell: str, named: dict[str, str]) -> set[tuple[str, Fraction]]:
    """The bounds that a cell states, those of the types that it names included; what is over a bound is marked."""
    plain = re.sub(r"`[^`]*`", "", cell)
    found = set()
    for over, base, exponent, less in re.findall(r"(over )?(-?\d+(?:\.\d+)?(?:e\d+)?)(?:\^(\d+))?( - 1)?", plain):
        found.add((over, Fraction(base) ** int(exponent or 1) - bool(less)))
    words = {word.removesuffix("s") if word.removesuffix("s") in named else word for word in re.findall(r"\w+", plain)}
    return found.union(*(numbers(named[word], {}) for word in words & set(named)))


def bounds(of: inspect.Type) -> set[tuple[str, Fraction]]:
    """The same of a field's type; what a map of named fields holds is not looked into."""
    found = {
        ("over " if name == "gt" else "", Fraction(bound))
        for name in ("ge", "gt", "le", "lt", "min_length", "max_length")
        if (bound := getattr(of, name, None)) is not None
    }
    inner = {"item_type", "key_type", "value_type"} & set(dir(of))
    parts = [*(getattr(of, name) for name in inner), *getattr(of, "types", ()), *getattr(of, "item_types", ())]
    literals = {("", Fraction(value)) for value in getattr(of, "values", ()) if not isinstance(value, str)}
    return found.union(literals, *(bounds(part) for part in parts))


def said_default(cell: str) -> object:
    """What a field is when it is left out, as the text says it; `msgspec.NODEFAULT` when it may not be."""
    if not cell:
        return msgspec.NODEFAULT
    value = None if cell == "nil" else json.loads(cell.strip("`"))
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: str(struct.__struct_config__.tag))
def test_the_text_lists_exactly_the_fields_of_the_struct(struct: type[msgspec.Struct]) -> None:
    assert set(tables()[str(struct.__struct_config__.tag)]) == set(struct.__struct_fields__)


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: str(struct.__struct_config__.tag))
def test_the_text_gives_each_field_the_bounds_and_the_default_of_the_struct(struct: type[msgspec.Struct]) -> None:
    said, named = tables()[str(struct.__struct_config__.tag)], named_types()
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        cell = said[field.name]
        assert numbers(cell.type, named) == bounds(field.type), field.name
        assert said_default(cell.default) == field.default, field.name


def test_the_text_lists_the_states_of_receipts_and_views() -> None:
    for kind, states in (("receipt", protocol.WordState), ("status", protocol.ViewState)):
        assert tuple(re.findall(r"`(\w+)`", tables()[kind]["state"].type)) == get_args(states)


def test_the_text_lists_no_message_that_is_not_there() -> None:
    assert set(tables()) == protocol.CLIENT_KINDS | protocol.RUNTIME_KINDS


def test_the_text_lists_exactly_the_error_codes() -> None:
    section = TEXT.split("## 11. Errors")[1].split("\n## ")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == protocol.ERROR_CODES


def test_the_text_is_of_this_version_and_names_the_limits() -> None:
    assert f"| Version | {protocol.VERSION[0]}.{protocol.VERSION[1]} |" in TEXT
    (lengths,) = re.findall(
        r"from a client MUST NOT be longer than (\d+) bytes; one from a runtime not longer than (\d+) bytes; a binary "
        r"part not\s+longer than (\d+) bytes",
        TEXT,
    )
    limits = (protocol.MAX_CLIENT_HEADER_BYTES, protocol.MAX_HEADER_BYTES, protocol.MAX_PAYLOAD_BYTES)
    assert tuple(map(int, lengths)) == limits
    most = protocol.MAX_CREDITS
    assert f"More than {most} frames of credit MAY be cut to {most}" in TEXT
    assert f"The header is at most {protocol.MAX_SNAPSHOT_HEADER_BYTES} bytes long" in TEXT
