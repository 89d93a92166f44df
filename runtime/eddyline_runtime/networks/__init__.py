"""Who computes a world's networks on a CPU: plain torch, or OpenVINO, once it was seen to answer as torch does."""

VARIABLE = "EDDYLINE_NETWORKS"
"""The environment variable that overrides who does, see `choice`."""
