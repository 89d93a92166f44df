"""The rivals: ways to make long video with the same weights and no training, as others published them.

Each takes a velocity function and noise, knows no network, and yields clean latent frames without end.
"""
