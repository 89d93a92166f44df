"""Finds, in machine code of a Hopper GPU, registers that are overwritten while the tensor cores still need them.

The assembler of Triton 3.6 and 3.7 (ptxas 12.8) can take registers for free that hold an operand of a matrix product
(HGMMA): the products that follow read something else, and results are wrong without an error. Two ways are looked for:

- an operand that is loaded before a loop and read in every turn of it, with registers that the loop overwrites;
- an operand of a product that still runs (no WARPGROUP.DEPBAR has waited for it yet).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_LINE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\s*([^;]*);", re.MULTILINE)
_WITHOUT_RESULT = re.compile(r"ST|BAR|BRA|SYNCS|UTMA|WARP|FENCE|MEMBAR|EXIT|R2UR|B?SSY|BSYNC|NOP|RED|LDGSTS|R2P|CCTL|U")


@dataclass(frozen=True)
class Instruction:
    """One machine instruction."""

    address: int
    name: str
    arguments: tuple[str, ...]
    operand: frozenset[int]
    """Registers of the left matrix of a product, where it is in registers."""
    written: frozenset[int]
    """Registers that it writes; those of a product's sums are left out."""

    @classmethod
    def read(cls, address: str, name: str, rest: str) -> Instruction:
        """One line of a disassembly, in its parts."""
        arguments = tuple(argument.strip() for argument in rest.split(","))
        if name.startswith("HGMMA"):
            first = re.fullmatch(r"R(\d+)", arguments[1])
            return cls(int(address, 16), name, arguments, _run(int(first[1]), 4) if first else _run(0, 0), _run(0, 0))
        results = [argument for argument in arguments if not re.fullmatch(r"U?PT?\d*", argument)]
        first = re.match(r"R(\d+)", results[0]) if results and not _WITHOUT_RESULT.match(name) else None
        return cls(
            int(address, 16), name, arguments, _run(0, 0), _run(int(first[1]), _width(name)) if first else _run(0, 0)
        )


def overwritten(sass: str) -> list[str]:
    """Every register, in words, that is overwritten while a product needs it; empty if the code is sound."""
    code = [Instruction.read(*line) for line in _LINE.findall(sass)]
    problems = list(_while_running(code))
    for body in _loops(code):
        problems += _from_before(body)
        problems += _while_running([*body, *body])
    return sorted(set(problems))


def _run(first: int, count: int) -> frozenset[int]:
    return frozenset(range(first, first + count))


def _width(name: str) -> int:
    """Registers of a result."""
    if re.search(r"\.128|^LDSM.*\.4|^HMMA", name):
        return 4
    return 2 if re.search(r"\.64|\.WIDE|^CS2R|^LDSM.*\.2", name) else 1


def _loops(code: Sequence[Instruction]) -> Iterator[Sequence[Instruction]]:
    """The instructions from the target of each backward branch to the branch."""
    places = {instruction.address: place for place, instruction in enumerate(code)}
    for place, instruction in enumerate(code):
        target = re.search(r"0x([0-9a-f]+)", instruction.arguments[-1]) if instruction.name.startswith("BRA") else None
        start = places.get(int(target[1], 16), place) if target else place
        if start < place:
            yield code[start : place + 1]


def _from_before(body: Sequence[Instruction]) -> Iterator[str]:
    """Operands that come from before a loop though the loop overwrites them."""
    so_far: set[int] = set()
    needed: dict[int, Instruction] = {}
    for instruction in body:
        needed.update(dict.fromkeys(instruction.operand - so_far, instruction))
        so_far |= instruction.written
    for register, product in needed.items():
        if register in so_far:
            yield f"R{register} of the product at {product.address:#x} is from before its loop, which overwrites it"


def _while_running(code: Sequence[Instruction]) -> Iterator[str]:
    """Operands that are overwritten before anything waits for their product."""
    groups: list[set[int]] = [set()]
    for instruction in code:
        for register in instruction.written & set().union(*groups):
            yield f"R{register} is overwritten at {instruction.address:#x} while a product reads it"
        groups[-1] |= instruction.operand
        if instruction.name.startswith("HGMMA") and "gsb0" in instruction.arguments:
            groups.append(set())
        if instruction.name.startswith("WARPGROUP.DEPBAR"):
            running = int(instruction.arguments[-1], 16)
            groups = [*groups[:-1][-running:], groups[-1]] if running else [set()]
