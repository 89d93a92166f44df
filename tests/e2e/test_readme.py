"""What the README promises in words is so in files: commands, code, keys, variables, links."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import eddyline
from eddyline.cli import main as sdk_main
from eddyline_runtime.cli import main as runtime_main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCES = [
    file for folder in ("sdk", "runtime", "kernels", "examples") for file in sorted((ROOT / folder).rglob("*.py"))
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_two_commands_stand_alone_in_their_blocks() -> None:
    assert blocks("bash") == ['pip install -e ".[play]" && eddyline play\n', 'pip install -e ".[dev]" && pytest\n']
    assert len(re.findall(r"pip install .*&&", README)) == 2


def test_the_checks_run_the_test_command_as_the_readme_writes_it() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"grep -m1 -E '([^']+)' README\.md", script)
    found = [line for line in README.splitlines() if re.search(pattern, line)]
    assert found == ['pip install -e ".[dev]" && pytest']
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_ten_lines_are_the_example_in_the_folder() -> None:
    (code,) = blocks("python")
    shown = [line for line in code.splitlines() if line]
    example = (ROOT / "examples" / "hello_view.py").read_text(encoding="utf-8")
    lines = [line for line in example.partition('"""\n\n')[2].splitlines() if line]
    assert shown == lines
    assert len(lines) == 10


def test_the_page_on_ones_own_game_installs_what_training_needs_before_it_trains() -> None:
    page = (ROOT / "docs" / "your_own_game.md").read_text(encoding="utf-8")
    assert "[train]" in page.partition("eddyline-runtime train")[0]


def test_links_lead_to_files_that_exist() -> None:
    folders = ("docs", "sdk", "runtime", "kernels", "examples")
    pages = [*ROOT.glob("*.md"), *(page for folder in folders for page in (ROOT / folder).rglob("*.md"))]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    ]
    assert {page.name for page, _ in links} >= {"README.md", "ARCHITECTURE.md", "figures.md", "your_own_game.md"}
    for page, link in links:
        assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_every_environment_variable_that_is_read_is_in_the_table() -> None:
    table = README.partition("## Environment variables")[2]
    reading = (
        r"""environ(?:ment)?(?:\.get|\.setdefault|\.pop|)[(\[]\s*["']([A-Z_]+)["']""",
        r"""["']([A-Z_]+)["']\s+(?:not\s+)?in\s+(?:os\.)?environ""",
    )
    code = "".join(file.read_text(encoding="utf-8") for file in SOURCES)
    read = {name for pattern in reading for name in re.findall(pattern, code)}
    assert "WORLD_SIZE" in read
    assert {name for name in read if f"`{name}`" not in table} == set()


def test_every_environment_variable_in_the_table_is_named_in_the_code() -> None:
    table = README.partition("## Environment variables")[2].partition("\n## ")[0]
    code = "".join(file.read_text(encoding="utf-8") for file in [*SOURCES, ROOT / ".ci" / "run"])
    first_column = " ".join(re.findall(r"^\|([^|]+)", table, re.MULTILINE))
    assert {name for name in re.findall(r"`([A-Z_]+)`", first_column) if name not in code} == set()


@pytest.mark.parametrize(
    "file", [f for f in SOURCES if f.is_relative_to(ROOT / "examples")], ids=lambda file: file.name
)
def test_examples_import_public_names_only(file: Path) -> None:
    public = {
        "eddyline",
        "eddyline.pygame",
        "eddyline.director",
        "eddyline.recording",
        "eddyline.testing",
        "eddyline.errors",
    }
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        for name in names:
            root = name.partition(".")[0]
            assert root not in ("torch", "triton", "eddyline_runtime", "eddyline_kernels"), (
                f"{file.name} imports {name}"
            )
            assert root != "eddyline" or name in public, f"{file.name} imports {name}"


def test_what_the_examples_use_of_the_sdk_exists() -> None:
    for file in SOURCES:
        if file.parent == ROOT / "examples":
            for name in re.findall(r"\beddyline\.(\w+)\(", file.read_text(encoding="utf-8")):
                assert hasattr(eddyline, name), f"{file.name} uses eddyline.{name}"


@pytest.mark.parametrize("module", ["eddyline.cli", "eddyline_runtime.cli"])
def test_the_commands_say_how_they_are_used(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: eddyline")


VERBS = {
    sdk_main: ("play", "record", "replay", "doctor", "ping"),
    runtime_main: (
        *("serve", "train", "learn-words", "evaluate", "replay"),
        *("bench stream", "bench views", "bench saves", "bench npcs", "bench networks", "bench model"),
    ),
}


@pytest.mark.parametrize(("run", "verb"), [(run, verb) for run, verbs in VERBS.items() for verb in verbs])
def test_every_verb_says_how_it_is_used(
    run: Callable[[list[str]], int], verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        run([*verb.split(), "--help"])
    assert re.match(rf"usage: eddyline(-runtime)? {verb} ", capsys.readouterr().out)
