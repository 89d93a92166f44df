"""Numbers on their way from a device to the host."""

import pytest
import torch

from eddyline_runtime.host import to_host


def test_what_is_on_the_host_is_given_back_as_it_is():
    here = torch.arange(6).reshape(2, 3)
    assert to_host(here) is here


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_what_left_a_gpu_stays_what_it_is_when_more_leaves_it():
    first = torch.arange(1 << 20, device="cuda")
    kept = to_host(first).numpy()
    for _ in range(8):
        to_host(torch.zeros_like(first))
    assert (kept == first.cpu().numpy()).all()
