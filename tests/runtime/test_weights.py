"""Worlds on the disk: what is written comes back, what is damaged is refused with the cure."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from eddyline.errors import ConfigError, WeightsError
from eddyline_runtime import config
from eddyline_runtime.precision import default_dtype
from eddyline_runtime.weights import (
    WORDS_FILE,
    World,
    large_card,
    load_world,
    read_card,
    save_world,
    text_encoder_for,
    tiny_card,
    world_folder,
)


@pytest.fixture
def folder(tiny: World, tmp_path: Path) -> Path:
    """The tiny world, written to the disk."""
    save_world(tmp_path / "world", tiny.card, model=tiny.model, codec=tiny.codec)
    return tmp_path / "world"


def edit_card(folder: Path, change: Callable[[dict[str, object]], None]) -> None:
    card = json.loads((folder / "card.json").read_text())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))


def test_a_saved_world_comes_back_as_it_was(tiny: World, folder: Path) -> None:
    world = load_world(str(folder), dtype=torch.float32)
    assert replace(world.card, sha256={}) == tiny.card
    for name, tensor in tiny.model.state_dict().items():
        assert torch.equal(world.model.state_dict()[name], tensor.bfloat16().float()), name
    for name, tensor in tiny.codec.state_dict().items():
        assert torch.equal(world.codec.state_dict()[name], tensor), name
    assert world.text_encoder.name == "bytes"


def test_a_loaded_world_is_ready_for_inference(folder: Path) -> None:
    world = load_world(str(folder), dtype=torch.bfloat16)
    assert {p.dtype for p in world.model.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in world.codec.parameters()} == {torch.float32}
    for module in (world.model, world.codec):
        assert not module.training
        assert not any(p.requires_grad for p in module.parameters())


def test_the_statistics_of_the_latents_stay_exact(tiny: World, tmp_path: Path) -> None:
    model = copy.deepcopy(tiny.model)
    model.latent_deviation = torch.tensor([0.123456, 1.234567, 2.345678, 3.456789])
    save_world(tmp_path, tiny.card, model=model, codec=tiny.codec)
    loaded = load_world(str(tmp_path), dtype=torch.bfloat16).model.latent_deviation
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, model.latent_deviation)


def test_the_card_names_every_weight_file_by_its_hash_the_probe_too(tiny: World, tmp_path: Path) -> None:
    save_file({"w": torch.ones(3)}, tmp_path / "probe.safetensors")
    card = save_world(tmp_path, tiny.card, model=tiny.model, codec=tiny.codec)
    files = ["codec.safetensors", "probe.safetensors", "streamdit.safetensors"]
    assert card.sha256 == {name: sha256((tmp_path / name).read_bytes()).hexdigest() for name in files}
    assert read_card(tmp_path) == card


def with_learned(tiny: World, folder: Path) -> torch.Tensor:
    learned = torch.randn(5, tiny.card.model.text_dim, generator=torch.Generator().manual_seed(0))
    save_world(folder, tiny.card, model=tiny.model, codec=tiny.codec, learned=learned)
    return learned


def test_texts_that_were_learned_come_back_and_go_with_the_world_that_learned_them(tiny: World, tmp_path: Path) -> None:
    learned = with_learned(tiny, tmp_path)
    found = load_world(str(tmp_path)).learned
    assert found is not None
    assert torch.equal(found, learned.half().float())
    card = save_world(tmp_path, tiny.card, model=tiny.model, codec=tiny.codec)
    assert (WORDS_FILE in card.sha256, (tmp_path / WORDS_FILE).exists()) == (False, False)
    assert load_world(str(tmp_path)).learned is None


@pytest.mark.parametrize("damage", ["no safetensors", "another name", "another size"])
def test_learned_texts_that_are_none_are_refused(tiny: World, tmp_path: Path, damage: str) -> None:
    with_learned(tiny, tmp_path)
    other = tmp_path / "other.safetensors"
    if damage == "no safetensors":
        other.write_bytes(b"cut")
    else:
        save_file({"pooled" if damage == "another size" else "vectors": torch.zeros(5, 3)}, other)
    write_tensors(tmp_path, WORDS_FILE, other.read_bytes())
    with pytest.raises(WeightsError, match=rf"{WORDS_FILE} holds .* run learn-words again"):
        load_world(str(tmp_path))


def test_a_probe_or_learned_words_do_not_make_the_latents_of_a_world_others(tiny: World, tmp_path: Path) -> None:
    plain = save_world(tmp_path, tiny.card, model=tiny.model, codec=tiny.codec)
    with_learned(tiny, tmp_path)
    save_file({"w": torch.ones(3)}, tmp_path / "probe.safetensors")
    more = save_world(tmp_path, tiny.card, model=tiny.model, codec=tiny.codec, learned=torch.ones(2, 3))
    assert len(more.sha256) == 4
    assert more.weights_id() == plain.weights_id()
    other = copy.deepcopy(tiny.codec)
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    changed = save_world(tmp_path, tiny.card, model=tiny.model, codec=other)
    assert changed.weights_id() != plain.weights_id()


def test_a_world_that_was_half_replaced_is_said_to_be(
    tiny: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_world(tmp_path, tiny.card, model=tiny.model, codec=tiny.codec)
    replace_file = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if target.name == "codec.safetensors":
            raise OSError(5, "Input/output error")
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(WeightsError, match=r"streamdit\.safetensors are new already, .* is none any more"):
        save_world(tmp_path, tiny.card, model=tiny.model, codec=tiny.codec)
    assert not [*tmp_path.glob("*.part")]


@pytest.mark.parametrize("name", ["streamdit.safetensors", "codec.safetensors"])
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(WeightsError, match=rf"{name} is missing; reinstall .* or train again"):
        load_world(str(folder))


@pytest.mark.parametrize("name", ["streamdit.safetensors", "codec.safetensors"])
def test_a_cut_file_is_refused(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match=rf"{name} is cut or was changed.*reinstall or train again"):
        load_world(str(folder))


@pytest.mark.parametrize("name", ["streamdit.safetensors", "codec.safetensors"])
def test_a_single_flipped_bit_is_refused(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-100] ^= 1
    (folder / name).write_bytes(bytes(data))
    with pytest.raises(WeightsError, match=rf"{name} is cut or was changed"):
        load_world(str(folder))


def write_tensors(folder: Path, name: str, data: bytes) -> None:
    """Another file under a known name, the card agreeing with it."""
    (folder / name).write_bytes(data)
    edit_card(folder, lambda card: card["sha256"].update({name: sha256(data).hexdigest()}))  # type: ignore[attr-defined]


def test_a_cut_file_that_the_card_agrees_with_is_refused_too(folder: Path) -> None:
    write_tensors(folder, "codec.safetensors", (folder / "codec.safetensors").read_bytes()[:-8])
    with pytest.raises(WeightsError, match=r"codec\.safetensors cannot be read .* missing or cut"):
        load_world(str(folder))


@pytest.mark.parametrize("change", ["another shape", "one tensor less", "one tensor more"])
def test_weights_of_another_configuration_are_refused(folder: Path, tmp_path: Path, change: str) -> None:
    tensors = load_file(folder / "streamdit.safetensors")
    if change == "another shape":
        tensors["position"] = torch.zeros(6, 48, dtype=torch.bfloat16)
    elif change == "one tensor less":
        del tensors["position"]
    else:
        tensors["extra"] = torch.zeros(1)
    save_file(tensors, tmp_path / "foreign.safetensors")
    write_tensors(folder, "streamdit.safetensors", (tmp_path / "foreign.safetensors").read_bytes())
    message = {
        "another shape": r"position is \(6, 48\), expected \(6, 32\)",
        "one tensor less": r"position is missing, expected \(6, 32\)",
        "one tensor more": r"extra is \(1,\), expected nothing",
    }[change]
    with pytest.raises(WeightsError, match=rf"does not fit: {message} .*another configuration"):
        load_world(str(folder))


@pytest.mark.parametrize("name", ["atlantis", "", "tiny.safetensors"])
def test_an_unknown_world_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=rf"no world called '{name}'.*eddyline-runtime train"):
        world_folder(name)


@pytest.mark.parametrize("name", ["tiny", "streamdit_4b", "streamdit_30b"])
def test_an_untrained_preset_is_refused_unless_random_weights_are_asked_for(name: str) -> None:
    with pytest.raises(WeightsError, match=f"{name} has no weights, only a shape; ask for random ones"):
        load_world(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no world card"),
        ('{"name": "x"}', "is no world card .*missing"),
        ('{"name": 3}', "is no world card .*Expected `str`"),
    ],
)
def test_a_card_that_is_none_is_refused(folder: Path, text: str, message: str) -> None:
    (folder / "card.json").write_text(text)
    with pytest.raises(WeightsError, match=message):
        load_world(str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "has version 2, this runtime reads 1; use a matching release"),
        ({"default_profile": "fast"}, "no profile 'fast'"),
        ({"action_names": ["KeyA"]}, "names 1 actions, its model takes 5"),
        ({"width": 64}, "shows 64x32, its latent decodes to 48x32"),
        ({"phrases": ["x" * 257]}, "cannot be told to clients .*phrases"),
        ({"action_names": ["1", "a", "b", "c", "d"]}, "cannot be told to clients .*action_names"),
        ({"name": "x" * 129}, "cannot be told to clients"),
        ({"fps": 0.0}, "cannot be told to clients"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(folder: Path, change: dict[str, object], message: str) -> None:
    edit_card(folder, lambda card: card.update(change))
    with pytest.raises(WeightsError, match=message):
        load_world(str(folder))


def test_a_card_with_impossible_sizes_is_refused(folder: Path) -> None:
    edit_card(folder, lambda card: card["model"].update({"heads": 3}))  # type: ignore[attr-defined]
    with pytest.raises(WeightsError, match=r"is no world card .*does not split into 3 heads"):
        load_world(str(folder))


def test_a_text_encoder_that_this_runtime_lacks_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"text encoder 'umt5' is unknown; this runtime has"):
        text_encoder_for(replace(tiny_card(), text_encoder="umt5"))


def test_two_random_tiny_worlds_are_the_same_and_no_generator_notices() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        first = load_world("tiny", random_weights=True)
        torch.manual_seed(6)
        before = torch.random.get_rng_state()
        second = load_world("tiny", random_weights=True)
        assert torch.equal(torch.random.get_rng_state(), before)
    for a, b in ((first.model, second.model), (first.codec, second.codec)):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_random_weights_switch_nothing_off(tiny: World) -> None:
    """Zero starts would hide words and past: benchmarks and tests on such a world would measure nothing."""
    for module in (tiny.model, tiny.codec):
        dead = [name for name, p in module.named_parameters() if p.ndim > 1 and not bool(p.any())]
        assert dead == []


def test_a_trained_world_can_be_benchmarked_with_random_weights_without_its_files(folder: Path) -> None:
    (folder / "streamdit.safetensors").unlink()
    assert load_world(str(folder), random_weights=True).card.name == "tiny"


@pytest.mark.parametrize(
    ("machine", "native", "emulated", "expected"),
    [
        ("x86_64", True, True, torch.bfloat16),
        ("x86_64", False, True, torch.float32),
        ("aarch64", False, True, torch.bfloat16),
        ("aarch64", False, False, torch.float32),
    ],
)
def test_bf16_is_the_default_only_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, machine: str, native: bool, emulated: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: emulated)
    assert default_dtype("cpu") == expected
    assert default_dtype("cuda:1") == torch.bfloat16


@pytest.mark.parametrize("name", ["streamdit_4b", "streamdit_30b"])
def test_the_cards_of_the_papers_presets_hold_together(name: str) -> None:
    sizes = {"streamdit_4b": config.streamdit_4b, "streamdit_30b": config.streamdit_30b}[name]()
    card = large_card(name, sizes)
    assert (card.height, card.width, card.name) == (512, 512, name)
    with pytest.raises(ConfigError, match="names 1 actions, its model takes 16"):
        replace(card, action_names=("KeyA",))
