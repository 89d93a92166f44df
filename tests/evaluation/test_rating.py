"""Rating by people: pages that do not tell who dreamed what, and votes that are counted for whom they were given."""

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eddyline.errors import OptionError
from eddyline_runtime.evaluation.rating import (
    AXES,
    MARGIN_PX,
    Key,
    Tally,
    Votes,
    main,
    make_pairs,
    pack_film,
    read_all_votes,
    read_key,
    read_votes,
    tally,
    write_page,
)
from eddyline_runtime.evaluation.samples import OWN, Sample

RIVALS = ("fifo", "reuse_and_diffuse")
PROMPTS = ("a red fox </script><b> walks", "a blue cat", "a green pig", "a tall robot", "a small knight")


def dreams(*, frames: int = 3, prompts: tuple[str, ...] = PROMPTS) -> list[Sample]:
    """Every way of streaming dreams each prompt in one grey of its own."""
    return [
        Sample(name, prompt, np.full((frames, 8, 12, 3), 40 * system + 5 * number, np.uint8))
        for system, name in enumerate((OWN, *RIVALS))
        for number, prompt in enumerate(prompts)
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "rating"
    write_page(make_pairs(dreams(), np.random.default_rng(3)), folder, title="a world", fps=16)
    return folder


@pytest.fixture(scope="module")
def key(page: Path) -> Key:
    return read_key(page)


def ballot(key: Key, choose: Callable[[str, str], str], *, name: str = "Anna") -> dict[str, Any]:
    """What the page saves when someone chooses by `choose(pair, axis)`."""
    votes = {pair: {axis: choose(pair, axis) for axis in AXES} for pair in key.pairs}
    return {"page": key.page, "name": name, "date": "2026-05-01T12:00:00.000Z", "votes": votes}


def save(path: Path, votes: object) -> Path:
    path.write_text(json.dumps(votes))
    return path


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(PROMPTS), max_size=12), st.integers(0, 1000))
def test_each_dream_of_a_rival_meets_one_of_ours_of_its_prompt_as_a_in_half(prompts: list[str], seed: int) -> None:
    samples = dreams(frames=1, prompts=tuple(prompts))
    pairs = make_pairs(samples, np.random.default_rng(seed))
    assert [pair.id for pair in pairs] == sorted({pair.id for pair in pairs})
    assert all(pair.a.prompt == pair.b.prompt for pair in pairs)
    assert all([pair.a.name, pair.b.name].count(OWN) == 1 for pair in pairs)
    for rival in RIVALS:
        met = [pair for pair in pairs if rival in (pair.a.name, pair.b.name)]
        assert Counter(pair.a.prompt for pair in met) == Counter(prompts)
        assert sum(pair.a.name == OWN for pair in met) in (len(met) // 2, (len(met) + 1) // 2)
        for mine in (True, False):
            shown = [side for pair in met for side in (pair.a, pair.b) if (side.name == OWN) == mine]
            assert len({id(sample) for sample in shown}) == len(met)


def test_a_dream_without_a_counterpart_is_not_shown() -> None:
    samples = [dream for dream in dreams() if (dream.name, dream.prompt) != (OWN, "a blue cat")]
    assert {pair.a.prompt for pair in make_pairs(samples, np.random.default_rng(0))} == set(PROMPTS) - {"a blue cat"}


def test_the_page_holds_the_pairs_and_no_name_of_who_dreamed_them(page: Path) -> None:
    shown = (page / "index.html").read_text()
    told = shown + (page / "pairs.json").read_text() + " ".join(file.name for file in page.rglob("*.webp"))
    assert not [name for name in (OWN, *RIVALS, "key.json") if name in told]
    data = shown.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert json.loads(data) == json.loads((page / "pairs.json").read_text())
    assert {pair["prompt"] for pair in json.loads(data)["pairs"]} == set(PROMPTS)


def test_the_page_needs_nothing_that_does_not_lie_beside_it(page: Path) -> None:
    shown = (page / "index.html").read_text()
    assert not [word for word in ("http:", "https:", "//cdn", "fetch(", "XMLHttp", "import ") if word in shown]
    for pair in json.loads((page / "pairs.json").read_text())["pairs"]:
        for side in "ab":
            film = pair[side]
            rows = -(-pair["frames"] // film["columns"])
            with Image.open(page / film["film"]) as picture:
                width, height = (film[side] + 2 * film["margin"] for side in ("width", "height"))
                assert picture.size == (film["columns"] * width, rows * height)


def test_the_key_says_who_dreamed_each_film(page: Path, key: Key) -> None:
    greys = {(dream.name, dream.prompt): int(dream.frames[0, 0, 0, 0]) for dream in dreams()}
    for pair in json.loads((page / "pairs.json").read_text())["pairs"]:
        for side, name in key.pairs[pair["id"]].items():
            with Image.open(page / pair[side]["film"]) as picture:
                assert np.asarray(picture)[0, 0].tolist() == pytest.approx([greys[name, pair["prompt"]]] * 3, abs=2)


def test_a_film_is_packed_row_by_row_and_keeps_every_frame() -> None:
    frames = np.broadcast_to(np.arange(0, 210, 30, dtype=np.uint8)[:, None, None, None], (7, 16, 24, 3))
    with Image.open(io.BytesIO(pack_film(frames, columns=3))) as picture:
        pixels = np.asarray(picture)
    height, width = 16 + 2 * MARGIN_PX, 24 + 2 * MARGIN_PX
    assert pixels.shape == (3 * height, 3 * width, 3)
    tiles = [pixels[row * height :, column * width :] for row in range(3) for column in range(3)]
    for frame, tile in zip(frames, tiles, strict=False):
        assert tile[MARGIN_PX:, MARGIN_PX:][:16, :24].astype(int) == pytest.approx(frame.astype(int), abs=4)


def test_two_films_of_a_pair_are_equally_long(tmp_path: Path) -> None:
    samples = [
        Sample(OWN, "x", np.zeros((9, 8, 12, 3), np.uint8)),
        Sample("fifo", "x", np.zeros((5, 8, 12, 3), np.uint8)),
    ]
    write_page(make_pairs(samples, np.random.default_rng(0)), tmp_path, title="a world", fps=16)
    assert [pair["frames"] for pair in json.loads((tmp_path / "pairs.json").read_text())["pairs"]] == [5]


def test_a_page_that_is_written_anew_keeps_no_film_of_the_one_before(tmp_path: Path) -> None:
    for prompts in (PROMPTS, PROMPTS[:2]):
        pairs = make_pairs(dreams(prompts=prompts), np.random.default_rng(0))
        write_page(pairs, tmp_path, title="a world", fps=16)
    assert len(list(tmp_path.rglob("*.webp"))) == 2 * len(pairs)


def test_pages_with_other_films_or_other_sides_have_another_digest(tmp_path: Path, key: Key) -> None:
    digests = {key.page}
    for seed, samples in ((4, dreams()), (3, dreams(frames=2)), (3, dreams(prompts=PROMPTS[:4]))):
        write_page(make_pairs(samples, np.random.default_rng(seed)), tmp_path, title="a world", fps=16)
        digests.add(read_key(tmp_path).page)
    assert len(digests) == 4
    write_page(make_pairs(dreams(), np.random.default_rng(3)), tmp_path, title="a world", fps=16)
    assert read_key(tmp_path) == key


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_votes_count_for_whom_they_were_given_on_whichever_side_that_stood(key: Key, data: st.DataObject) -> None:
    wanted = {
        (pair, axis): data.draw(st.sampled_from([*names.values(), "tie"]))
        for pair, names in key.pairs.items()
        for axis in AXES
    }

    def choose(pair: str, axis: str) -> str:
        return next((side for side, name in key.pairs[pair].items() if name == wanted[pair, axis]), "tie")

    counted = tally(key, [msgspec.convert(ballot(key, choose), Votes)])
    assert [(entry.rival, entry.axis) for entry in counted] == [(rival, axis) for rival in RIVALS for axis in AXES]
    for entry in counted:
        of_rival = [pair for pair, names in key.pairs.items() if entry.rival in names.values()]
        given_to = Counter(wanted[pair, entry.axis] for pair in of_rival)
        assert (entry.own_wins, entry.rival_wins, entry.ties) == (given_to[OWN], given_to[entry.rival], given_to["tie"])
        assert entry.decided + entry.ties == len(PROMPTS)


def test_people_who_stopped_early_count_with_what_they_said(tmp_path: Path, key: Key) -> None:
    first = next(pair for pair, names in key.pairs.items() if "fifo" in names.values())
    early = ballot(key, lambda pair, axis: "a")
    early["votes"] = {first: early["votes"][first]}
    files = [
        save(tmp_path / "early.json", early),
        save(tmp_path / "ben.json", ballot(key, lambda *_: "tie", name="Ben")),
    ]
    overall = tally(key, read_all_votes(files, key))[0]
    won = key.pairs[first]["a"] == OWN
    assert overall == Tally(
        own=OWN, rival="fifo", axis="overall", own_wins=int(won), rival_wins=int(not won), ties=len(PROMPTS)
    )


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], str]:
    def write(votes: dict[str, Any]) -> str:
        change(votes)
        return json.dumps(votes)

    return write


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (changed(lambda votes: votes.update(page="0" * 64)), "another page"),
        (lambda votes: json.dumps(votes)[:-40], "cut"),
        (lambda votes: "", "cut"),
        (lambda votes: "[]", "no votes"),
        (changed(lambda votes: votes.pop("name")), "name"),
        (changed(lambda votes: votes.update(date="yesterday")), "date"),
        (
            changed(lambda votes: votes["votes"].update({"77": votes["votes"]["01"]})),
            "pairs that the page does not have: 77",
        ),
        (changed(lambda votes: votes["votes"]["01"].update(beauty="a")), "beauty"),
        (changed(lambda votes: votes["votes"]["01"].pop("overall")), "pair 01"),
        (changed(lambda votes: votes["votes"]["01"].update(overall="c")), "'c'"),
    ],
)
def test_votes_that_cannot_be_counted_are_refused_with_the_reason(
    tmp_path: Path, key: Key, spoil: Callable[[dict[str, Any]], str], told: str
) -> None:
    path = tmp_path / "votes.json"
    path.write_text(spoil(ballot(key, lambda *_: "a")))
    with pytest.raises(OptionError, match=told) as caught:
        read_votes(path, key)
    assert str(path) in str(caught.value)


def test_nobody_counts_twice(tmp_path: Path, key: Key) -> None:
    first = save(tmp_path / "first.json", ballot(key, lambda *_: "a"))
    copy = save(tmp_path / "copy.json", ballot(key, lambda *_: "b", name=" anna "))
    for files in ([first, first], [first, copy]):
        with pytest.raises(OptionError, match="would count twice"):
            read_all_votes(files, key)


def test_the_command_prints_wins_with_intervals_and_ties_apart(
    tmp_path: Path, page: Path, key: Key, capsys: pytest.CaptureFixture[str]
) -> None:
    def own_but_tied_on_naturalness(pair: str, axis: str) -> str:
        return "tie" if axis == "naturalness" else "a" if key.pairs[pair]["a"] == OWN else "b"

    votes = save(tmp_path / "votes.json", ballot(key, own_but_tied_on_naturalness))
    assert main(["tally", str(page), str(votes)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert f"{OWN} against fifo" in lines
    assert lines.count("overall 5 of 5, 100 % [57, 100] 0 of 5, 0 % [0, 43] 0") == len(RIVALS)
    assert lines.count("naturalness 0 of 0 0 of 0 5") == len(RIVALS)


def test_the_command_tells_a_mistake_in_one_line(
    tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, votes in ((page, tmp_path / "none.json"), (tmp_path, tmp_path / "none.json")):
        assert main(["tally", str(folder), str(votes)]) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert "cannot be read" in told
