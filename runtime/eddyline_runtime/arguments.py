"""What the command lines of the runtime take as values."""

import argparse


def positive(text: str) -> int:
    """A whole number from 1 on; argparse tells the user when it is none."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number
