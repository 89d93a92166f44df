"""What the command lines of the runtime take as values, and how they end after a mistake."""

import argparse
import math
import re

from eddyline_runtime.machine import usable_cores

MISTAKE = 2
"""Exit status after a mistake that was told in one line."""


def positive(text: str) -> int:
    """A whole number from 1 on; argparse tells the user when it is none."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


def seed_number(text: str) -> int:
    """What randomness begins from: 0 to 2**63 - 1, as every generator takes it; argparse tells the user when not."""
    number = int(text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"{number} is not from 0 to 2**63 - 1")
    return number


def threads(text: str) -> int:
    """How many threads compute: from 1 to the cores that this process may use; argparse tells the user where not."""
    number, cores = positive(text), usable_cores()
    if number > cores:
        able = "1 processor; give 1" if cores == 1 else f"{cores} processors; give 1 to {cores}"
        raise argparse.ArgumentTypeError(f"{number} are too many, for this process may use {able}")
    return number


def device_name(text: str) -> str:
    """What computes, as torch calls it; argparse tells the user when it is none that a runtime runs on."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is no device; give cpu, cuda or cuda:1")
    return text


def above_zero(text: str) -> float:
    """A number above 0 that is not infinite; argparse tells the user when it is none."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number
