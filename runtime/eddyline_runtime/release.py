"""Which release of Eddyline this is."""

import importlib.metadata


def release() -> str:
    """Its version, or that it runs from a checkout."""
    try:
        return importlib.metadata.version("eddyline")
    except importlib.metadata.PackageNotFoundError:
        return "from a checkout"
