"""Plain torch and OpenVINO: the same golden dream, the same bits each time, and what happens when OpenVINO does not do.

The golden dream is one of the tiny world, made by plain torch in float32; `python -m tests.runtime.test_networks` makes
it anew, which a change of the network, the noise or the sampler needs and nothing else should.
"""

from __future__ import annotations

import copy
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.runtime.seen import SeenChunk, with_latents
from torch import Tensor

from eddyline.errors import ConfigError
from eddyline_kernels.attention import reference as attention
from eddyline_kernels.modulation import rotary_operator as modulation
from eddyline_kernels.norm import operator as norm
from eddyline_runtime.bench.networks import in_turns
from eddyline_runtime.cli import main
from eddyline_runtime.config import EngineConfig, Partition, Profile
from eddyline_runtime.engine import Engine
from eddyline_runtime.model import codec, linear, streamdit
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.networks import choice, compiled
from eddyline_runtime.networks.choice import VARIABLE, computed_by, fitted
from eddyline_runtime.networks.compiled import CompiledCodec, CompiledStreamDiT, ConversionError
from eddyline_runtime.networks.difference import fixed_call, relative
from eddyline_runtime.prompts import Wish
from eddyline_runtime.weights import World, load_world

GOLDEN = Path(__file__).parent.parent / "golden" / "dream_tiny.safetensors"
LATENTS_TOLERANCE = 1e-3
"""Sums in another order, over the calls of six chunks."""
GREY_LEVELS = 1
CHUNKS = 6
EVENT_AT = 2
PROFILE = Profile(partition=Partition(num_chunks=4, chunk_frames=2), event_guidance_scale=2.5)
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="needs OpenVINO")


def dreamt(world: World, *, event: bool = True) -> list[SeenChunk]:
    """Chunks of one of two views in a batch, of which it is told of an event."""
    card = replace(world.card, profiles={"test": PROFILE}, default_profile="test")
    engine = with_latents(Engine(replace(world, card=card), EngineConfig(paced=False), clock=lambda: 0.0))
    for view, prompt in ((1, "a fox"), (2, "a pig")):
        engine.open_view(view, prompt=prompt, seed=7)
    made: list[SeenChunk] = []
    while len(made) < CHUNKS:
        outcomes = [outcome for outcome in engine.tick(0.0) if isinstance(outcome, SeenChunk) and outcome.view == 1]
        made += outcomes
        if outcomes and len(made) == EVENT_AT and event:
            engine.say(1, Wish(id=1, verb="event", text="rain", at="now", hold_frames=16))
    return made


def as_tensors(chunks: list[SeenChunk]) -> dict[str, Tensor]:
    frames = np.stack([chunk.frames[-1] for chunk in chunks])
    return {"latents": torch.stack([chunk.latents for chunk in chunks]), "last_frames": torch.from_numpy(frames)}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def fast(tiny: World, cache: Path) -> World:
    """The tiny world in OpenVINO, which the default choice takes."""
    return fitted(tiny, cache=cache, choice="auto")


@pytest.fixture(scope="module")
def on_gpu(tiny: World) -> World:
    """The tiny world on a GPU, where norms and modulation are the Triton kernels and calls are CUDA graphs."""
    return replace(tiny, model=copy.deepcopy(tiny.model).cuda(), codec=copy.deepcopy(tiny.codec).cuda())


@pytest.fixture(
    params=[
        "tiny",
        pytest.param("fast", marks=needs_openvino),
        pytest.param("on_gpu", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
    ]
)
def world(request: pytest.FixtureRequest) -> World:
    found: World = request.getfixturevalue(request.param)
    assert computed_by(found) == ("openvino float32" if request.param == "fast" else "torch float32")
    return found


def test_the_golden_dream_is_dreamed_by_whoever_computes_the_networks(world: World) -> None:
    dream, golden = as_tensors(dreamt(world)), load_file(GOLDEN)
    torch.testing.assert_close(dream["latents"], golden["latents"], atol=LATENTS_TOLERANCE, rtol=0.0)
    assert (dream["last_frames"].int() - golden["last_frames"].int()).abs().max() <= GREY_LEVELS


def test_equal_inputs_give_equal_bits_and_an_event_changes_none_before_its_chunk(world: World) -> None:
    first, again, without = dreamt(world), dreamt(world), dreamt(world, event=False)
    for index, (one, two, other) in enumerate(zip(first, again, without, strict=True)):
        assert torch.equal(one.latents, two.latents)
        assert np.array_equal(one.frames, two.frames)
        assert torch.equal(one.latents, other.latents) == (index < EVENT_AT)
        assert np.array_equal(one.frames, other.frames) or index >= EVENT_AT


SIGNAL_AFTER_WORLDS = """
import gc, signal, torch
from eddyline_runtime.networks.choice import fitted
from eddyline_runtime.weights import load_world

plain = load_world("tiny", random_weights=True, dtype=torch.float32)
for _ in range(2):
    fast = fitted(plain, cache=None, choice="openvino")
del fast
gc.collect()
signal.signal(signal.SIGINT, lambda number, frame: print("handled"))
signal.raise_signal(signal.SIGINT)
"""


@needs_openvino
def test_a_signal_is_still_handled_when_worlds_in_openvino_have_come_and_gone() -> None:
    done = subprocess.run([sys.executable, "-c", SIGNAL_AFTER_WORLDS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@needs_openvino
def test_a_second_start_reads_what_the_first_converted(
    tiny: World, fast: World, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(*_: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr("eddyline_runtime.networks.compiled._converted", convert)
    again = fitted(tiny, cache=cache, choice="openvino")
    call = fixed_call(tiny, PROFILE.partition, 1)
    with torch.inference_mode():
        assert torch.equal(again.model(*call), fast.model(*call))


@needs_openvino
def test_openvino_is_imported_without_its_telemetry(fast: World) -> None:
    assert "openvino" in sys.modules
    assert sys.modules["openvino_telemetry"] is None


@needs_openvino
def test_a_buffer_that_no_profile_has_runs_in_plain_torch_and_is_warned_of_once(
    tiny: World, fast: World, caplog: pytest.LogCaptureFixture
) -> None:
    call = fixed_call(tiny, Partition(num_chunks=3, chunk_frames=1), 1)
    with torch.inference_mode():
        for _ in range(2):
            assert torch.equal(fast.model(*call), tiny.model(*call))
    assert [record.getMessage() for record in caplog.records] == [
        "buffers of 3 latent frames run in plain torch, which is slower: no profile has them"
    ]


class Wrong:
    """Networks that answer the same whatever they are asked."""

    def __init__(self, answer: float) -> None:
        self.answer = answer

    def streamdit(self, plain, sizes, **_: object) -> CompiledStreamDiT:
        return CompiledStreamDiT(plain, dict.fromkeys(sizes, lambda latents, *_: torch.full_like(latents, self.answer)))

    def codec(self, plain: Codec, *_: object, **__: object) -> CompiledCodec:
        def frames(latents: Tensor, _: Tensor) -> Tensor:
            rows, count, _, height, width = latents.shape
            return torch.full((rows, 4 * count, 3, 8 * height, 8 * width), self.answer)

        return CompiledCodec(plain, frames)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[object, object], None]:
    """Let OpenVINO be installed, and compile as the test says."""

    def install(streamdit: object, codec: object) -> None:
        monkeypatch.setattr(choice, "find_spec", lambda name: object())
        monkeypatch.setattr(choice, "compile_streamdit", streamdit)
        monkeypatch.setattr(choice, "compile_codec", codec)

    return install


def fails(*_: object, **__: object) -> None:
    raise ConversionError("OpenVINO cannot take StreamDiT: no such operator")


def right_streamdit(plain, sizes, **_: object) -> CompiledStreamDiT:
    return CompiledStreamDiT(plain, {})


WRONG, NOT_A_NUMBER = Wrong(0.5), Wrong(float("nan"))
OBSTACLES = {
    "a wrong velocity": (WRONG.streamdit, WRONG.codec, "the velocity differs by"),
    "no velocity": (NOT_A_NUMBER.streamdit, WRONG.codec, "the velocity differs by nan"),
    "wrong frames": (right_streamdit, WRONG.codec, "a frame differs by"),
    "no conversion": (fails, fails, "no such operator"),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_networks_that_cannot_be_trusted_leave_plain_torch_and_say_why(
    tiny: World, installed: Callable[..., None], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    streamdit, codec, reason = OBSTACLES[name]
    installed(streamdit, codec)
    assert fitted(tiny, cache=None, choice="auto") is tiny
    assert [record.levelno for record in caplog.records if reason in record.getMessage()] == [logging.WARNING]
    with pytest.raises(ConfigError, match=reason):
        fitted(tiny, cache=None, choice="openvino")


def test_without_openvino_plain_torch_runs_and_whoever_asks_for_it_is_told_what_to_install(
    tiny: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    assert fitted(tiny, cache=None, choice="auto") is tiny
    assert not caplog.records
    with pytest.raises(ConfigError, match=r"pip install .*\[openvino\]"):
        fitted(tiny, cache=None, choice="openvino")


def test_the_environment_overrides_the_choice(tiny: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_unavailable", lambda world: pytest.fail("torch was asked for"))
    monkeypatch.setenv(VARIABLE, "torch")
    assert fitted(tiny, cache=None) is tiny
    monkeypatch.setenv(VARIABLE, "onnx")
    with pytest.raises(ConfigError, match="onnx is not a choice; use one of auto, torch, openvino"):
        fitted(tiny, cache=None)


def test_a_network_too_large_to_be_held_twice_is_not_converted(
    tiny: World, installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(fails, fails)
    monkeypatch.setattr(choice, "MAX_PARAMETERS", 10)
    with pytest.raises(ConfigError, match="up to 10 parameters"):
        fitted(tiny, cache=None, choice="openvino")


def test_differences_are_relative_and_nan_is_no_small_one() -> None:
    ones = torch.ones(4)
    assert relative(ones * 1.5, ones) == pytest.approx(0.5)
    assert relative(ones, ones) == 0.0
    assert np.isnan(relative(ones * float("nan"), ones))


def test_a_converted_network_is_of_all_the_code_that_is_in_it() -> None:
    """Code of the model and of the kernels: what a change of any of it makes is another network."""
    modules = (attention, modulation, norm, codec, linear, streamdit, compiled)
    assert {Path(str(module.__file__)) for module in modules} <= set(compiled._sources())


@needs_openvino
def test_the_bench_of_networks_tells_who_ran_and_how_much_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "networks.json"
    assert main(["bench", "networks", "--model", "tiny", "--random-weights", "--rounds", "1", "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert (found["plain"].split()[0], found["fast"].split()[0]) == ("torch", "openvino")
    assert set(found["measured_on"]) == {"world", "profile", "threads", "machine", "versions", "date"}
    for name in ("denoise_1", "denoise_8", "decode_1", "decode_8"):
        row = found[name]
        assert row["ratio"] == pytest.approx(row["plain_ms"] / row["fast_ms"])


def test_runs_in_turns_are_told_by_their_medians_without_the_first() -> None:
    now_s, ran = [0.0], []

    def run(name: str, *taken_s: float) -> Callable[[], object]:
        left_s = iter((9.0, 9.0, *taken_s))

        def spend() -> None:
            ran.append(name)
            now_s[0] += next(left_s)

        return spend

    times = in_turns([run("a", 1.0, 3.0, 2.0), run("b", 4.0, 5.0, 9.0)], rounds=3, clock=lambda: now_s[0])
    assert times == [2000.0, 5000.0]
    assert ran == ["a", "b"] * 5


if __name__ == "__main__":
    torch.set_num_threads(1)
    save_file(as_tensors(dreamt(load_world("tiny", dtype=torch.float32, random_weights=True))), GOLDEN)
