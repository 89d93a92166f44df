"""Compiles for a GPU, on a machine without one, the kernels that a call would launch; says what came out.

`compiled(calls)` makes the calls in processes of their own, because Triton's interpreter is on in that of the tests.
There a driver that has no GPU names the target, and a launch ends where it would load the kernel: what is compiled has
exactly the arguments, and their alignment, of the real launch.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

SHARED_LIMITS = {80: 166_912, 86: 101_376, 89: 101_376, 90: 232_448, 100: 232_448, 120: 101_376}
"""Bytes of shared memory that one block can have, by compute capability: A100; GeForce RTX 30; RTX 40; H100 and H200;
B200; RTX 50 (CUDA C++ Programming Guide, technical specifications)."""
HOPPER = 90
INSTRUCTION_BYTES = 16
EXECUTABLE = 4
"""The flag of an ELF section that holds instructions."""


@dataclass(frozen=True)
class Kernel:
    """One compiled kernel."""

    call: str
    name: str
    shared: int
    """Bytes of shared memory."""
    registers: int
    stack: int
    """Bytes of local memory for each thread: what did not fit into registers."""
    instructions: dict[str, int]
    """How often each machine instruction stands in it, by its full name."""
    code: str = field(repr=False)
    """The machine code, disassembled."""

    def count(self, pattern: str) -> int:
        """Instructions whose name matches."""
        return sum(n for name, n in self.instructions.items() if re.match(pattern, name))


def compiled(calls: dict[str, str], prelude: str, *, capability: int = HOPPER) -> list[Kernel]:
    """What calls compile; they are Python expressions by name, after a prelude they share.

    In one process, and more than eight calls in two: each takes seconds to import what it needs.
    """
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    items, processes = list(calls.items()), 1 if len(calls) <= 8 else 2
    children = [
        subprocess.Popen(
            [sys.executable, __file__, str(capability), prelude, json.dumps(items[part::processes])],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for part in range(processes)
    ]
    kernels = []
    try:
        for child in children:
            answer, _ = child.communicate()
            assert child.returncode == 0, "compilation failed; its error is in the captured stderr"
            kernels += [Kernel(**kernel) for kernel in json.loads(answer)]
    finally:
        for child in children:
            child.kill()
    return kernels


@dataclass(frozen=True)
class _NoGpu:
    """As much of a driver as compiling asks for."""

    capability: int

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def _main(capability: int, prelude: str, calls: list[tuple[str, str]]) -> None:
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    driver.set_active(_NoGpu(capability))
    made: list[tuple[str, Any]] = []
    run = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        made.append((self.__name__, run(self, *args, grid=grid, warmup=True, **options)))

    JITFunction.run = compile_only
    scope: dict[str, Any] = {}
    exec(prelude, scope)
    called = []
    for call, expression in calls:
        eval(expression, scope)
        called += [(call, name, binary) for name, binary in made]
        made.clear()
    codes = _disassembled([binary.asm["cubin"] for _, _, binary in called], capability)
    print(json.dumps([_described(*kernel, code) for kernel, code in zip(called, codes, strict=True)]))


def _tool(name: str) -> Path:
    """One of the NVIDIA tools that Triton brings along."""
    import triton

    return Path(triton.__file__).parent / "backends/nvidia/bin" / name


def _disassembled(cubins: list[bytes], capability: int) -> list[str]:
    """The machine code of each in words, with addresses that go on from one to the next.

    All of them in one go, without what is around the code: nvdisasm takes more than half a second to start.
    """
    codes = [_machine_code(cubin) for cubin in cubins]
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(codes))
        file.flush()
        command = [_tool("nvdisasm"), "--binary", f"SM{capability}{'a' * (capability >= HOPPER)}", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    instructions = re.findall(r"^ */\*[0-9a-f]{4,}\*/.*$", text, re.MULTILINE)
    assert len(instructions) == sum(map(len, codes)) // INSTRUCTION_BYTES
    lines = iter(instructions)
    return ["\n".join(islice(lines, len(code) // INSTRUCTION_BYTES)) for code in codes]


def _machine_code(cubin: bytes) -> bytes:
    """The one section of a cubin (an ELF file of 64 bits) that holds instructions."""
    (table,) = struct.unpack_from("<Q", cubin, 0x28)
    width, count = struct.unpack_from("<HH", cubin, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", cubin, table + number * width) for number in range(count)]
    ((start, size),) = [(start, size) for _, _, flags, _, start, size in sections if flags & EXECUTABLE]
    return cubin[start : start + size]


def _described(call: str, name: str, binary: Any, code: str) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary.asm["cubin"])
        file.flush()
        command = [_tool("cuobjdump"), "-res-usage", file.name]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert used is not None, usage
    # /*0120*/   @!P0 LDG.E.128 R4, desc[UR4][R2.64] ;
    names = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", code)
    return {
        "call": call,
        "name": name,
        "shared": binary.metadata.shared,
        "registers": int(used[1]),
        "stack": int(used[2]),
        "instructions": Counter(names),
        "code": code,
    }


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
