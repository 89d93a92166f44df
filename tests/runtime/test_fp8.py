"""StreamDiT with FP8 linears: how far its velocity moves, and that views of a batch do not see each other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from tests.runtime.journals import Session, opened

from eddyline.errors import ConfigError
from eddyline_runtime import cli, config
from eddyline_runtime.model.linear import Fp8Linear
from eddyline_runtime.model.streamdit import StreamDiT
from eddyline_runtime.networks.choice import computed_by
from eddyline_runtime.networks.difference import fixed_call, relative
from eddyline_runtime.networks.fp8 import check_fp8, quantise_linears, quantise_world
from eddyline_runtime.weights import World, load_world

LARGEST_ERROR = 0.02
"""Of the velocity, relative to its size: twice what was found with these weights, four times that of bf16 alone."""


@pytest.fixture
def world() -> World:
    """The tiny world in bf16, a network of its own for each test."""
    return load_world("tiny", random_weights=True, dtype=torch.bfloat16)


def test_fp8_moves_the_velocity_by_a_little_and_not_by_nothing(world: World) -> None:
    partition = world.card.profiles["smooth"].partition
    assert 1e-4 < quantise_world(world, partition) < LARGEST_ERROR


def test_the_large_products_of_every_block_are_in_fp8_and_nothing_else(world: World) -> None:
    quantise_linears(world.model)
    quantised = {name for name, part in world.model.named_modules() if isinstance(part, Fp8Linear)}
    layers = ("qkv", "attention_out", "text_q", "text_out", "mlp.0", "mlp.1")
    assert quantised == {f"blocks.{block}.{layer}" for block in range(world.model.config.depth) for layer in layers}
    for name, part in world.model.named_modules():
        if isinstance(part, Fp8Linear):
            assert part.weight.dtype == torch.float8_e4m3fn, name
            assert part.weight_scale.shape == (len(part.weight), 1), "one number for each row, none for the whole"


def test_changing_one_view_leaves_the_bits_of_the_others(world: World) -> None:
    quantise_linears(world.model)
    latents, tau, words = fixed_call(world, world.card.profiles["smooth"].partition, rows=3)
    louder, other = latents.clone(), words.actions.clone()
    louder[1] *= 100
    other[1] = 1 - other[1]
    with torch.inference_mode():
        before = world.model(latents, tau, words)
        after = world.model(louder, tau, dataclasses.replace(words, actions=other))
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_fp8_is_as_far_from_float32_as_its_three_digits_are(world: World) -> None:
    """bf16 and FP8 against the same weights in float32: both are near, FP8 less so."""
    partition = world.card.profiles["smooth"].partition
    exact = load_world("tiny", random_weights=True, dtype=torch.float32)
    call, exact_call = fixed_call(world, partition, rows=2), fixed_call(exact, partition, rows=2)
    with torch.inference_mode():
        truth = exact.model(*exact_call)
        rounded = relative(world.model(*call), truth)
        quantise_linears(world.model)
        assert rounded < relative(world.model(*call), truth) < LARGEST_ERROR


@pytest.mark.parametrize(
    ("device", "dtype", "capability", "reason"),
    [
        ("cpu", torch.bfloat16, None, "need a GPU that multiplies it, and the networks are on cpu"),
        ("cuda", torch.bfloat16, (8, 0), "compute capability 8.0, and 8.9 is needed"),
        ("cuda:1", torch.float32, (9, 0), "give bfloat16, and the networks are float32"),
    ],
)
def test_fp8_is_refused_with_the_reason_where_the_device_does_not_multiply_it(
    device: str, dtype: torch.dtype, capability: tuple[int, int] | None, reason: str
) -> None:
    with pytest.raises(ConfigError, match=f"{reason}; use --linears plain"):
        check_fp8(torch.device(device), dtype, capability=capability)


@pytest.mark.parametrize("capability", [(8, 9), (9, 0), (10, 0)])
def test_fp8_is_served_on_gpus_that_multiply_it(capability: tuple[int, int]) -> None:
    check_fp8(torch.device("cuda"), torch.bfloat16, capability=capability)


def test_a_journal_of_networks_in_fp8_is_played_again_in_fp8(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quantise_linears(world.model)
    assert computed_by(world) == "torch bfloat16 fp8"
    session = Session(world, tmp_path / "a.journal")
    session.ask(opened(1, "a red knight"))
    session.until_chunks(2)
    session.end()
    assert cli.main(["replay", str(session.path), "--verify"]) == 0
    said = capsys.readouterr().out
    assert "identical: all 16 frames of 1 view, in 2 chunks" in said
    assert "another build" not in said


def test_widths_that_do_not_do_and_networks_of_others_are_refused(world: World) -> None:
    odd = StreamDiT(dataclasses.replace(config.tiny(), mlp_width=72))
    with pytest.raises(ConfigError, match="multiples of 16, the model has 32 and 72"):
        quantise_linears(odd)
    with pytest.raises(ConfigError, match="set EDDYLINE_NETWORKS=torch"):
        quantise_linears(cast(Any, SimpleNamespace(config=config.tiny())))
    quantise_linears(world.model)
    with pytest.raises(ConfigError, match="in FP8 already"):
        quantise_linears(world.model)
