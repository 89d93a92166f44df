"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): momentum, then the nearest orthogonal matrix.

As `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`, but the orthogonalisation runs in a precision that the
device multiplies natively (torch's is bf16 always, which made a train step ten times slower on a processor without it),
and over all matrices of one shape at once.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from eddyline_runtime.precision import default_dtype

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(Optimizer):
    """For matrices; what else a network has goes to another optimiser.

    lr: > 0, scaled so that an update has the size that AdamW's has at this rate. weight_decay: >= 0. momentum: 0 to 1.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], *, lr: float, weight_decay: float, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no line search here
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            updates: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                buffer = state["momentum_buffer"]
                buffer.lerp_(parameter.grad, 1 - group["momentum"])
                updates[parameter.shape].append((parameter, parameter.grad.lerp(buffer, group["momentum"])))
            for shape, pairs in updates.items():
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                turned = orthogonalised(torch.stack([update for _, update in pairs]))
                for (parameter, _), update in zip(pairs, turned, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update.to(parameter), alpha=-rate)


def orthogonalised(matrices: Float[Tensor, "N M K"]) -> Float[Tensor, "N M K"]:
    """U V^T of each matrix U S V^T, roughly: singular values end between 0.7 and 1.2 (quintic Newton-Schulz)."""
    a, b, c = _COEFFICIENTS
    x = matrices.to(default_dtype(str(matrices.device)))
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
