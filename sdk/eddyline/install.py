"""Where this package runs from, and the command that brings what is missing."""

from __future__ import annotations

from pathlib import Path


def checkout() -> Path | None:
    """The folder of the checkout that this package runs from; None where it was installed as a wheel."""
    sources = Path(__file__).resolve().parents[1]
    return sources.parent if sources.name == "sdk" and (sources.parent / "pyproject.toml").is_file() else None


def install_hint(extra: str = "") -> str:
    """The command that installs this package with one of its extras, from where it came; to be run in any folder."""
    return install_command(checkout(), extra)


def install_command(root: Path | None, extra: str = "") -> str:
    """The same for a checkout in `root`, or for a wheel: pip knows the extras of what is installed."""
    extras = f"[{extra}]" if extra else ""
    return f'pip install "eddyline{extras}"' if root is None else f'pip install -e "{root}{extras}"'
