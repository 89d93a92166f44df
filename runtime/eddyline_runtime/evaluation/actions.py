"""Actions: a key goes down while a scene runs; does the hero do what the key says, and how soon?

Shapes: T frames, H W picture height and width.
"""

from collections.abc import Mapping, Sequence

from eddyline_runtime.evaluation.dreams import Cue, Frames, Script
from eddyline_runtime.evaluation.figures import Figure
from eddyline_runtime.evaluation.intervals import median, rate
from eddyline_runtime.evaluation.probe import WINDOW_FRAMES, Probe
from eddyline_runtime.evaluation.suite import Press

BEFORE_S = 1.5
"""How long a scene runs before the key goes down."""
WITHIN_S = 1.0
"""So soon the hero must go where the key says."""
KEPT_S = 1.0
"""And so long it must go on."""
AFTER_S = WITHIN_S + KEPT_S
"""How long it is watched after the press."""


def press_script(press: Press, seed: int, *, fps: float) -> Script:
    """The scene under its keys, then under the others. They count from the last frame made, so what a view holds ready
    comes on top."""
    cue = Cue(at=round(BEFORE_S * fps), keys=press.keys)
    return Script(prompt=press.scene.prompt, seed=seed, keys=press.scene.keys, cues=(cue,))


def press_delay_s(probe: Probe, press: Press, frames: Frames, *, fps: float, pressed_at: int) -> float | None:
    """Seconds from the press to the first window of the new value within `WITHIN_S` from which on it is also the
    likeliest over `KEPT_S`; None if there is none. Keys go down before frame `pressed_at`."""
    shares = probe.look(frames[pressed_at:])[press.attribute]
    wanted = probe.labels[press.attribute].index(press.value)
    kept = round(KEPT_S * fps / WINDOW_FRAMES)
    for window in range(round(WITHIN_S * fps / WINDOW_FRAMES) + 1):
        after = shares[window : window + kept]
        if len(after) == kept and after[0].argmax() == wanted and after.mean(axis=0).argmax() == wanted:
            return window * WINDOW_FRAMES / fps
    return None


def action_figures(delays_s: Sequence[float | None], ceilings: Mapping[str, float] | None = None) -> dict[str, Figure]:
    """`direction`: the share of presses that were followed; the median `delay_s` of these."""
    known = ceilings or {}
    figures = {"direction": rate([delay is not None for delay in delays_s], known.get("direction"))} if delays_s else {}
    followed = [delay for delay in delays_s if delay is not None]
    if followed:
        figures["delay_s"] = median(followed, known.get("delay_s"))
    return figures
