"""What the command lines of the runtime take as values."""

import argparse
import math


def positive(text: str) -> int:
    """A whole number from 1 on; argparse tells the user when it is none."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


def above_zero(text: str) -> float:
    """A number above 0 that is not infinite; argparse tells the user when it is none."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number
