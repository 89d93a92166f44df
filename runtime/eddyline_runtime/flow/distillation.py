"""Multistep distillation (StreamDiT, sec. 4.2): the student answers in one call what the teacher makes in several.

The way from noise to clean is cut where the served sampler stops, and each piece is distilled by itself: the teacher
walks it in small guided Euler steps, and the student's target is the straight line to where the teacher ended. All
chunks of a buffer walk at once, each in its own piece. The paper publishes no loss; this is the plain reading.

Shapes: B batch, F latent frames, C channels, Y X latent height and width.
"""

from dataclasses import replace

import torch

from eddyline_runtime.flow.loss import FlowSample
from eddyline_runtime.flow.sampler import VelocityFn


@torch.no_grad()
def distillation_sample(teacher: VelocityFn, start: FlowSample, *, step: float, teacher_steps: int) -> FlowSample:
    """The sample with the teacher's mean velocity over the student's next step as its target.

    Args:
        teacher: guided as it shall be copied.
        start: noised where the student's sampler stops; latent frames without weight (reference frames) stay put.
        step: how far one call of the student moves tau, 1/T.
        teacher_steps: Euler steps the teacher takes for it, >= 1.
    """
    delta = start.weight * (step / teacher_steps)
    latents = start.latents
    for number in range(teacher_steps):
        latents = latents + teacher(latents, start.tau + number * delta) * delta[..., None, None, None]
    return replace(start, velocity=(latents - start.latents) / step)
