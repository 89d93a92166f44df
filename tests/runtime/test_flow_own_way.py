"""Windows that the network has walked itself: the states are its own, the answers are the recording's."""

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from eddyline_runtime.config import Partition
from eddyline_runtime.flow.loss import FlowSample, flow_sample
from eddyline_runtime.flow.own_way import own_way_sample

SMOOTH = Partition(num_chunks=4, chunk_frames=2)
RESPONSIVE = Partition(reference_frames=4, num_chunks=4, chunk_frames=1)


def drawn(seed: int = 0) -> tuple[Float[Tensor, "B F C Y X"], FlowSample]:
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randn(2, 8, 3, 4, 6, generator=generator)
    return clean, flow_sample(clean, (SMOOTH, RESPONSIVE), generator, denoise_steps=4)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_network_that_knows_the_way_comes_where_the_recording_with_noise_is(steps: int) -> None:
    _, sample = drawn()
    own = own_way_sample(lambda latents, tau: sample.velocity, sample, step=0.25, steps=steps)
    torch.testing.assert_close(own.latents, sample.latents, atol=1e-5, rtol=0)
    moving = sample.weight > 0
    torch.testing.assert_close(own.velocity[moving], sample.velocity[moving], atol=1e-5, rtol=0)
    assert torch.equal(own.tau, sample.tau)


def test_from_wherever_the_network_gets_the_target_leads_to_the_recording() -> None:
    clean, sample = drawn()
    own = own_way_sample(lambda latents, tau: torch.cos(7 * latents), sample, step=0.25, steps=2)
    moving = sample.weight > 0
    assert not torch.allclose(own.latents[moving], sample.latents[moving], atol=0.1)
    ends = own.latents + (1 - own.tau)[..., None, None, None] * own.velocity
    torch.testing.assert_close(ends[moving], clean[moving], atol=1e-5, rtol=0)


def test_the_network_is_asked_where_each_frame_is_and_reference_frames_stay_clean() -> None:
    clean, sample = drawn()
    asked: list[Float[Tensor, "B F"]] = []

    def network(latents: Tensor, tau: Tensor) -> Tensor:
        asked.append(tau)
        torch.testing.assert_close(latents[1, :4], clean[1, :4])
        return torch.ones_like(latents)

    own_way_sample(network, sample, step=0.25, steps=2)
    assert [tau[0].tolist() for tau in asked] == [[0.25] * 2 + [0.0] * 6, [0.5] * 2 + [0.25] * 2 + [0.0] * 4]
    assert [tau[1].tolist() for tau in asked] == [[1.0] * 4 + [0.25, 0, 0, 0], [1.0] * 4 + [0.5, 0.25, 0, 0]]


@pytest.mark.parametrize(("steps", "counted"), [(1, 2), (2, 1)])
def test_only_chunks_whose_way_began_in_sight_of_the_recording_count(steps: int, counted: int) -> None:
    _, sample = drawn()
    own = own_way_sample(lambda latents, tau: latents, sample, step=0.25, steps=steps)
    assert own.weight[0].tolist() == [1.0] * 2 * counted + [0.0] * (8 - 2 * counted)
    assert own.weight[1].tolist() == [0.0] * 4 + [1.0] * counted + [0.0] * (4 - counted)
