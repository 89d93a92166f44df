"""The network on the Triton kernels: the same answer as on plain torch, and proof that it went through them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from eddyline_kernels import backend
from eddyline_runtime import config, weights
from eddyline_runtime.bench import exactness
from eddyline_runtime.model.streamdit import Conditioning, StreamDiT

FRAMES = 3


@pytest.mark.usefixtures("interpreter")
def test_every_block_of_the_network_launches_the_kernel_and_answers_as_on_plain_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = replace(config.tiny(), width=64)
    model = StreamDiT(sizes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1, generator=generator)
    latents = torch.randn(1, FRAMES, 4, 4, 6, generator=generator)
    words = Conditioning(
        text=torch.randn(1, 2, 32, generator=generator),
        text_mask=torch.ones(1, 2, dtype=torch.bool),
        text_index=torch.zeros(1, FRAMES, dtype=torch.int64),
        actions=torch.zeros(1, FRAMES, 5),
        stride=torch.ones(1, FRAMES, dtype=torch.int64),
    )
    tau = torch.rand(1, FRAMES, generator=generator)

    before = backend.launches.copy()
    with torch.no_grad():
        ours = model(latents, tau, words)
    depth = sizes.depth
    assert backend.launches - before == {
        "window_attention": depth, "norm_rotate": depth, "rms_norm": 2 * depth, "residual_norm": 3 * depth + 1
    }  # fmt: skip

    monkeypatch.setenv(backend.VARIABLE, "reference")
    with torch.no_grad():
        plain = model(latents, tau, words)
    assert plain.std() > 0.01
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("interpreter")
def test_what_the_engine_calls_goes_through_the_kernels_and_is_as_exact_as_plain_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = weights.tiny_card()
    profiles = {"short": config.Profile(partition=config.Partition(num_chunks=2, chunk_frames=2))}
    model = replace(card.model, width=64)  # heads that the kernels take
    card = replace(card, model=model, profiles=profiles, default_profile="short")
    monkeypatch.setitem(weights._UNTRAINED, "tiny", lambda: card)
    world = weights.load_world("tiny", random_weights=True, dtype=torch.float32)
    found = exactness.compare(world, world, profiles)
    assert found["right"]
    assert found["launches"]["window_attention"] == len(exactness.ROWS) * card.model.depth
    for row in found["velocities"]:
        assert 0 < row["ours"] < 1e-5
        assert row["ours"] != row["plain"], "float64 tells the kernels and plain torch apart"
