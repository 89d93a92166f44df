"""What the wheel would contain, by the build tool's own list of files: whole packages, and the embedded world."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]
PRETRAINED = ROOT / "runtime" / "eddyline_runtime" / "pretrained"


@pytest.fixture(scope="module")
def contents() -> dict[str, Path]:
    """Path inside the wheel -> file in the checkout."""
    return {file.distribution_path: Path(file.path) for file in WheelBuilder(str(ROOT)).recurse_included_files()}


def test_the_wheel_contains_the_embedded_world_whole(contents: dict[str, Path]) -> None:
    lying = {file.relative_to(PRETRAINED).as_posix() for file in PRETRAINED.rglob("*") if file.is_file()}
    packed = {path.partition("/pretrained/")[2] for path in contents if "/pretrained/" in path}
    assert packed == lying
    assert "diorama/card.json" in packed


def test_the_wheel_contains_every_module_and_what_marks_them_as_typed(contents: dict[str, Path]) -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    for package in packages["targets"]["wheel"]["packages"]:
        folder = ROOT / package
        modules = {file.relative_to(folder.parent).as_posix() for file in folder.rglob("*.py")}
        assert modules <= set(contents)
        assert f"{folder.name}/py.typed" in contents


def test_the_wheel_contains_the_data_beside_the_modules(contents: dict[str, Path]) -> None:
    suites = ROOT / "runtime" / "eddyline_runtime" / "evaluation" / "suites"
    data = {file.relative_to(ROOT / "runtime").as_posix() for file in suites.rglob("*.json")}
    assert data
    assert data <= set(contents)
