"""The exceptions of Eddyline: one tree, rooted in `EddylineError`.

    EddylineError
    ├── UsageError                a mistake in a call; raised at once by the call itself (also a ValueError)
    │   ├── TextError             text is empty, too long, or cannot be written as UTF-8
    │   ├── PastFrameError        `at=` names a frame that has already been made
    │   ├── KeyNameError          a key that is neither a W3C `event.code` nor an action of this world
    │   ├── AxisError             an axis value that is NaN, infinite or outside [-1, 1]
    │   ├── OptionError           any other argument out of range, or an unknown profile
    │   ├── ScriptError           a script of `eddyline play` is missing, or a line of it cannot be done
    │   ├── SpectatorError        a view that another client opened is asked for what only those who steer it may
    │   └── ClosedError           the view or the runtime was closed
    ├── BackpressureError         too many words are still without an answer
    ├── RuntimeConnectionError    the runtime cannot be reached
    │   ├── EndpointError         the endpoint is not an address that can be used
    │   ├── KeysNeededError       the endpoint is not on this machine, which needs keys
    │   ├── ConnectTimeoutError   nobody answered in time
    │   └── VersionError          the two sides speak different major versions of the protocol
    ├── ViewError                 the runtime did not open a view, or closed it (`View.error`, `View.wait_open`)
    │   ├── CapacityError         one view too many, or one that would make those that are open late
    │   ├── UnknownNameError      no view, or more than one, has the name that was to be watched
    │   └── OwnerClosedError      the client that opened the view closed it; whoever watched it sees no more of it
    ├── LaunchError               the runtime process could not be started, or died before it was ready
    ├── ProtocolError             a message that does not follow the protocol
    │   ├── BadMessageError       not MessagePack, or a field missing, mistyped or out of bounds
    │   ├── UnknownKindError      a kind of message this version does not know
    │   └── TooLargeError         a message over the size limit
    ├── ConformanceError          a runtime does not behave as the protocol says (`eddyline.testing.check_runtime`)
    ├── RecordingError            a recording is missing, cut, foreign, or was written to wrongly
    ├── FilmError                 a film or a contact sheet cannot be written
    ├── DisplayError              there is no display to open a window on
    ├── ConfigError               a configuration whose values do not fit together
    │   └── PartitionError        a buffer that does not split as asked
    ├── SnapshotError             a snapshot is cut, changed, foreign, of another world or of another version
    ├── JournalError              a journal is missing, cut, changed, foreign, of another world or of another version
    ├── WeightsError              weights are missing, cut, foreign, or of another shape
    │   └── CheckpointError       the same, for a training checkpoint
    ├── TrainingError             training cannot go on (a NaN loss, no data)
    └── BindError                 the runtime cannot listen on its address

A message says what was given, what was expected, and what to do. All of them are in `eddyline.errors`; the root is in
`eddyline`, too.
"""

from __future__ import annotations


class EddylineError(Exception):
    """The root of every exception that Eddyline raises on purpose."""


class UsageError(EddylineError, ValueError):
    """Raised at once when a call was given something it cannot take."""


class TextError(UsageError):
    """Raised when a text is empty, longer than the limit, or not encodable as UTF-8."""


class PastFrameError(UsageError):
    """Raised when `at=` names a frame that has already been made."""


class KeyNameError(UsageError):
    """Raised when a key is neither a W3C `event.code` name nor an action of this world."""


class AxisError(UsageError):
    """Raised when an axis value is NaN, infinite, or outside [-1, 1]."""


class OptionError(UsageError):
    """Raised when an argument is out of range or names something unknown."""


class ScriptError(UsageError):
    """Raised when a script for `eddyline play` is missing, or a line of it says what cannot be done."""


class SpectatorError(UsageError):
    """Raised when a view that is watched is steered while it is not shared, or asked for what its owner alone may."""


class ClosedError(UsageError):
    """Raised when a view or runtime that was closed is asked to do something."""


class BackpressureError(EddylineError):
    """Raised when so many events, prompts and cuts are unanswered that another one is refused."""


class RuntimeConnectionError(EddylineError):
    """Raised when a runtime cannot be reached or refuses the connection."""


class EndpointError(RuntimeConnectionError):
    """Raised when an endpoint is not of the form `tcp://host:port`."""


class KeysNeededError(RuntimeConnectionError):
    """Raised when an endpoint is not on this machine and no keys are there to protect it."""


class ConnectTimeoutError(RuntimeConnectionError):
    """Raised when no runtime answered within the time given."""


class VersionError(RuntimeConnectionError):
    """Raised when client and runtime speak different major versions of the protocol."""


class ViewError(EddylineError):
    """Raised by `View.wait_open`, and kept in `View.error`, when the runtime did not open a view, or closed it."""


class CapacityError(ViewError):
    """Raised when a view is one too many, or would make those that are open late; the message says what would fit."""


class UnknownNameError(ViewError):
    """Raised when no view, or more than one, has the name that was to be watched."""


class OwnerClosedError(ViewError):
    """Raised when the client that opened a view closed it, or is gone; who watched it keeps the last frame."""


class LaunchError(EddylineError):
    """Raised when a runtime process could not be started or died before it was ready."""


class ProtocolError(EddylineError):
    """Raised when a message does not follow the protocol; `code` is what the wire calls the mistake."""

    code = "bad_message"


class BadMessageError(ProtocolError):
    """Raised when bytes are not MessagePack, or a field is missing, mistyped or out of bounds."""


class UnknownKindError(ProtocolError):
    """Raised when a message is of a kind that this version does not know."""

    code = "unknown_kind"


class TooLargeError(ProtocolError):
    """Raised when a message is over the size limit."""

    code = "too_large"


class ConformanceError(EddylineError):
    """Raised when a runtime does not behave as the protocol says."""


class RecordingError(EddylineError):
    """Raised when a recording is missing, cut, foreign, or was written to wrongly."""


class FilmError(EddylineError):
    """Raised when a film or a contact sheet cannot be written."""


class DisplayError(EddylineError):
    """Raised when a window is needed and there is no display."""


class ConfigError(EddylineError):
    """Raised when the values of a configuration do not fit together."""


class PartitionError(ConfigError):
    """Raised when a buffer does not split into chunks as asked."""


class SnapshotError(EddylineError):
    """Raised when a snapshot is cut, changed, foreign, of another world or of another version."""


class JournalError(EddylineError):
    """Raised when a journal is missing, cut, changed, foreign, of another world or of another version."""


class WeightsError(EddylineError):
    """Raised when weights are missing, cut, foreign, or of another shape."""


class CheckpointError(WeightsError):
    """Raised when a training checkpoint is missing, cut, foreign, or of another shape."""


class TrainingError(EddylineError):
    """Raised when training cannot go on."""


class BindError(EddylineError):
    """Raised when the runtime cannot listen on the address it was given."""
