"""What a game can use of the SDK, name by name, as a Markdown page written from the docstrings of its source.

    python -m eddyline_runtime.page.reference docs/api.md

A name is on the page when it is in `__all__` of `eddyline`, `eddyline.director`, `eddyline.pygame` or
`eddyline.testing`, or an alias of types in a module of theirs. Sentences "NAME: ..." of a docstring, where NAME is an
argument, become a list; one that begins with "Raises" has a paragraph of its own; an indented block is code.
"""

import argparse
import ast
import importlib.util
import itertools
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eddyline.errors import OptionError
from eddyline_runtime.files import write_whole
from eddyline_runtime.page.source import Attribute, Described, described, doc_of, homes

OPENING = """\
# The SDK, name by name

What a game can use of `eddyline`, written from the docstrings of the SDK by
`python -m eddyline_runtime.page.reference docs/api.md`: change those, not this.
"""


@dataclass(frozen=True)
class Section:
    """A part of the page: what is public of some modules."""

    title: str
    modules: tuple[str, ...]
    """The first one's docstring opens the section."""
    first: tuple[str, ...] = ()
    """Names that stand before the others, which keep the order of the source."""


SECTIONS = (
    Section("Runtime", ("eddyline.client", "eddyline.launch", "eddyline.link"), ("launch", "connect", "Runtime")),
    Section("View", ("eddyline.view",), ("View", "ViewStatus")),
    Section("Receipt", ("eddyline.receipts",), ("Receipt",)),
    Section("Frame", ("eddyline.frames",)),
    Section("Clip", ("eddyline.clip",), ("Clip",)),
    Section("Snapshot", ("eddyline.snapshots",), ("Snapshot",)),
    Section("Notes that poll() hands out", ("eddyline.notes",)),
    Section("Errors", ("eddyline.errors",)),
    Section("Director", ("eddyline.director",), ("Director", "GameEvent", "Observer", "Rule", "Line")),
    Section("pygame", ("eddyline.pygame",), ("draw", "held_keys", "open_window")),
    Section("Testing", ("eddyline.testing", "eddyline.conformance"), ("ScriptedRuntime",)),
)
DOORS = ("eddyline", "eddyline.director", "eddyline.pygame", "eddyline.testing")
"""Modules that a game imports; what their `__all__` names is public."""


def reference(sdk: Path) -> str:
    """The page of the SDK whose package is in the folder `sdk`.

    Raises:
        OptionError: a module of the SDK is not there.
    """
    doors = {door: _module(sdk, door) for door in DOORS}
    public = {home: door for door, module in doors.items() for home in homes(module, door)}
    sections = [(section, _entries(sdk, section, public)) for section in SECTIONS]
    parts = [
        OPENING,
        markdown(doc_of(doors["eddyline"])),
        _contents([(section, [*entries]) for section, entries in sections]),
    ]
    for section, entries in sections:
        parts += [f"## {section.title}\n", markdown(doc_of(_module(sdk, section.modules[0])))]
        parts += [entry_text(name, entry) for name, entry in entries.items()]
    return "\n".join(parts)


def _module(sdk: Path, name: str) -> ast.Module:
    file = sdk.joinpath(*name.split(".")[1:])
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(
            f"{file} cannot be read ({error.strerror}); give the folder of the package eddyline"
        ) from error


def _entries(sdk: Path, section: Section, public: dict[tuple[str, str], str]) -> dict[str, Described]:
    """What a section tells, by the name that a game imports it by."""
    told: dict[str, Described] = {}
    for module in section.modules:
        for name, entry in described(_module(sdk, module)).items():
            door = public.get((module, name), module if _is_alias(entry) else None)
            if door is not None:
                told[f"{door}.{name}"] = entry
    places = {name: place for place, name in enumerate(section.first)}
    return dict(sorted(told.items(), key=lambda one: places.get(one[1].name, len(places))))


def _is_alias(entry: Described) -> bool:
    return entry.signature.startswith(f"{entry.name} = ")


def _contents(sections: Sequence[tuple[Section, Sequence[str]]]) -> str:
    """A line for each section, with links to it and to all its names."""
    headings = [heading for section, names in sections for heading in (section.title, *names)]
    anchors = dict(zip(headings, _anchors(headings), strict=True))
    lines = []
    for section, names in sections:
        links = ", ".join(f"[`{name.rpartition('.')[2]}`](#{anchors[name]})" for name in names)
        lines.append(f"- [{section.title}](#{anchors[section.title]}): {links}\n")
    return "".join(lines)


def _anchors(headings: Sequence[str]) -> Iterator[str]:
    """Where links to headings lead, as GitHub makes it: one that was there before gets a number."""
    seen: Counter[str] = Counter()
    for heading in headings:
        anchor = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        yield f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor
        seen[anchor] += 1


def entry_text(name: str, entry: Described) -> str:
    """A class, function or alias under its heading: how it is called, its words, then what it has and does."""
    parts = [f"### {name}\n"]
    parts += [_code(entry.signature, "python")] if entry.signature else []
    parts.append(markdown(entry.doc, entry.arguments))
    if entry.attributes:
        parts.append("\n".join(map(_attribute_line, entry.attributes)) + "\n")
    for method in entry.methods:
        parts += [
            f"#### {entry.name}.{method.name}\n",
            _code(method.signature, "python"),
            markdown(method.doc, method.arguments),
        ]
    return "\n".join(parts)


def _attribute_line(attribute: Attribute) -> str:
    kind = f" `{attribute.kind}`" if attribute.kind else ""
    words = f": {_one_line(attribute.doc)}" if attribute.doc else ""
    return f"- **{attribute.name}**{kind}{words}"


def markdown(doc: str, arguments: Sequence[str] = ()) -> str:
    """A docstring as Markdown; `arguments` are the names whose explanations become a list."""
    parts: list[str] = []
    for is_code, paragraphs in itertools.groupby(doc.split("\n\n"), key=lambda paragraph: paragraph.startswith("    ")):
        if is_code:
            code = textwrap.dedent("\n\n".join(paragraphs))
            parts.append(_code(code, _language(code)))
        else:
            parts += [part for paragraph in paragraphs for part in _paragraphs(_one_line(paragraph), arguments)]
    return "\n".join(parts)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _code(text: str, language: str) -> str:
    return f"```{language}\n{text}\n```\n"


def _language(text: str) -> str:
    try:
        ast.parse(text)
    except SyntaxError:
        return "text"
    return "python"


def _paragraphs(text: str, arguments: Sequence[str]) -> Iterator[str]:
    """A paragraph, its explanations of arguments as a list, and what is raised, each by itself."""
    told, *raised = re.split(r"(?:^|(?<=\. ))(?=Raises )", text, maxsplit=1)
    names = "|".join(map(re.escape, arguments))
    before, *explained = re.split(rf"(?:^|(?<=\. ))`?((?:{names})(?:, (?:{names}))*)`?: ", told) if names else [told]
    if before:
        yield f"{before.rstrip()}\n"
    if explained:
        pairs = zip(explained[::2], explained[1::2], strict=True)
        yield "".join(f"- `{name.replace(', ', '`, `')}`: {words.rstrip()}\n" for name, words in pairs)
    yield from (f"{errors}\n" for errors in raised)


def sdk_folder() -> Path:
    """Where the package `eddyline` is that this process would import."""
    spec = importlib.util.find_spec("eddyline")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and write the page; 2 where something in the way is told."""
    parser = argparse.ArgumentParser(
        prog="python -m eddyline_runtime.page.reference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("page", type=Path, help="the Markdown file to write")
    given = parser.parse_args(arguments)
    try:
        write_whole(given.page, reference(sdk_folder()))
    except OptionError as error:
        print(f"eddyline-runtime: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
