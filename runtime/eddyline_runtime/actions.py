"""Actions: held keys and axes as the network takes them, and for how long a change of them is new."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

CHANGE = 0.5
"""So far must an axis move to count as changed: a stick that glides is followed without help."""


def action_vector(keys: Mapping[str, float], action_names: Sequence[str]) -> tuple[float, ...]:
    """Held keys as one number per action of the world; keys that it does not have are ignored."""
    return tuple(keys.get(name, 0.0) for name in action_names)


@dataclass(frozen=True)
class ActionChange:
    """The last change of a view's actions between two ticks.

    The buffer still shows what was held before: on its own it turns only when chunks that were pure noise at the change
    have left. While they do, guidance pulls away from the actions before.
    """

    after: tuple[float, ...]
    before: tuple[float, ...]
    ticks_left: int = 0
    """Ticks for which it is still new."""

    @property
    def is_new(self) -> bool:
        """Whether the next frames may still show the actions before."""
        return self.ticks_left > 0

    def tick(self, actions: tuple[float, ...], *, num_chunks: int) -> "ActionChange":
        """What it is in a tick under `actions`: new for as many ticks as there are chunks in the buffer."""
        if any(abs(now - then) >= CHANGE for now, then in zip(actions, self.after, strict=True)):
            return ActionChange(after=actions, before=self.after, ticks_left=num_chunks)
        return replace(self, ticks_left=max(0, self.ticks_left - 1))
