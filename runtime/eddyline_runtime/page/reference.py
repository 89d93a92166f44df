"""What a game can use of the SDK, name by name, as a Markdown page written from the docstrings of its source.

    python -m eddyline_runtime.page.reference docs/api.md

A name is on the page when it is in `__all__` of `eddyline`, `eddyline.director`, `eddyline.pygame` or
`eddyline.testing`, or an alias of types in a module of theirs. Sentences "NAME: ..." of a docstring, where NAME is an
argument, become a list; one that begins with "Raises" has a paragraph of its own; an indented block is code.
"""

import argparse
import ast
import itertools
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from eddyline.errors import OptionError
from eddyline.install import install_hint
from eddyline_runtime.page.writing import write_page

if TYPE_CHECKING:
    from griffe import Attribute, Class, Function, Module, ModulesCollection, Object, Parameters

Member = TypeVar("Member", bound="Object")

WIDEST = 100
"""Letters of a signature on one line; of a longer one each argument has a line of its own."""

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


def reference() -> str:
    """The page of the SDK that this process would import; its source is read, not run.

    Raises:
        OptionError: the library that reads it, griffe, is not installed.
    """
    try:
        import griffe
    except ModuleNotFoundError as error:
        raise OptionError(f"{error.name} is not installed; run: {install_hint('dev')}") from error
    loader = griffe.GriffeLoader(allow_inspection=False)
    loader.load("eddyline", try_relative_path=False)
    modules = loader.modules_collection
    public = {home: door for door in DOORS for home in homes(modules[door])}
    sections = [(section, _entries(modules, section, public)) for section in SECTIONS]
    parts = [OPENING, markdown(_doc(modules["eddyline"])), _contents(sections)]
    for section, entries in sections:
        parts += [f"## {section.title}\n", markdown(_doc(modules[section.modules[0]]))]
        parts += [f"### {name}\n\n{text}" for name, text in entries.items()]
    return "\n".join(parts)


def homes(module: "Module") -> list[str]:
    """Every name in a module's `__all__`, with the module that it comes from before it."""
    return [module.imports.get(str(name), f"{module.path}.{name}") for name in module.exports or ()]


def _entries(modules: "ModulesCollection", section: Section, public: Mapping[str, str]) -> dict[str, str]:
    """What a section tells, by the name that a game imports it by."""
    told: dict[str, str] = {}
    for home in section.modules:
        module = modules[home]
        for name, text in texts(module).items():
            door = public.get(f"{home}.{name}", home if name in module.attributes else None)
            if door is not None:
                told[f"{door}.{name}"] = text
    places = {name: place for place, name in enumerate(section.first)}
    return dict(sorted(told.items(), key=lambda one: places.get(one[0].rpartition(".")[2], len(places))))


def texts(module: "Module") -> dict[str, str]:
    """The text of every public class, function and alias of a type of a module, in the order of its source."""
    found = [
        *((one, _class_text(one)) for one in _own(module.classes)),
        *((one, _function_text(one)) for one in _own(module.functions)),
        *((one, _alias_text(one)) for one in _own(module.attributes) if str(one.annotation) == "TypeAlias"),
    ]
    return {one.name: text for one, text in sorted(found, key=lambda each: each[0].lineno or 0)}


def _own(members: Mapping[str, Member]) -> list[Member]:
    """Those that are public, and neither imported nor inherited."""
    return [
        one
        for name, one in members.items()
        if not (one.is_alias or name.startswith("_") or _doc(one).startswith("Internal"))
    ]


def _doc(described: "Object") -> str:
    return described.docstring.value if described.docstring else ""


def _class_text(one: "Class") -> str:
    """How a class is called, its words, then what it has and does. How it is called goes unsaid of a dataclass, whose
    fields say so, and where the docstring says by what it is made."""
    told = "dataclass" in one.labels or "Made by" in _doc(one)
    parts = [_call(one.signature())] if one.parameters and not told else []
    parts.append(markdown(_doc(one), () if told else _names(one.parameters)))
    # Of a dataclass every field; else what has words.
    has = [each for each in _own(one.attributes) if "dataclass" in one.labels or each.docstring]
    if has:
        parts.append("".join(f"- **{each.name}**{_kind(each, one.parameters)}{_words(each)}\n" for each in has))
    parts += [f"#### {one.name}.{method.name}\n\n{_function_text(method)}" for method in _own(one.functions)]
    return "\n".join(parts)


def _kind(attribute: "Attribute", arguments: "Parameters") -> str:
    """The type of an attribute, and the default of a field; of what is not annotated, the type of the argument or the
    constant that it is set to, if it is one."""
    kind, value = attribute.annotation, attribute.value
    if kind is None and str(value) in arguments:
        kind = arguments[str(value)].annotation
    elif kind is None and isinstance(value, str):
        kind = type(ast.literal_eval(value)).__name__
    elif value is not None and "class-attribute" in attribute.labels:
        kind = f"{kind} = {value}"
    return "" if kind is None else f" `{_spelled(str(kind))}`"


def _words(attribute: "Attribute") -> str:
    return f": {_one_line(attribute.docstring.value)}" if attribute.docstring else ""


def _function_text(function: "Function") -> str:
    """How it is called, and its words. That None is returned goes unsaid."""
    call = function.signature(return_type=str(function.returns) != "None")
    return f"{_call(call)}\n{markdown(_doc(function), _names(function.parameters))}"


def _alias_text(alias: "Attribute") -> str:
    code = _code(_spelled(f"{alias.name} = {alias.value}"), "python")
    return f"{code}\n{markdown(_doc(alias))}"


def _names(parameters: "Parameters") -> list[str]:
    return [parameter.name for parameter in parameters]


def _call(line: str) -> str:
    """How something is called; where it is too long for a line, with one for each argument."""
    name, opened, rest = line.partition("(")
    inside, closed, result = rest.rpartition(")")
    if len(line) > WIDEST and closed:
        arguments = re.split(r", (?=\*|/|\w+:)", inside)
        line = "\n".join([f"{name}{opened}", *(f"    {argument}," for argument in arguments), f"{closed}{result}"])
    return _code(_spelled(line), "python")


def _spelled(source: str) -> str:
    """As the source of this project writes it: strings in double quotes."""
    return source if '"' in source else source.replace("'", '"')


def _contents(sections: Sequence[tuple[Section, Iterable[str]]]) -> str:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and write the page; 2 where something in the way is told."""
    parser = argparse.ArgumentParser(
        prog="python -m eddyline_runtime.page.reference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("page", type=Path, help="the Markdown file to write")
    given = parser.parse_args(arguments)
    return write_page(given.page, reference)


if __name__ == "__main__":
    raise SystemExit(main())
