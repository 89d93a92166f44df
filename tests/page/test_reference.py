"""The page of the SDK's names: it is in step with the docstrings, has every public name, and nothing internal."""

import re
import sys
from pathlib import Path

import griffe
import pytest

import eddyline
from eddyline.install import install_hint
from eddyline_runtime.page.reference import homes, main, markdown, reference, texts

PAGE = Path(__file__).parents[2] / "docs" / "api.md"

LAMP = '''
"""Lamps."""

from dataclasses import dataclass
from typing import Literal, TypeAlias
from elsewhere import bulb as lit

__all__ = ["Lamp", "lit"]

Colour: TypeAlias = Literal['red', 'blue']
"""What a lamp can shine in."""
_Hidden: TypeAlias = int


@dataclass(frozen=True)
class Plan:
    """Where lamps go."""

    place: tuple[int, int]
    """In pixels,
    from the left."""
    name: str = ''
    _kept: int = 0


class Lamp(Thing):
    """Shines.

    watts, volts: over 0. colour: what it shines in; else dark: no colour.
    """

    def __init__(self, watts: float, volts: float, *, colour: Colour | None = None) -> None:
        self.watts = watts
        """What it takes."""
        self.state: Literal["on", "off"] = "off"
        """Whether it shines."""
        self.volts = volts
        self._warm = 0.0
        """Not for others."""
        self.turns = 0
        """How often it was turned on."""

    @property
    def is_on(self) -> bool:
        """Whether it shines."""
        return self.state == "on"

    def turn(self, on: bool = True, /, *how: str, at: float | None = None, **more: object) -> Colour | None:
        """Turn it on or off. Returns the colour. Raises DarkError
        without power.

            lamp.turn(False)

        `at`: when, in seconds. on: whether.
        """

    def stop(self) -> None:
        """Turn it off."""

    def receive(self, power: bytes) -> None:
        """Internal: power came."""

    def _cool(self) -> None:
        """Not for others."""

    def __repr__(self) -> str:
        return "a lamp"


class Bulb:
    """What is in it. Made by `Lamp.bulb()`."""

    def __init__(self, lamp: Lamp) -> None:
        self.lamp = lamp


def _helper() -> None:
    """Not for others."""
'''


def test_the_page_in_docs_is_what_the_command_writes() -> None:
    written = reference()
    assert PAGE.read_text(encoding="utf-8") == written, (
        "docs/api.md is not in step with the docstrings of the SDK; run python -m eddyline_runtime.page.reference "
        "docs/api.md"
    )


@pytest.fixture
def lamps(tmp_path: Path) -> griffe.Module:
    return read(LAMP, tmp_path)


def read(source: str, folder: Path) -> griffe.Module:
    (folder / "lamps.py").write_text(source, encoding="utf-8")
    module = griffe.load("lamps", search_paths=[folder], allow_inspection=False)
    assert isinstance(module, griffe.Module)
    return module


def headings() -> list[str]:
    return re.findall(r"^####? (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_public_name_of_eddyline_is_on_the_page() -> None:
    assert not {f"eddyline.{name}" for name in eddyline.__all__} - set(headings())


def test_states_of_views_receipts_clips_and_snapshots_are_on_the_page() -> None:
    states = {"view.ViewState", "receipts.ReceiptState", "clip.ClipState", "snapshots.SnapshotState"}
    assert not {f"eddyline.{state}" for state in states} - set(headings())


def test_nothing_internal_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    internal = {"View.receive_frame", "Receipt.update", "Clip.offer", "Snapshot.take", "eddyline.view.check_text"}
    assert not internal & set(headings())
    assert not [heading for heading in headings() if re.search(r"\b_", heading)]
    assert not re.findall(r"(?<![\w.])_\w+|Internal|\bLink\b", page)


def test_nothing_on_the_page_is_without_words() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert not re.findall(r"^####? .+\n\n(?:```python\n[^`]*```\n\n)?(?=#|- )", page, re.MULTILINE)


def test_each_heading_has_one_link_in_the_contents_also_one_that_differs_in_case_alone() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert "[`Side`](#eddylinedirectorside)," in page
    assert "[`side`](#eddylinedirectorside-1)," in page
    links = re.findall(r"\]\(#([^)]+)\)", page)
    assert len(links) == len(set(links)) == len(re.findall(r"^###? ", page, re.MULTILINE))


def test_names_of_a_module_are_found_where_they_come_from(lamps: griffe.Module, tmp_path: Path) -> None:
    assert homes(lamps) == ["lamps.Lamp", "elsewhere.bulb"]
    assert homes(read("x = 1", tmp_path)) == []


def test_a_module_tells_its_public_classes_functions_and_aliases_in_the_order_of_its_source(
    lamps: griffe.Module,
) -> None:
    found = texts(lamps)
    assert [*found] == ["Colour", "Plan", "Lamp", "Bulb"]
    assert found["Colour"] == '```python\nColour = Literal["red", "blue"]\n```\n\nWhat a lamp can shine in.\n'


def test_fields_of_a_dataclass_have_their_types_defaults_and_words(lamps: griffe.Module) -> None:
    assert texts(lamps)["Plan"] == (
        'Where lamps go.\n\n- **place** `tuple[int, int]`: In pixels, from the left.\n- **name** `str = ""`\n'
    )


def test_a_class_tells_attributes_with_words_then_properties_then_methods(lamps: griffe.Module) -> None:
    assert (
        texts(lamps)["Lamp"]
        == """\
```python
Lamp(watts: float, volts: float, *, colour: Colour | None = None)
```

Shines.

- `watts`, `volts`: over 0.
- `colour`: what it shines in; else dark: no colour.

- **watts** `float`: What it takes.
- **state** `Literal["on", "off"]`: Whether it shines.
- **turns** `int`: How often it was turned on.
- **is_on** `bool`: Whether it shines.

#### Lamp.turn

```python
turn(on: bool = True, /, *how: str, at: float | None = None, **more: object) -> Colour | None
```

Turn it on or off. Returns the colour.

Raises DarkError without power.

```python
lamp.turn(False)
```

- `at`: when, in seconds.
- `on`: whether.

#### Lamp.stop

```python
stop()
```

Turn it off.
"""
    )


def test_a_signature_too_long_for_a_line_has_a_line_for_each_argument(tmp_path: Path) -> None:
    name = "shine_" * 14
    arguments = "x: dict[str, int], /, *, y: Literal['a', 'b'] = 'a', **z: int"
    source = f"from typing import Literal\ndef {name}({arguments}) -> tuple[int, int]: ..."
    assert texts(read(source, tmp_path))[name].startswith(
        f"```python\n{name}(\n    x: dict[str, int],\n    /,\n    *,\n"
        '    y: Literal["a", "b"] = "a",\n    **z: int,\n) -> tuple[int, int]\n```\n'
    )


def test_a_class_that_others_make_does_not_tell_how_it_is_called(lamps: griffe.Module) -> None:
    assert texts(lamps)["Bulb"] == "What is in it. Made by `Lamp.bulb()`.\n"


def test_a_drawing_is_text_and_its_blank_lines_stay() -> None:
    assert markdown("Tree:\n\n    a\n    └── b\n\n    c") == "Tree:\n\n```text\na\n└── b\n\nc\n```\n"


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    assert main([str(tmp_path / "api.md")]) == 0
    assert (tmp_path / "api.md").read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")


def test_what_is_in_the_way_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([str(tmp_path / "missing" / "api.md")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "griffe", None)
    assert main([str(tmp_path / "api.md")]) == 2
    assert capsys.readouterr().err == f"eddyline-runtime: griffe is not installed; run: {install_hint('dev')}\n"
