"""StreamDiT: its size, and who in a batch sees what."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eddyline_kernels.modulation.reference import rotate
from eddyline_runtime import config
from eddyline_runtime.config import ModelConfig
from eddyline_runtime.model.streamdit import (
    Conditioning,
    StreamDiT,
    precondition,
    rotary_table,
    tau_features,
)
from eddyline_runtime.weights import World

FRAMES = 5
ALONE = replace(config.tiny(), window=(1, 2, 2))
"""Windows of one latent frame: nothing joins latent frames, so what changes one must not change another."""


def network(sizes: ModelConfig) -> StreamDiT:
    """A network with every parameter drawn at random, so that nothing is switched off by a zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = StreamDiT(sizes)
        for name, parameter in model.named_parameters():
            spread = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.1
            nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=spread)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def alone() -> StreamDiT:
    return network(ALONE)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def words(*, batch: int = 2, texts: int = 3, tokens: int = 6) -> Conditioning:
    lengths = torch.arange(texts) % tokens + 1
    return Conditioning(
        text=draw(texts, tokens, 32, seed=1),
        text_mask=torch.arange(tokens) < lengths[:, None],
        text_index=(torch.arange(batch)[:, None] + torch.arange(FRAMES)) % texts,
        actions=draw(batch, FRAMES, 5, seed=2).clamp(-1, 1),
        stride=torch.tensor([1, 2, 4])[torch.arange(batch) % 3][:, None].expand(-1, FRAMES),
    )


def latents(batch: int = 2) -> Tensor:
    return draw(batch, FRAMES, 4, 4, 6)


def tau(batch: int = 2) -> Tensor:
    return torch.linspace(0.9, 0.1, FRAMES).expand(batch, -1).clone()


def changed_frames(before: Tensor, after: Tensor) -> list[list[int]]:
    """Which latent frames of each row differ by more than rounding."""
    differs = ((before - after).abs() > 1e-4).flatten(2).any(2)
    return [row.nonzero()[:, 0].tolist() for row in differs]


@pytest.mark.parametrize(("preset", "billions"), [(config.streamdit_4b, 4), (config.streamdit_30b, 30)])
def test_the_papers_presets_have_the_papers_size_and_are_built_without_memory(preset: object, billions: int) -> None:
    assert callable(preset)
    with torch.device("meta"):
        model = StreamDiT(preset())
    assert all(t.is_meta for t in (*model.parameters(), *model.buffers()))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(billions * 1e9, rel=0.05)


def test_the_embedded_model_ships_in_less_than_fifty_megabytes() -> None:
    with torch.device("meta"):
        model = StreamDiT(config.diorama())
    assert sum(p.numel() for p in model.parameters()) * 2 < 50e6, "bf16"


def test_a_fresh_network_answers_the_best_linear_guess() -> None:
    """Blocks start as the identity and the answer as zero, so only the preconditioning speaks."""
    model = StreamDiT(config.tiny()).eval()
    model.latent_deviation.copy_(torch.tensor([0.5, 1.0, 2.0, 3.0]))
    with torch.inference_mode():
        velocity = model(latents(), tau(), words())
    t, d = tau()[..., None, None, None], model.latent_deviation[:, None, None]
    slope = (t * d**2 - (1 - t)) / (t**2 * d**2 + (1 - t) ** 2)
    torch.testing.assert_close(velocity, slope * latents())


@pytest.mark.parametrize("deviation", [0.3, 1.0, 2.5])
def test_the_preconditioning_is_linear_regression_for_gaussian_latents(deviation: float) -> None:
    taus = np.linspace(0, 1, 21)
    # covariances of x = tau x1 + (1 - tau) x0 and v = x1 - x0 for independent x0 ~ N(0, 1), x1 ~ N(0, deviation^2)
    mix = np.stack([taus, 1 - taus])  # x in terms of (x1, x0)
    sources = np.array([deviation**2, 1.0])
    var_x = (mix**2 * sources[:, None]).sum(0)
    cov_vx = mix[0] * sources[0] - mix[1] * sources[1]
    slope = cov_vx / var_x
    missed = sources.sum() - cov_vx**2 / var_x
    from_noisy, from_answer = precondition(torch.from_numpy(taus)[None], torch.tensor([deviation]))
    assert from_noisy.shape == from_answer.shape == (1, 21, 1, 1, 1)
    np.testing.assert_allclose(from_noisy.flatten().numpy(), slope, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(from_answer.flatten().numpy() ** 2, missed, rtol=1e-4, atol=1e-6)


def test_every_latent_frame_has_a_tau_of_its_own(alone: StreamDiT) -> None:
    before = alone(latents(), tau(), words())
    moved = tau()
    moved[1, 3] = 0.77
    assert changed_frames(before, alone(latents(), moved, words())) == [[], [3]]


@pytest.mark.parametrize("route", ["cross-attention", "summary"])
def test_a_latent_frame_sees_no_text_but_its_own(route: str) -> None:
    """By each of the two ways that words take into the network, the other one cut."""
    model = network(ALONE)
    for layer in [model.text_summary] if route == "cross-attention" else [block.text_out for block in model.blocks]:
        nn.init.zeros_(layer.weight)
    conditioning = words()
    before = model(latents(), tau(), conditioning)
    for number in range(3):
        text = conditioning.text.clone()
        text[number] *= -1
        after = model(latents(), tau(), replace(conditioning, text=text))
        under = [(row == number).nonzero()[:, 0].tolist() for row in conditioning.text_index]
        assert changed_frames(before, after) == under


def test_a_latent_frame_has_actions_of_its_own(alone: StreamDiT) -> None:
    conditioning = words()
    before = alone(latents(), tau(), conditioning)
    actions = conditioning.actions.clone()
    actions[0, 1, 4] += 1.0
    assert changed_frames(before, alone(latents(), tau(), replace(conditioning, actions=actions))) == [[1], []]


def test_windows_join_latent_frames() -> None:
    """The counterpart of the tests above: with windows of two latent frames, shifted, a change does spread."""
    model = network(config.tiny())
    moved = latents()
    moved[0, 0] += 1.0
    before, after = model(latents(), tau(), words()), model(moved, tau(), words())
    rows = changed_frames(before, after)
    assert rows[1] == []
    assert rows[0] == [0, 1, 2], "block 0 joins frames 0-1, block 1 (shifted) 1-2"


def test_text_that_no_frame_is_under_changes_nothing(tiny: World) -> None:
    conditioning = replace(words(), text_index=torch.tensor([[0, 0, 1, 1, 1]] * 2))
    text = conditioning.text.clone()
    text[2] = draw(6, 32, seed=8) * 30
    before = tiny.model(latents(), tau(), conditioning)
    torch.testing.assert_close(tiny.model(latents(), tau(), replace(conditioning, text=text)), before)
    fewer = replace(conditioning, text=conditioning.text[:2], text_mask=conditioning.text_mask[:2])
    torch.testing.assert_close(tiny.model(latents(), tau(), fewer), before, rtol=1e-4, atol=1e-5)


def test_the_order_of_the_texts_changes_nothing(tiny: World) -> None:
    conditioning, order = words(), torch.tensor([2, 0, 1])
    shuffled = replace(
        conditioning,
        text=conditioning.text[order],
        text_mask=conditioning.text_mask[order],
        text_index=torch.argsort(order)[conditioning.text_index],
    )
    before, after = (tiny.model(latents(), tau(), c) for c in (conditioning, shuffled))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_padding_tokens_change_nothing(tiny: World) -> None:
    conditioning = words()
    padded = replace(
        conditioning,
        text=torch.cat([conditioning.text, draw(3, 4, 32, seed=9) * 30], dim=1),
        text_mask=torch.cat([conditioning.text_mask, torch.zeros(3, 4, dtype=torch.bool)], dim=1),
    )
    before, after = (tiny.model(latents(), tau(), c) for c in (conditioning, padded))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_rows_of_a_batch_do_not_see_each_other(tiny: World) -> None:
    conditioning = words(batch=3)
    together = tiny.model(latents(3), tau(3), conditioning)
    for row in range(3):
        one = Conditioning(
            text=conditioning.text,
            text_mask=conditioning.text_mask,
            text_index=conditioning.text_index[row : row + 1],
            actions=conditioning.actions[row : row + 1],
            stride=conditioning.stride[row : row + 1],
        )
        lonely = tiny.model(latents(3)[row : row + 1], tau(1), one)
        torch.testing.assert_close(together[row : row + 1], lonely, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("what", ["text_index", "actions", "stride"])
def test_words_actions_and_stride_all_change_the_velocity(tiny: World, what: str) -> None:
    conditioning = words()
    other = {
        "text_index": (conditioning.text_index + 1) % 3,
        "actions": -conditioning.actions,
        "stride": torch.tensor([[4] * FRAMES, [1] * FRAMES]),
    }
    before = tiny.model(latents(), tau(), conditioning)
    after = tiny.model(latents(), tau(), replace(conditioning, **{what: other[what]}))
    assert (before - after).abs().mean().item() > 1e-3


def test_every_parameter_takes_part() -> None:
    model = network(config.tiny()).requires_grad_(True)
    model(latents(3), tau(3), words(batch=3)).square().sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert idle == []


def test_the_velocity_is_float32_and_close_in_bf16(tiny: World) -> None:
    low = StreamDiT(tiny.model.config)
    low.load_state_dict(tiny.model.state_dict())
    exact, rough = tiny.model(latents(), tau(), words()), low.bfloat16()(latents(), tau(), words())
    assert exact.dtype == rough.dtype == torch.float32
    assert (exact - rough).abs().mean().item() < 0.03 * exact.abs().mean().item()


def test_rotary_positions_count_only_as_differences() -> None:
    table = rotary_table(4, 3, 5, 16, torch.device("cpu"))
    assert table.shape == (2, 60, 16)
    q, k = (draw(1, 1, 2, 16, seed=s).expand(1, 60, 2, 16) for s in (0, 1))
    turned_q, turned_k = rotate(q, table), rotate(k, table)
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm(dim=-1))
    products = torch.einsum("bnhd,bmhd->nmh", turned_q, turned_k).view(4, 3, 5, 4, 3, 5, 2)
    torch.testing.assert_close(products[0, 0, 0, 1, 1, 2], products[2, 1, 2, 3, 2, 4])
    for axis_step in (products[0, 0, 0, 1, 0, 0], products[0, 0, 0, 0, 1, 0], products[0, 0, 0, 0, 0, 1]):
        assert (axis_step - products[0, 0, 0, 0, 0, 0]).abs().max().item() > 1e-3, "every axis turns something"


def test_tau_features_tell_close_taus_apart_and_stay_bounded() -> None:
    features = tau_features(torch.linspace(0, 1, 101)[None])[0]
    assert features.shape == (101, 128)
    assert features.abs().max().item() <= 1
    assert torch.pdist(features).min().item() > 0.1


@pytest.mark.parametrize(
    "change", [{"heads": 5}, {"heads": 8}, {"latent_height": 5}, {"latent_width": 7}], ids=lambda c: str(*c.items())
)
def test_sizes_that_do_not_split_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(config.ConfigError, match="does not split"):
        replace(config.tiny(), **change)


def test_shapes_in_signatures_are_true() -> None:
    """The whole path under jaxtyping and beartype, in a process of its own: the hook comes before the import."""
    program = """
        from jaxtyping import TypeCheckError, install_import_hook

        names = ["eddyline_runtime.model", "eddyline_runtime.flow", "eddyline_kernels"]
        with install_import_hook(names, "beartype.beartype"):
            import eddyline_runtime.model.streamdit as dit, eddyline_runtime.model.codec as codecs
            import eddyline_runtime.model.text_encoder as encoders
            from eddyline_runtime.flow import buffer, loss, noise, partition, sampler
        import torch
        from eddyline_runtime import config
        from eddyline_runtime.config import Partition

        sizes = config.tiny()
        model, codec = dit.StreamDiT(sizes), codecs.Codec(config.tiny_codec())
        texts = encoders.ByteTextEncoder(dim=sizes.text_dim).encode(["", "a red knight"])
        for references, chunk_frames in ((0, 2), (3, 1)):
            cut = Partition(reference_frames=references, num_chunks=2, chunk_frames=chunk_frames)
            frames = cut.buffer_frames
            words = dit.Conditioning(texts.states, texts.mask, torch.ones(2, frames, dtype=torch.int64),
                                     torch.zeros(2, frames, sizes.action_dim),
                                     torch.tensor([[1], [4]]).expand(-1, frames)).to("cpu")
            latents = torch.stack([noise.noise_latents(seed=s, epoch=0, first_index=0, frames=frames, shape=(4, 4, 6))
                                   for s in (0, 1)])
            field = lambda x, tau: sampler.guided(model(x, tau, words), model(x, tau, words), 2.0)
            opened = [sampler.Opening(row, cut) for row in latents]
            while not opened[0].complete:
                sampler.advance_openings(opened, field)
            latents = sampler.denoise_tick(field, torch.stack([opening.slots() for opening in opened]), cut)
            clean, latents = buffer.shift(latents, cut, torch.randn(2, cut.chunk_frames, 4, 4, 6))
            drawn = loss.flow_sample(latents, [cut, cut], torch.Generator())
            drawn = loss.flow_sample(latents, [cut, cut], torch.Generator(), denoise_steps=4)
            answer = model(drawn.latents, drawn.tau, words)
            loss.flow_matching_loss(answer, loss.guided_sample(drawn, answer, answer.detach(), 2.0)).backward()
            pictures, state = codec.decode(clean)
            codec.encode(pictures)
            codec.decode(clean[:1], codecs.stack_states([state.row(1)]))
        codec.fit_linear(torch.randn(800, 768))
        try:
            dit.precondition(torch.zeros(2, 3), torch.zeros(2, 3))
        except TypeCheckError:
            print("checked")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "checked"), done.stderr
