"""The bench of a world's networks: its figures, and memory counted before anything is made."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from eddyline.errors import ConfigError
from eddyline_kernels import backend
from eddyline_runtime import config
from eddyline_runtime.bench import model as bench_model
from eddyline_runtime.cli import main
from eddyline_runtime.model.memory import denoising_bytes, dream_memory, most_held
from eddyline_runtime.model.streamdit import Conditioning, StreamDiT
from eddyline_runtime.precision import default_dtype
from eddyline_runtime.training.rank_memory import rank_memory
from eddyline_runtime.weights import World, large_card

CPU = torch.device("cpu")
FRAMES, TOKENS = 5, 7


def test_what_is_counted_without_numbers_is_what_a_call_really_holds() -> None:
    sizes = config.tiny()
    model = StreamDiT(sizes).eval()
    words = Conditioning(
        text=torch.randn(2, TOKENS, sizes.text_dim),
        text_mask=torch.ones(2, TOKENS, dtype=torch.bool),
        text_index=torch.zeros(2, FRAMES, dtype=torch.long),
        actions=torch.zeros(2, FRAMES, sizes.action_dim),
        stride=torch.ones(2, FRAMES, dtype=torch.long),
    )
    latents, tau = torch.randn(2, FRAMES, 4, 4, 6), torch.rand(2, FRAMES)
    held = most_held(lambda: model(latents, tau, words))
    given = sum(t.nbytes for t in (latents, tau, words.text))
    counted = denoising_bytes(sizes, device=CPU, dtype=torch.float32, views=2, frames=FRAMES, text_tokens=TOKENS)
    assert counted == pytest.approx(held + given, rel=0.1), "one block stands for all"


def test_tensors_that_were_given_back_are_not_held() -> None:
    def call() -> None:
        a = torch.empty(100)
        b = a + 1
        del a
        torch.cat([b, b])

    assert most_held(call) == 4 * (100 + 200)


def test_more_views_need_more_and_the_kernels_of_a_gpu_need_less(monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(views: int, device: torch.device) -> int:
        return denoising_bytes(
            config.diorama(), device=device, dtype=torch.bfloat16, views=views, frames=8, text_tokens=40
        )

    one = counted(1, CPU)
    assert 1.9 * one < counted(2, CPU) < 2.1 * one
    gpu_with_triton(monkeypatch)
    assert counted(1, torch.device("cuda")) < one


def gpu_with_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that the choice of kernels asks for is missing."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(backend, "_driver_obstacle", lambda: None)
    monkeypatch.setattr(backend, "find_spec", lambda name: object())
    monkeypatch.setattr(backend, "triton_version", lambda: (3, 6))


def test_memory_is_counted_also_where_triton_is_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_with_triton(monkeypatch)

    def counted() -> tuple[int, int]:
        dreaming = dream_memory(
            config.tiny(),
            replace(config.tiny_codec(), filter_reach=16.0),
            device=torch.device("cuda"),
            dtype=torch.bfloat16,
            views=1,
            frames=8,
            chunk_frames=2,
            text_tokens=24,
        )
        training = rank_memory(config.tiny(), ranks=2, rows=1, frames=8, text_tokens=24, dtype=torch.bfloat16)
        return dreaming.total, training.total

    as_it_is = counted()
    monkeypatch.setenv(backend.VARIABLE, "triton")
    assert counted() == pytest.approx(as_it_is, rel=0.01)


def test_the_4b_model_is_counted_and_refused_with_the_figure_before_it_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_model, "load_world", lambda *args, **options: pytest.fail("it was made"))
    with pytest.raises(ConfigError, match=r"streamdit_4b with 1 view needs \d+\.\d\d GB, 8\.00 GB are free; use fewer"):
        bench_model.measure_world(
            "streamdit_4b", profile=None, device="cpu", random_weights=True, views=1, ticks=1, free=lambda d: 8 * 10**9
        )
    memory = dream_memory(
        config.streamdit_4b(),
        large_card("streamdit_4b", config.streamdit_4b()).codec,
        device=CPU,
        dtype=default_dtype("cpu"),
        views=1,
        frames=16,
        chunk_frames=2,
        text_tokens=512,
    )
    assert f"streamdit_4b needs {memory.total / 1e9:.2f} GB" in capsys.readouterr().out
    assert memory.loading == pytest.approx(4 * 4e9, rel=0.05), "made in float32"
    assert memory.weights == pytest.approx(4e9 * default_dtype("cpu").itemsize, rel=0.05)


def test_batches_that_do_not_fit_are_refused_and_the_others_measured(tiny: World) -> None:
    views = 3
    needed = dream_memory(
        tiny.card.model,
        tiny.card.codec,
        device=CPU,
        dtype=default_dtype("cpu"),
        views=views,
        frames=8,
        chunk_frames=2,
        text_tokens=24,
    ).total
    room = int(needed * bench_model.SPARE) - 1
    results = bench_model.measure_world(
        "tiny", profile=None, device="cpu", random_weights=True, views=views, ticks=1, free=lambda d: room
    )
    assert ["refused" in row for row in results["batches"]] == [False] * (views - 1) + [True]
    assert f"tiny with {views} views needs" in "\n".join(bench_model.table(results))


def test_figures_follow_from_the_times_of_a_tick(tiny: World) -> None:
    ticks = count()
    row = bench_model.measure_batch(
        tiny, tiny.card.profiles["smooth"], views=3, ticks=2, clock=lambda: next(ticks) * 0.25
    )
    assert row["denoise_ms"] == row["decode_ms"] == {"p50": 250.0, "p95": 250.0}
    # 3 views, chunks of 2 latent frames, 4 frames each
    assert (row["denoised_frames_per_s"], row["frames_per_s"]) == (96.0, 48.0)
    assert row["real_time_factor"] == 1.0, "16 of 16 frames a second"


def spread(results: dict[str, Any], share: float) -> dict[str, Any]:
    """The results with so many times the median as the p95 of every batch."""
    rows = results["batches"]
    return {
        **results,
        "batches": [
            {**row, "denoise_ms": {"p50": row["denoise_ms"]["p50"], "p95": share * row["denoise_ms"]["p50"]}}
            for row in rows
        ],
    }


def test_what_takes_most_of_a_tick_is_told_of_the_smallest_and_of_the_largest_batch(tiny: World) -> None:
    results = bench_model.measure_world(
        "tiny", profile=None, device="cpu", random_weights=True, views=3, ticks=1, where=True
    )
    assert [looked_at["views"] for looked_at in results["where"]] == [1, 3]
    assert "aten::addmm" in {spent["name"] for spent in results["where"][1]["spent"]}, "the linear layers"
    assert "measure again" not in "\n".join(bench_model.table(spread(results, 1.0)))
    assert "p95 is up to 35 times the median" in "\n".join(bench_model.table(spread(results, 35.0)))
    untold = {**results, "where": [{"views": 1, "spent": []}]}
    assert "1 view: the device does not tell what ran on it" in "\n".join(bench_model.table(untold))


def test_the_command_writes_every_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.json"
    world = ["--model", "tiny", "--random-weights", "--threads", "1", "--profile", "responsive"]
    assert main(["bench", "model", *world, "--views", "2", "--ticks", "2", "--where", "--json", str(file)]) == 0
    results = json.loads(file.read_text())
    assert [row["views"] for row in results["batches"]] == [1, 2]
    assert all(row["real_time_factor"] > 0 for row in results["batches"])
    assert results["launches_per_tick"] == {}
    said = capsys.readouterr().out
    assert said.index("tiny needs") < said.index("free:") < said.index("real time")
    assert said.index("one tick of 1 view,") < said.index("one tick of 2 views,")
    assert "% " in said.splitlines()[-1]


def test_linears_in_fp8_are_measured_and_say_how_far_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.json"
    world = ["--model", "tiny", "--random-weights", "--threads", "1", "--views", "1", "--ticks", "1"]
    assert main(["bench", "model", *world, "--linears", "fp8", "--json", str(file)]) == 0
    results = json.loads(file.read_text())
    assert results["linears"] == "fp8"
    assert 0 < results["fp8_error"] < 0.05
    assert "linears in FP8, row by row: the velocity differs by" in capsys.readouterr().out


def test_a_gpu_needs_room_for_what_the_network_made_of_the_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(backend, "_driver_obstacle", lambda: None)
    sizes = config.streamdit_4b()
    counted = {
        device: dream_memory(
            sizes,
            large_card("streamdit_4b", sizes).codec,
            device=torch.device(device),
            dtype=torch.bfloat16,
            views=2,
            frames=16,
            chunk_frames=2,
            text_tokens=512,
        )
        for device in ("cpu", "cuda")
    }
    assert counted["cpu"].texts == 0
    one_text = sizes.depth * 2 * 512 * sizes.width * 2  # keys and values of every block, in two bytes
    assert counted["cuda"].texts == 3 * 2 * one_text, "of two views: kept, in one batch, and in its graph"


def test_mistakes_end_the_command_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "model", "--model", "tiny", "--random-weights", "--profile", "slow"]) == 2
    assert "profile 'slow' is unknown; tiny has responsive, smooth" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["bench", "model", "--model", "tiny", "--random-weights", "--device", "cuda"]) == 2
    assert "there is no GPU for --device cuda" in capsys.readouterr().err
