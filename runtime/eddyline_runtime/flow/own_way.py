"""Windows that the network itself has walked a little: what it makes of noise is not what recordings with noise are,
and in a stream it sees nothing else.

A chunk is noised where it was some steps earlier, and the network walks those steps; from where that ends, the target
leads straight to the recording, as the flow's velocity does from anywhere: v = (x_1 - x_tau) / (1 - tau) (Lipman et al.
2022, "Flow Matching for Generative Modeling", eq. 21 with sigma_min 0). So it learns to mend what it does. As in
DAgger (Ross et al. 2011), the states are the learner's own and the answers are not.

Shapes: B batch, F latent frames, C channels, Y X latent height and width.
"""

from dataclasses import replace

import torch

from eddyline_runtime.flow.loss import FlowSample
from eddyline_runtime.flow.sampler import VelocityFn


@torch.no_grad()
def own_way_sample(network: VelocityFn, sample: FlowSample, *, step: float, steps: int) -> FlowSample:
    """The sample with latents that the network made over its last `steps` steps of `step` in tau.

    Latent frames whose way would begin before tau = `step` keep no weight: their noise says too little of the recording
    for it to be what they should become. They walk along as far as they were on their way.
    """
    tau, moves = sample.tau, sample.weight > 0
    noise = sample.latents - tau[..., None, None, None] * sample.velocity
    first = torch.where(moves, tau - steps * step, tau)
    begin = first.clamp(min=0.0)
    latents = noise + begin[..., None, None, None] * sample.velocity
    clean = noise + sample.velocity
    for number in range(steps):
        now, then = (torch.where(moves, first + k * step, tau).clamp(min=0.0) for k in (number, number + 1))
        latents = latents + network(latents, now) * (then - now)[..., None, None, None]
    left = torch.where(moves, 1 - tau, 1.0)[..., None, None, None]
    shown = first > step * (1 - 1e-3)
    return replace(sample, latents=latents, velocity=(clean - latents) / left, weight=sample.weight * shown)
