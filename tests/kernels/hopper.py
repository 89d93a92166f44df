"""Compiles for an H100 (sm_90a), on a machine without a GPU, the kernels that a call would launch; says what came out.

`compiled(calls)` makes the calls in processes of their own, because Triton's interpreter is on in that of the tests.
There a driver that has no GPU names the target, and a launch ends where it would load the kernel: what is compiled has
exactly the arguments, and their alignment, of the real launch.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SHARED_LIMIT = 232_448
"""Bytes of shared memory that one block can have on an H100."""


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


def compiled(calls: dict[str, str], prelude: str) -> list[Kernel]:
    """What calls compile, in two processes; they are Python expressions by name, after a prelude they share."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    items = list(calls.items())
    children = [
        subprocess.Popen(
            [sys.executable, __file__, prelude, json.dumps(items[part::2])],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for part in range(2)
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


class _NoGpu:
    """As much of a driver as compiling asks for."""

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def _main(prelude: str, calls: list[tuple[str, str]]) -> None:
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    driver.set_active(_NoGpu())
    made: list[tuple[str, Any]] = []
    run = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        made.append((self.__name__, run(self, *args, grid=grid, warmup=True, **options)))

    JITFunction.run = compile_only
    scope: dict[str, Any] = {}
    exec(prelude, scope)
    kernels = []
    for call, expression in calls:
        eval(expression, scope)
        kernels += [_described(call, name, binary) for name, binary in made]
        made.clear()
    print(json.dumps(kernels))


def _described(call: str, name: str, binary: Any) -> dict[str, Any]:
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary.asm["cubin"])
        file.flush()
        usage, code = (
            subprocess.run([tool, option, file.name], capture_output=True, text=True, check=True).stdout
            for option in ("-res-usage", "--dump-sass")
        )
    used = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert used is not None, usage
    instructions: dict[str, int] = {}
    # /*0120*/   @!P0 LDG.E.128 R4, desc[UR4][R2.64] ;
    for instruction in re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", code):
        instructions[instruction] = instructions.get(instruction, 0) + 1
    return {
        "call": call,
        "name": name,
        "shared": binary.metadata.shared,
        "registers": int(used[1]),
        "stack": int(used[2]),
        "instructions": instructions,
        "code": code,
    }


if __name__ == "__main__":
    _main(sys.argv[1], json.loads(sys.argv[2]))
