"""The exceptions of the kernels: a tree of its own, because the kernels know nothing of the SDK.

    KernelError
    ├── KernelInputError     tensors or sizes that an operator cannot take; raised by the call (also a ValueError)
    └── KernelChoiceError    the implementation that was asked for cannot run here, or there is none of that name

A message says what was given, what was expected, and what to do.
"""


class KernelError(Exception):
    """The root of every exception that the kernels raise on purpose."""


class KernelInputError(KernelError, ValueError):
    """Raised when an operator is given tensors or sizes that do not fit together."""


class KernelChoiceError(KernelError, RuntimeError):
    """Raised when the environment asks for an implementation that cannot run, or that does not exist."""
