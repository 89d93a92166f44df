"""The page about the runtime names every module, in the order in which they may import each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def rows() -> dict[str, list[str]]:
    """The modules of the page's table from top to bottom, each with those that it is said to know."""
    page = (ROOT / "runtime" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `(\w+)(?:\.py|/)` \|.*\| ([^|]+) \|$", page, re.MULTILINE)
    return {name: re.findall(r"\w+", knows) for name, knows in found}


def layers() -> dict[str, int]:
    """Which layer each module is in, 0 on top, as the import contract has it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (contract,) = (contract for contract in contracts if contract.get("containers") == ["eddyline_runtime"])
    return {name: place for place, layer in enumerate(contract["layers"]) for name in re.findall(r"\w+", layer)}


def test_the_page_names_every_module_and_no_other() -> None:
    package = ROOT / "runtime" / "eddyline_runtime"
    files = {file.stem for file in package.glob("*.py")} - {"__init__"}
    assert set(rows()) == files | {file.parent.name for file in package.glob("*/__init__.py")}


def test_the_rows_stand_in_the_order_of_the_layers() -> None:
    places = [layers()[name] for name in rows()]
    assert places == sorted(places)


def test_what_a_row_knows_stands_below_it() -> None:
    table = rows()
    order = list(table)
    wrong = [(name, other) for name in order for other in table[name] if other in order[: order.index(name) + 1]]
    assert wrong == []
