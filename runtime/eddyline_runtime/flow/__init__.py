"""Buffered flow matching: noise, partition, buffer, sampler, loss. Knows no network, it takes a velocity function."""
