"""Blind pairwise rating by people: a page that opens from disk, and the tally of their votes.

Two dreams of one prompt stand side by side as A and B; people say which is better on the four axes of the StreamDiT
paper (sec. 5, after Movie Gen), ties allowed. The page knows pairs and films, not who dreamed them; that stands in
`key.json`, which it does not load:

    index.html     the page, with the text of pairs.json in it: a page from disk may not read other files as text
    pairs.json     the pairs: words, films, sizes, and the digest of the page
    films/         each film as one picture with its frames in rows, so that A and B play in step in every browser
    key.json       who dreamed what

    python -m eddyline_runtime.evaluation.rating tally FOLDER votes_anna.json votes_ben.json
"""

import argparse
import hashlib
import io
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from eddyline.errors import EddylineError, OptionError
from eddyline_runtime.arguments import MISTAKE
from eddyline_runtime.evaluation.intervals import wilson
from eddyline_runtime.evaluation.samples import OWN, Sample

Side = Literal["a", "b"]
Choice = Literal["a", "b", "tie"]

AXES: Mapping[str, tuple[str, str]] = {
    "overall": ("Overall", "Which do you like better, all in all?"),
    "frame_consistency": ("Frame consistency", "In which does less flicker, jump, melt or vanish?"),
    "motion_completeness": ("Motion completeness", "In which is more of the motion that the words ask for?"),
    "naturalness": ("Naturalness", "In which do things move more as they should?"),
}
"""The axes: what each is called, and what people are asked."""

PAGE, PAIRS, KEY, FILMS = "index.html", "pairs.json", "key.json", "films"
MARGIN_PX = 8
"""Frames of a film are packed with their edges repeated so far, or neighbours would bleed into them."""
_QUALITY = 92
"""Of the films' pictures. Frames are packed one by one, so that packing smooths no flicker away."""
_PLACE = "PAIRS_GO_HERE"
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two dreams of one prompt, as they stand on the page."""

    id: str
    a: Sample
    b: Sample


@dataclass(frozen=True, kw_only=True)
class Key:
    """Who dreamed the films of a page: for each pair the name behind "a" and behind "b"."""

    page: str
    pairs: dict[str, dict[Side, str]]


@dataclass(frozen=True, kw_only=True)
class Votes:
    """What one person said: for each pair that was voted on, a choice on each axis."""

    page: str
    name: _Name
    date: datetime
    votes: dict[str, dict[str, Choice]]


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How often two ways of streaming were held to be better than each other on one axis."""

    own: str
    rival: str
    axis: str
    own_wins: int
    rival_wins: int
    ties: int

    @property
    def decided(self) -> int:
        """Votes that were no ties."""
        return self.own_wins + self.rival_wins


def make_pairs(samples: Sequence[Sample], generator: np.random.Generator) -> list[Pair]:
    """Pair each rival's dream with the world's own of the same prompt, in an order that tells nothing.

    The k-th dream of a prompt meets the k-th. Of each rival's pairs the own dream is "a" in half.
    """
    own: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.name == OWN:
            own[sample.prompt].append(sample)
    met: dict[str, list[tuple[Sample, Sample]]] = defaultdict(list)
    seen: Counter[tuple[str, str]] = Counter()
    for sample in samples:
        if sample.name != OWN:
            number = seen[sample.name, sample.prompt]
            seen[sample.name, sample.prompt] += 1
            met[sample.name] += [(dream, sample) for dream in own[sample.prompt][number : number + 1]]
    sided = [
        (rival, dream) if swap else (dream, rival)
        for duels in met.values()
        for (dream, rival), swap in zip(duels, generator.permutation(len(duels)) % 2, strict=True)
    ]
    order = generator.permutation(len(sided))
    digits = len(str(len(sided)))
    return [Pair(str(number + 1).zfill(digits), *sided[place]) for number, place in enumerate(order)]


def write_page(pairs: Sequence[Pair], folder: Path, *, title: str, fps: float) -> None:
    """Write the page, its films and its key; films of an earlier page are removed.

    Of two films that are not equally long the longer one is cut.

    Args:
        title: what people are shown as the name of the page; must name no way of streaming.
        fps: frames a second.

    Raises:
        OSError: the folder cannot be written.
    """
    (folder / FILMS).mkdir(parents=True, exist_ok=True)
    for old in (folder / FILMS).glob("*.webp"):
        old.unlink()
    hashed = hashlib.sha256()
    listed: list[dict[str, Any]] = []
    for pair in pairs:
        count = min(len(pair.a.frames), len(pair.b.frames))
        entry: dict[str, Any] = {"id": pair.id, "prompt": pair.a.prompt, "frames": count}
        for side, sample in (("a", pair.a), ("b", pair.b)):
            height, width = sample.frames.shape[1:3]
            columns = _columns(count, height, width)
            film, name = pack_film(sample.frames[:count], columns), f"{FILMS}/{pair.id}{side}.webp"
            hashed.update(film)
            (folder / name).write_bytes(film)
            entry[side] = {"film": name, "height": height, "width": width, "columns": columns, "margin": MARGIN_PX}
        listed.append(entry)
    axes = [{"key": key, "label": label, "question": question} for key, (label, question) in AXES.items()]
    page = {"title": title, "fps": fps, "axes": axes, "pairs": listed}
    hashed.update(json.dumps(page).encode())
    digest = hashed.hexdigest()
    text = json.dumps({"page": digest, **page}, indent=1)
    (folder / PAIRS).write_text(text + "\n")
    template = files("eddyline_runtime.evaluation").joinpath("rating_page.html").read_text(encoding="utf-8")
    # "<" would let a prompt end the script element that the text stands in
    (folder / PAGE).write_text(template.replace(_PLACE, text.replace("<", "\\u003c")), encoding="utf-8")
    key = Key(page=digest, pairs={pair.id: {"a": pair.a.name, "b": pair.b.name} for pair in pairs})
    (folder / KEY).write_bytes(msgspec.json.format(msgspec.json.encode(key), indent=1) + b"\n")


def pack_film(frames: NDArray[np.uint8], columns: int) -> bytes:
    """RGB frames [T, H, W, 3] as one WebP picture, `columns` frames a row, in reading order; see `MARGIN_PX`."""
    from PIL import Image  # the tally does without

    framed = np.pad(frames, ((0, 0), (MARGIN_PX, MARGIN_PX), (MARGIN_PX, MARGIN_PX), (0, 0)), mode="edge")
    count, height, width, _ = framed.shape
    film = Image.new("RGB", (columns * width, -(-count // columns) * height))
    for number, frame in enumerate(framed):
        row, column = divmod(number, columns)
        film.paste(Image.fromarray(frame), (column * width, row * height))
    packed = io.BytesIO()
    film.save(packed, "WEBP", quality=_QUALITY)
    return packed.getvalue()


def _columns(count: int, height: int, width: int) -> int:
    """Frames a row that make the picture about square: browsers and WebP bound its sides."""
    return min(count, max(1, round(math.sqrt(count * height / width))))


def read_key(folder: Path) -> Key:
    """Read who dreamed the films of a page.

    Raises:
        OptionError: the folder holds no page, or its key was cut.
    """
    try:
        return msgspec.json.decode((folder / KEY).read_bytes(), type=Key)
    except OSError as error:
        raise OptionError(
            f"{folder / KEY} cannot be read ({error.strerror}); name the folder `rating` that evaluate --report wrote"
        ) from error
    except msgspec.MsgspecError as error:
        raise OptionError(f"{folder / KEY} is no key of a rating page ({error}); write the page anew") from error


def read_votes(path: Path, key: Key) -> Votes:
    """Read one person's votes on the page that `key` belongs to.

    Raises:
        OptionError: the file is missing or cut, is about another page, or names pairs, axes or choices that the page
            does not have.
    """
    try:
        votes = msgspec.json.decode(path.read_bytes(), type=Votes)
    except OSError as error:
        raise OptionError(f"{path} cannot be read ({error.strerror}); name a file that the page saved") from error
    except msgspec.ValidationError as error:
        raise OptionError(f"{path} holds no votes of this page: {error}; give the file as the page saved it") from error
    except msgspec.MsgspecError as error:
        raise OptionError(f"{path} is cut or no JSON ({error}); save the votes again from the page") from error
    if votes.page != key.page:
        raise OptionError(
            f"{path} holds votes of another page ({votes.page[:12]} instead of {key.page[:12]}); "
            "tally it with the folder of the page that it was saved from"
        )
    if unknown := sorted(set(votes.votes) - set(key.pairs)):
        raise OptionError(f"{path} votes on pairs that the page does not have: {', '.join(unknown)}")
    for pair, choices in votes.votes.items():
        if set(choices) != set(AXES):
            raise OptionError(
                f"{path} votes on pair {pair} by {', '.join(sorted(choices)) or 'no axis'}; each vote has "
                f"{', '.join(AXES)}"
            )
    return votes


def read_all_votes(paths: Sequence[Path], key: Key) -> list[Votes]:
    """Read the votes of several people.

    Raises:
        OptionError: as `read_votes`; or two files are of one person, who would count twice.
    """
    people: dict[str, Path] = {}
    everyone: list[Votes] = []
    for path in paths:
        votes = read_votes(path, key)
        person = " ".join(votes.name.casefold().split())
        if person in people:
            raise OptionError(
                f"{people[person]} and {path} are both by {votes.name!r}, who would count twice; give the later file "
                "only (it holds the earlier votes too), or tell two people apart by their names in the files"
            )
        people[person] = path
        everyone.append(votes)
    return everyone


def tally(key: Key, everyone: Sequence[Votes]) -> list[Tally]:
    """Count votes for each rival and axis."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for votes in everyone:
        for pair, choices in votes.votes.items():
            names = key.pairs[pair]
            rival = names["b"] if names["a"] == OWN else names["a"]
            for axis, choice in choices.items():
                counts[rival, axis, "tie" if choice == "tie" else names[choice]] += 1
    rivals = sorted({name for names in key.pairs.values() for name in names.values()} - {OWN})
    return [
        Tally(
            own=OWN,
            rival=rival,
            axis=axis,
            own_wins=counts[rival, axis, OWN],
            rival_wins=counts[rival, axis, rival],
            ties=counts[rival, axis, "tie"],
        )
        for rival in rivals
        for axis in AXES
    ]


def table(tallies: Sequence[Tally], everyone: Sequence[Votes]) -> str:
    """The tally as text: shares of the votes that were no ties, with Wilson's 95 % intervals."""
    people = ", ".join(f"{votes.name} ({len(votes.votes)} pairs)" for votes in everyone)
    lines = [
        f"votes of {people}",
        "shares are of the votes that were no ties, with 95 % intervals as if all votes were independent",
    ]
    for rival in dict.fromkeys(entry.rival for entry in tallies):
        lines += ["", f"{OWN} against {rival}", f"  {'':<20} {OWN + ' won':<24} {rival + ' won':<24} ties"]
        lines += [
            f"  {AXES[entry.axis][0].lower():<20} {_share(entry.own_wins, entry.decided):<24} "
            f"{_share(entry.rival_wins, entry.decided):<24} {entry.ties}"
            for entry in tallies
            if entry.rival == rival
        ]
    return "\n".join(lines)


def _share(wins: int, decided: int) -> str:
    if not decided:
        return "0 of 0"
    low, high = wilson(wins, decided)
    return f"{wins} of {decided}, {100 * wins / decided:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m eddyline_runtime.evaluation.rating`; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    counting = commands.add_parser("tally", help="count votes that people saved from a rating page")
    counting.add_argument("folder", type=Path, help="the folder of the page, which holds key.json")
    counting.add_argument("votes", type=Path, nargs="+", help="one file of each person")
    given = parser.parse_args(arguments)
    try:
        key = read_key(given.folder)
        everyone = read_all_votes(given.votes, key)
    except EddylineError as error:
        print(f"rating: {error}", file=sys.stderr)
        return MISTAKE
    print(table(tally(key, everyone), everyone))
    return 0


if __name__ == "__main__":
    sys.exit(main())
