"""The doctor looks for all that is required, and every hint names a command that brings it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from eddyline import doctor
from eddyline.install import checkout, install_command, install_hint

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    found = {re.split(r"[^\w.-]", requirement)[0] for requirement in requirements}
    return found - {"eddyline", "pygame-ce"}


def test_all_that_the_project_requires_is_looked_for() -> None:
    looked_for = doctor.wanted(doctor.requirements())
    extras = PROJECT["optional-dependencies"]
    of_extras = [one for name, required in extras.items() for one in required if name != "dev"]
    assert set(looked_for) == names([*PROJECT["dependencies"], *of_extras])
    assert {name for name, extra in looked_for.items() if not extra} == names(PROJECT["dependencies"])
    assert all(name in names(extras[extra]) for name, extra in looked_for.items() if extra)


def test_what_metadata_requires_is_read_with_its_extras_and_markers() -> None:
    required = [
        "numpy>=1.26",
        'pillow>=10; extra == "train"',
        'pillow>=10; extra == "play"',
        "pygame-ce>=2.5; (python_version >= '3.14') and extra == 'play'",
        "pygame>=2.6; (python_version < '3.14') and extra == 'play'",
        "torch<2.14,>=2.6; extra == 'runtime'",
        "eddyline[runtime]; extra == 'play'",
        "ruff>=0.9; extra == 'dev'",
    ]
    looked_for = {"numpy": "", "torch": "runtime", "pillow": "play", "pygame": "play"}
    assert list(doctor.wanted(required).items()) == list(looked_for.items())


def test_what_is_missing_comes_with_the_command_that_brings_it() -> None:
    finding = doctor.find_distribution("no-such-distribution", "video")
    assert (finding.well, finding.needed) == (False, False)
    assert finding.found == "not installed, for films"
    assert finding.cure == install_hint("video")


def test_a_checkout_is_installed_from_its_folder_and_a_wheel_by_its_name() -> None:
    assert checkout() == ROOT
    assert install_hint("play") == f'pip install -e "{ROOT}[play]"'
    assert install_command(None, "play") == 'pip install "eddyline[play]"'
    assert install_command(None) == 'pip install "eddyline"'


@pytest.mark.parametrize("folder", ["sdk", "runtime"])
def test_no_message_writes_the_command_itself(folder: str) -> None:
    files = (ROOT / folder).rglob("*.py")
    writing = [file for file in files if re.search("pip install .*eddyline", file.read_text(encoding="utf-8"))]
    assert writing == [ROOT / "sdk" / "eddyline" / "install.py"] * (folder == "sdk")
