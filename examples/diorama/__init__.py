"""Diorama: a small side-scrolling world drawn in code, playable, and the training set of the shipped model.

Run `python -m examples.diorama` to play, `python -m examples.diorama.record OUT --clips 100` to record.
"""
