"""`eddyline doctor`: what is on this machine, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from eddyline.display import asked_driver, why_no_display, why_no_window
from eddyline.install import checkout, install_hint

PURPOSES = {
    "": "the SDK",
    "runtime": "the runtime",
    "openvino": "faster networks on a CPU",
    "play": "windows",
    "video": "films",
    "train": "training and evaluation",
}
"""What each extra is for, in the order in which they are looked at; the SDK itself needs none. `dev` is for tests."""
_EXTRA = re.compile(r"""extra\s*==\s*["']([\w-]+)""")
FAST_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""What makes a processor quick at this work, slowest first, by the kernel's names."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `well`: nothing to do; `needed`: the SDK cannot do without it; `cure`: what to do."""

    what: str
    found: str
    well: bool
    needed: bool = False
    cure: str = ""


def examine() -> list[Finding]:
    """Look at the machine. Imports nothing that is slow; another process opens the display, and closes it."""
    findings = [
        Finding(
            "python", f"{platform.python_version()} on {platform.platform(terse=True)}", sys.version_info >= (3, 11)
        )
    ]
    findings += [find_distribution(name, extra) for name, extra in wanted(requirements()).items()]
    findings += [find_weights(), find_processor(), find_display(os.environ, sys.platform)]
    return findings


def requirements() -> list[str]:
    """What this package requires, as its metadata says it: `torch>=2.6; extra == "runtime"`. Of a checkout, which
    need not be installed, and may have changed since: what its project file says."""
    root = checkout()
    if root is None:
        return importlib.metadata.requires("eddyline") or []
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].items()
    return [*project["dependencies"], *(f'{one}; extra == "{extra}"' for extra, of in extras for one in of)]


def wanted(required: Iterable[str]) -> dict[str, str]:
    """The distributions to look for, each with the first extra that brings it, in their order; pygame-ce is looked for
    as pygame."""
    order = list(PURPOSES)
    found: dict[str, str] = {}
    for one in required:
        name, condition = re.split(r"[^\w.-]", one, maxsplit=1)[0], _EXTRA.search(one)
        extra = condition[1] if condition else ""
        if extra in PURPOSES and name not in ("eddyline", "pygame-ce"):
            found[name] = min(found.get(name, extra), extra, key=order.index)
    return dict(sorted(found.items(), key=lambda item: order.index(item[1])))


def find_distribution(name: str, extra: str) -> Finding:
    """Whether a distribution is installed; pygame-ce counts as pygame."""
    purpose, needed = PURPOSES[extra], not extra
    for candidate in (name, "pygame-ce") if name == "pygame" else (name,):
        try:
            version = importlib.metadata.version(candidate)
        except importlib.metadata.PackageNotFoundError:
            continue
        return Finding(candidate, f"{version}, for {purpose}", True, needed)
    return Finding(name, f"not installed, for {purpose}", False, needed, install_hint(extra))


def find_weights() -> Finding:
    """Whether the weights of the embedded world are where the runtime looks for them."""
    spec = importlib.util.find_spec("eddyline_runtime")
    if spec is None or spec.origin is None:
        return Finding("weights", "no runtime", False, cure=install_hint("runtime"))
    folder = Path(spec.origin).parent / "pretrained"
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        return Finding(
            "weights",
            f"none in {folder}",
            False,
            cure="install eddyline again, or train: eddyline-runtime train --help",
        )
    size = sum(file.stat().st_size for file in files) / 1e6
    return Finding("weights", f"{len(files)} files, {size:.1f} MB in {folder}", True)


def find_processor() -> Finding:
    """How many cores, and which of the features that make them quick."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    flags: set[str] = set()
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.partition(":")[2].split())
                break
    found = [flag for flag in FAST_FLAGS if flag in flags]
    features = ", ".join(found) if found else ("none of the fast features" if flags else "features unknown")
    slow = cores < 2 or (bool(flags) and platform.machine() == "x86_64" and "avx2" not in flags)
    return Finding(
        "processor",
        f"{platform.machine()}, {cores} cores, {features}",
        not slow,
        cure="the embedded world wants two cores with AVX2 to keep pace" if slow else "",
    )


def find_display(environment: Mapping[str, str], platform_name: str) -> Finding:
    """Whether a window can be opened: tried by another process, where pygame is there to try it."""
    untried = importlib.util.find_spec("pygame") is None
    why_none = why_no_display if untried else why_no_window
    reason = why_none(environment, platform_name)
    if reason is not None:
        return Finding("display", reason, False, cure="eddyline play films a script instead of opening a window")
    named = environment.get("WAYLAND_DISPLAY") or environment.get("DISPLAY") or asked_driver(environment)
    return Finding("display", (named or "the desktop's") + (", not tried: no pygame" if untried else ""), True)
