"""From a device to the host: frames that are shown, and buffers that are remembered, at the rate of the bus."""

import torch
from jaxtyping import Shaped
from torch import Tensor


def to_host(tensor: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """The same numbers on the host; a tensor that is there already is given back as it is.

    A GPU writes into page-locked memory by itself, where its driver copies into other memory piece by piece. torch
    hands a block of such memory out again once nothing refers to it: who keeps numbers for long keeps a copy of them.
    """
    if tensor.device.type != "cuda":
        return tensor.cpu()
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensor.device).synchronize()
    return host
