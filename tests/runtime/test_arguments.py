"""What the command lines of the runtime take as values."""

import argparse

import pytest

from eddyline_runtime.arguments import device_name, seed_number


@pytest.mark.parametrize("text", ["cpu", "cuda", "cuda:1"])
def test_a_device_that_the_runtime_computes_on_is_taken(text: str) -> None:
    assert device_name(text) == text


@pytest.mark.parametrize("text", ["", "tpu", "cpu:1", "cuda:", "cuda:x", "cuda:-1", "cuda:1\n"])
def test_what_is_no_such_device_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="give cpu, cuda or cuda:1"):
        device_name(text)


def test_a_seed_is_one_that_every_generator_takes() -> None:
    assert seed_number(str(2**63 - 1)) == 2**63 - 1
    for wrong in ("-1", str(2**63)):
        with pytest.raises(argparse.ArgumentTypeError, match=r"is not from 0 to 2\*\*63 - 1"):
            seed_number(wrong)
