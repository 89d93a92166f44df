"""The frozen suites: words, keys, and what they ask for. One folder a world, one file a question.

held_out.json            scenes that no recording shows            -> adherence, realism, drift, rivals
paraphrase.json          the same kind of scenes in foreign words  -> paraphrase
steering.json            scenes that words change while they run   -> steering, receipts, places
actions.json             scenes in which a key goes down           -> actions
reference.safetensors    what recordings of them show; see `reference.py`
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

import msgspec

from eddyline.errors import OptionError

HELD_OUT, PARAPHRASE, STEERING, ACTIONS = "held_out", "paraphrase", "steering", "actions"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A prompt and the labels it asks for; `keys` would make the hero do it, too."""

    prompt: str
    labels: dict[str, str]
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A scene that runs, and words that then change one of its attributes."""

    scene: Scene
    verb: Literal["event", "prompt"]
    words: str
    attribute: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Press:
    """A scene that runs with its keys held, other keys that are then held instead, and the value this gives
    `attribute`. The prompt says nothing of it."""

    scene: Scene
    keys: tuple[str, ...]
    attribute: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A frozen list of tests of one kind."""

    name: str
    description: str
    scenes: tuple[Scene, ...] = ()
    turns: tuple[Turn, ...] = ()
    presses: tuple[Press, ...] = ()


def suite_folder(name: str) -> Path:
    """Where the suites of a world lie: `name` is a shipped world's name, or a folder.

    Raises:
        OptionError: there is no such folder.
    """
    shipped = Path(str(files("eddyline_runtime.evaluation"))) / "suites"
    for folder in (shipped / name, Path(name)):
        if folder.is_dir():
            return folder
    known = ", ".join(sorted(folder.name for folder in shipped.iterdir()))
    raise OptionError(f"suite {name!r} is unknown; use one of {known}, or a folder of suites")


def suite_path(folder: Path, question: str) -> Path:
    """The file of one suite of a folder."""
    return folder / f"{question}.json"


def load_suite(folder: Path, question: str) -> Suite:
    """Read one suite of a folder.

    Raises:
        OptionError: it is missing, or no suite.
    """
    path = suite_path(folder, question)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Suite)
    except OSError as error:
        raise OptionError(f"{path} cannot be read ({error.strerror}); leave that part out, or write it") from error
    except msgspec.MsgspecError as error:
        raise OptionError(f"{path} is no suite ({error}); compare it with a shipped one") from error
