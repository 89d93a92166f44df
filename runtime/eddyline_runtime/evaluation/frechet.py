"""Fréchet distance between dreams and recordings, in the features of the probe.

Each window of frames is a point; a set of windows is taken for normally distributed. The squared distance of two normal
distributions is |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Dowson and Landau 1982; Heusel et al. 2017 for pictures,
Unterthiner et al. 2018 for video). It has a bias: of few clips it comes out too large, and the scenes they happen to
show weigh most of all. So dreams are compared with recordings of the very same scenes, as many windows of each, and
recordings of them with recordings of them once more, which is the ceiling.

Shapes: W windows, D features, K clips.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eddyline_runtime.evaluation.figures import Figure
from eddyline_runtime.evaluation.intervals import bootstrap, percentile_interval

_DRAWS = 200


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Mean and covariance of features."""

    mean: NDArray[np.float64]
    """[D]."""
    covariance: NDArray[np.float64]
    """[D, D]."""


class ClipFeatures:
    """The features of some clips, summed up clip by clip, so that clips can be drawn again quickly."""

    def __init__(self, clips: Sequence[NDArray[np.float32]]) -> None:
        """Clips are [W, D] each."""
        exact = [clip.astype(np.float64) for clip in clips]
        self._counts = np.array([len(clip) for clip in exact], np.float64)
        self._sums = np.stack([clip.sum(axis=0) for clip in exact])
        self._products = np.stack([clip.T @ clip for clip in exact])

    def __len__(self) -> int:
        return len(self._counts)

    def gaussian(self, drawn: NDArray[np.intp] | None = None) -> Gaussian:
        """The distribution of all windows, or of the windows of the clips `drawn`, each as often as it is drawn."""
        times = np.ones(len(self)) if drawn is None else np.bincount(drawn, minlength=len(self)).astype(np.float64)
        whole = float(times @ self._counts)
        centre = times @ self._sums / whole
        second = np.tensordot(times, self._products, axes=1) / whole
        return Gaussian(centre, (second - np.outer(centre, centre)) * whole / max(1.0, whole - 1))


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """The squared Fréchet distance; 0 or more."""
    root = _root(one.covariance)
    between = np.linalg.eigvalsh(root @ other.covariance @ root)
    shared = float(np.sqrt(between.clip(min=0)).sum())
    apart = float(((one.mean - other.mean) ** 2).sum())
    spread = float(np.trace(one.covariance) + np.trace(other.covariance)) - 2 * shared
    return max(0.0, apart + spread)


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return root


def frechet_figure(
    dreamed: Sequence[NDArray[np.float32]],
    recorded: Sequence[NDArray[np.float32]],
    again: Sequence[NDArray[np.float32]] | None = None,
) -> Figure:
    """How far dreams are from recordings of the same scenes, clip by clip [W, D]; `again`, recorded once more, is how
    far recordings are.

    The interval is over scenes, drawn with their dreams and recordings. Scenes drawn with replacement are as good as
    fewer scenes, so draws come out larger than the value itself: their deviations from their own mean are laid around
    the value.
    """
    ours, theirs = ClipFeatures(dreamed), ClipFeatures(recorded)
    value = frechet_distance(ours.gaussian(), theirs.gaussian())
    drawn = bootstrap(
        lambda rows: frechet_distance(ours.gaussian(rows), theirs.gaussian(rows)), len(ours), draws=_DRAWS
    )
    low, high = percentile_interval(drawn - drawn.mean())
    ceiling = None if again is None else frechet_distance(ClipFeatures(again).gaussian(), theirs.gaussian())
    return Figure(value=value, ci95=(max(0.0, value + low), value + high), n=len(ours), ceiling=ceiling)


def spread(features: NDArray[np.float32], windows: int) -> NDArray[np.float32]:
    """So many windows of a clip [W, D], evenly spread over it: all where it has no more."""
    chosen = np.linspace(0, len(features) - 1, min(windows, len(features))).round().astype(int)
    evenly: NDArray[np.float32] = features[chosen]
    return evenly
