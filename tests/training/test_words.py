"""Teaching a world words: a refiner learns to read them as words the world knows, and nothing else changes."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from eddyline.errors import TrainingError
from eddyline_runtime import cli, config
from eddyline_runtime.config import ModelConfig
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.model.streamdit import Conditioning, StreamDiT
from eddyline_runtime.model.text_encoder import ByteTextEncoder
from eddyline_runtime.training import words
from eddyline_runtime.training.words import (
    Pair,
    WordsPlan,
    WordsReport,
    learn_words,
    read_pairs,
    sample_texts,
    whole_pairs,
)
from eddyline_runtime.weights import load_world, save_world, text_encoder_for, tiny_card

ENCODER = ByteTextEncoder(dim=32, max_tokens=24)
PLAN = WordsPlan(steps=60, batch=16, queries=16, scenes=4, learning_rate=3e-3)
MEANS = {"felis": "cat", "vulpes": "fox", "sus": "pig", "nix": "snow", "pluit": "rain", "nebula": "fog"}


def pairs(count: int = 200) -> list[Pair]:
    rng = random.Random(0)
    drawn = [rng.choices(list(MEANS), k=3) for _ in range(count)]
    return [Pair(" ".join(said), " ".join(MEANS[word] for word in said)) for said in drawn]


def trained(model_config: ModelConfig | None = None) -> StreamDiT:
    """Weights that answer to words: an untrained model's gates are closed, its cross-attention is not."""
    torch.manual_seed(3)
    return StreamDiT(model_config or config.tiny()).eval()


def learn(model: StreamDiT, plan: WordsPlan = PLAN) -> tuple[StreamDiT, WordsReport]:
    return learn_words(model, ENCODER, pairs(), plan=plan, seed=0, device="cpu")


def velocity(model: StreamDiT, texts: Sequence[str]) -> Tensor:
    encoded = ENCODER.encode(texts)
    given = Conditioning(
        text=encoded.states,
        text_mask=encoded.mask,
        text_index=torch.arange(len(texts))[:, None].expand(-1, 2),
        actions=torch.zeros(len(texts), 2, 5),
        stride=torch.ones(len(texts), 2, dtype=torch.long),
    )
    latents = torch.randn(len(texts), 2, 4, 4, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        result: Tensor = model(latents, torch.full((len(texts), 2), 0.5), given)
    return result


def opened(model: StreamDiT) -> StreamDiT:
    """The same model with random gates and velocities, so that its words reach its answer."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def test_a_new_refiner_changes_nothing() -> None:
    model = opened(trained())
    deep = words._with_refiner(model, 2)
    assert deep.config.refiner_depth == 2
    assert torch.equal(velocity(model, ["a cat", "rain"]), velocity(deep, ["a cat", "rain"]))
    assert not torch.equal(velocity(model, ["a cat"]), velocity(model, ["rain"])), "or the test shows nothing"


def test_padding_is_never_read() -> None:
    deep = opened(StreamDiT(replace(config.tiny(), refiner_depth=2)))
    encoded = ENCODER.encode(["a cat", "a longer text"])
    spoiled = torch.where(encoded.mask[..., None], encoded.states, 1e4)
    given, other = (
        deep.project(deep.refine(states, encoded.mask), encoded.mask) for states in (encoded.states, spoiled)
    )
    torch.testing.assert_close(given.brief, other.brief)
    seen = encoded.mask[:, None, None, None, :, None].expand_as(given.keys_values)
    torch.testing.assert_close(given.keys_values[seen], other.keys_values[seen])


def test_new_words_are_read_as_those_they_stand_for_and_known_ones_as_before() -> None:
    model = opened(trained())
    taught, report = learn(model)
    assert report.distance < 0.5 * report.distance_before

    def off(said: StreamDiT, new: str, known: str) -> float:
        return float((velocity(said, [new]) - velocity(model, [known])).square().mean())

    unseen = "vulpes pluit"  # two words where every pair has three
    assert off(taught, unseen, "fox rain") < 0.5 * off(model, unseen, "fox rain")
    assert off(taught, "cat fog", "cat fog") < 0.2 * off(model, "cat fog", "pig snow")


def test_only_the_refiner_is_trained() -> None:
    model = trained()
    taught, _ = learn(model, replace(PLAN, steps=2))
    assert all(torch.equal(taught.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert any(parameter.any() for parameter in taught.text_refiner.parameters())


def test_a_refiner_that_is_there_goes_on_learning() -> None:
    taught, first = learn(trained())
    further, second = learn(taught)
    assert further.config == taught.config
    assert second.distance_before == pytest.approx(first.distance), "what plain words are read as has not moved"
    assert second.distance < first.distance


def test_the_same_seed_gives_the_same_weights() -> None:
    plan = replace(PLAN, steps=3)
    one, other = (learn(trained(), plan)[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("not json", "is no JSON"),
        ('["a", "b"]', "object of two texts"),
        ('{"words": "a"}', "object of two texts"),
        ('{"words": "a", "plain": " "}', "object of two texts"),
        ('{"words": "a", "plain": 1}', "object of two texts"),
    ],
)
def test_a_line_that_is_no_pair_is_told_with_its_number(tmp_path: Path, line: str, told: str) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"words": "a", "plain": "b"}\n' + line + "\n")
    with pytest.raises(TrainingError, match=f"line 2.*{told}"):
        read_pairs(file)


def test_too_few_pairs_and_a_file_that_is_none_are_told(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"words": "a", "plain": "b"}\n' * 63)
    with pytest.raises(TrainingError, match="63 pairs; give 64"):
        read_pairs(file)
    with pytest.raises(TrainingError, match="cannot be read"):
        read_pairs(tmp_path)


def test_pairs_of_which_a_text_would_be_cut_are_left_out() -> None:
    short, long = Pair("a cat, it rains", "a cat"), Pair("a cat walks left, it becomes a pig", "a pig")
    assert whole_pairs([short] * 64 + [long, Pair(long.plain, long.words)], ENCODER) == [short] * 64
    with pytest.raises(TrainingError, match="of 65 pairs 1 fit into the 24 tokens"):
        whole_pairs([short] + [long] * 64, ENCODER)


def test_pairs_of_one_plain_text_are_refused_before_anything_is_dreamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "gather_queries", None)
    same = [Pair(f"felis {number}", "cat") for number in range(64)]
    with pytest.raises(TrainingError, match="the first 60 pairs all have the plain text 'cat'"):
        learn_words(trained(), ENCODER, same, plan=PLAN, seed=0, device="cpu")


def test_texts_are_sampled_as_they_may_be_typed_each_once_and_again_by_the_seed() -> None:
    encoder = text_encoder_for(tiny_card())
    twice = [*pairs(), *pairs()]
    words = list(dict.fromkeys(pair.words for pair in twice))
    found = sample_texts(twice, encoder, seed=1)
    typed = encoder.encode(words).pooled
    assert len(found) == len(words)
    assert torch.allclose(found.sum(0), typed.sum(0), atol=1e-4)
    assert torch.equal(found, sample_texts(twice, encoder, seed=1))
    assert not torch.equal(found, sample_texts(twice, encoder, seed=2))


def test_the_command_writes_a_world_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, codec = trained(), Codec(config.tiny_codec())
    card = tiny_card()
    save_world(tmp_path / "world", card, model=model, codec=codec)
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(json.dumps({"words": pair.words, "plain": pair.plain}) for pair in pairs()))
    arguments = ["learn-words", "--model", str(tmp_path / "world"), "--pairs", str(file), "--device", "cpu"]
    assert cli.main([*arguments, "--out", str(tmp_path / "taught"), "--steps", "2"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["pairs"] == 200
    world = load_world(str(tmp_path / "taught"), device="cpu", dtype=torch.float32)
    assert world.card.model.refiner_depth == 2
    assert world.card.training["words_pairs"] == "200"
    assert world.learned is not None
    assert world.learned.shape == (len({pair.words for pair in pairs()}), card.model.text_dim)
    assert cli.main([*arguments, "--out", str(file)]) == cli.MISTAKE
    assert "cannot be made" in capsys.readouterr().err
