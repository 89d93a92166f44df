"""The file of numbers that a benchmark leaves behind."""

import json
from pathlib import Path
from typing import Any


def write(path: Path, results: dict[str, Any]) -> None:
    """Write results as JSON: whole, or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(results, indent=2) + "\n")
    part.replace(path)
