"""What the command lines of the runtime take as values."""

import argparse

import pytest

from eddyline_runtime.arguments import device_name


@pytest.mark.parametrize("text", ["cpu", "cuda", "cuda:1"])
def test_a_device_that_the_runtime_computes_on_is_taken(text: str) -> None:
    assert device_name(text) == text


@pytest.mark.parametrize("text", ["", "tpu", "cpu:1", "cuda:", "cuda:x", "cuda:-1", "cuda:1\n"])
def test_what_is_no_such_device_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="give cpu, cuda or cuda:1"):
        device_name(text)
