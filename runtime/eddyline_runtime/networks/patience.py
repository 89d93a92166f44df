"""How long torch's OpenMP workers look out for the next operation before they sleep, beside OpenVINO's own threads.

By default that is some milliseconds, in which a worker of torch holds a core that the next network in OpenVINO wants.
With a third of a millisecond it is still awake for the next operation, and gone for the next network.
"""

import os
from importlib.util import find_spec

from eddyline_runtime.networks import VARIABLE

SPIN_COUNT = 20_000
"""Looks, each a pause of the processor; measured in runtime/SPEED_LOG.md."""


def rest_soon_beside_openvino(device: str) -> None:
    """Set libgomp's variable where OpenVINO may compute the networks of a device, unless it is set.

    To be called before torch is imported, which reads it once; whether OpenVINO will do is known only after that.
    """
    if device == "cpu" and os.environ.get(VARIABLE) != "torch" and find_spec("openvino") is not None:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))
