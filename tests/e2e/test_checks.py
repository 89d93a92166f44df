"""`.ci/run` with stand-ins for its tools: the order, what is printed last, and that any failure is a failure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("pip", "ruff", "mypy", "lint-imports", "pytest")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason=".ci/run is a bash script")


def run_checks(folder: Path, *, failing: str = "") -> tuple[int, list[str]]:
    """Run the script in a copy, with a `python` whose virtual environments hold tools that only say their names."""
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
    shutil.copy(ROOT / "README.md", folder / "README.md")
    tools = folder / "tools"
    tools.mkdir()
    for tool in TOOLS:
        closing = "echo 1 passed in 0.01s" if tool == "pytest" else ":"
        status = 1 if tool == failing else 0
        (tools / tool).write_text(f'#!/bin/sh\necho "{tool} $*"\n{closing}\nexit {status}\n')
        (tools / tool).chmod(0o755)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nmkdir -p "$3" && cp -r "{tools}" "$3/bin" && echo "$3" > "{folder}/venv"\n')
    python.chmod(0o755)
    scratch = folder / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        [str(folder / ".ci" / "run")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHON": str(python), "TMPDIR": str(scratch)},
        cwd="/",
        timeout=60,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(TOOLS) or line.startswith("1 passed")]
    assert list(scratch.iterdir()) == [], "the environment is removed"
    return done.returncode, lines


def test_the_checks_end_with_the_closing_line_of_pytest(tmp_path: Path) -> None:
    status, lines = run_checks(tmp_path)
    assert status == 0
    assert lines[:2] == ["pip install -e .[dev]", "ruff check ."]
    assert [line.split()[0] for line in lines[2:5]] == ["ruff", "mypy", "lint-imports"]
    assert lines[-3:] == ["pip install -e .[dev]", "pytest ", "1 passed in 0.01s"]


@pytest.mark.parametrize("tool", TOOLS)
def test_the_checks_fail_when_one_of_them_fails(tmp_path: Path, tool: str) -> None:
    status, lines = run_checks(tmp_path, failing=tool)
    assert status != 0
    if tool != "pip":
        assert lines[-1] == "1 passed in 0.01s", "the tests run all the same"
