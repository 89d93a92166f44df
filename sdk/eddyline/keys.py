"""The names a key may have: `KeyboardEvent.code` of the W3C (UI Events code values), the same on every keyboard layout.

https://www.w3.org/TR/uievents-code/ - the writing system, functional, control pad, arrow pad, numpad, function and
media sections. Names that are not keys of a keyboard (a mouse or gamepad axis) are allowed when the world lists them
among its actions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping

from eddyline.errors import AxisError, KeyNameError, OptionError
from eddyline.protocol import KEY_NAME_PATTERN, MAX_HELD_KEYS

_OTHER_KEYS = """
    Backquote Backslash BracketLeft BracketRight Comma Equal IntlBackslash IntlRo IntlYen Minus Period Quote Semicolon
    Slash Backspace CapsLock ContextMenu Enter Space Tab Convert KanaMode Lang1 Lang2 Lang3 Lang4 Lang5 NonConvert
    Delete End Help Home Insert PageDown PageUp NumLock NumpadAdd NumpadBackspace NumpadClear NumpadClearEntry
    NumpadComma NumpadDecimal NumpadDivide NumpadEnter NumpadEqual NumpadHash NumpadMemoryAdd NumpadMemoryClear
    NumpadMemoryRecall NumpadMemoryStore NumpadMemorySubtract NumpadMultiply NumpadParenLeft NumpadParenRight NumpadStar
    NumpadSubtract Escape Fn FnLock PrintScreen ScrollLock Pause BrowserBack BrowserFavorites BrowserForward BrowserHome
    BrowserRefresh BrowserSearch BrowserStop Eject LaunchApp1 LaunchApp2 LaunchMail MediaPlayPause MediaSelect MediaStop
    MediaTrackNext MediaTrackPrevious Power Sleep AudioVolumeDown AudioVolumeMute AudioVolumeUp WakeUp
"""
KEY_CODES: frozenset[str] = frozenset(
    _OTHER_KEYS.split()
    + [f"Key{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    + [f"Digit{digit}" for digit in range(10)]
    + [f"Numpad{digit}" for digit in range(10)]
    + [f"F{number}" for number in range(1, 25)]
    + [f"Arrow{way}" for way in ("Up", "Down", "Left", "Right")]
    + [f"{key}{side}" for key in ("Alt", "Control", "Meta", "Shift") for side in ("Left", "Right")]
)


def held_state(
    keys: Iterable[str] | Mapping[str, float], action_names: Collection[str] | None = ()
) -> dict[str, float]:
    """Return held input as a map from name to a value in [-1, 1], without the zeros. A key that is only named is at 1.

    Raises KeyNameError for a name that is neither in KEY_CODES nor in `action_names`, AxisError for a value that is not
    a number in [-1, 1], OptionError for more than MAX_HELD_KEYS names. While the world's actions are not known yet
    (None), every name that the wire can carry will do.
    """
    if isinstance(keys, str):
        raise KeyNameError(f"keys={keys!r} is one string; give a list of key names, such as [{keys!r}]")
    if not isinstance(keys, Iterable):
        raise KeyNameError(f"keys={keys!r}; give a list of key names, such as ['ArrowLeft'], or [] when none is held")
    pairs: Iterable[tuple[str, float]]
    pairs = keys.items() if isinstance(keys, Mapping) else ((name, 1.0) for name in keys)
    state: dict[str, float] = {}
    for name, value in pairs:
        if not (isinstance(name, str) and (name in KEY_CODES or _is_action(name, action_names))):
            raise KeyNameError(
                f"{name!r} is not a key; use the W3C names of KeyboardEvent.code, such as 'KeyA', 'ArrowLeft', 'Space'"
                + (f", or an action of this world: {', '.join(action_names)}" if action_names else "")
            )
        try:
            axis = math.nan if isinstance(value, str | bytes | bytearray) else float(value)  # float() reads text, too
        except (TypeError, ValueError):
            axis = math.nan
        if not -1.0 <= axis <= 1.0:
            raise AxisError(f"{name} is at {value!r}; give a number from -1 to 1")
        if axis != 0.0:
            state[name] = axis
    if len(state) > MAX_HELD_KEYS:
        raise OptionError(f"{len(state)} keys are held at once; the limit is {MAX_HELD_KEYS}")
    return state


def _is_action(name: str, action_names: Collection[str] | None) -> bool:
    return re.fullmatch(KEY_NAME_PATTERN, name) is not None if action_names is None else name in action_names
