"""The file of an evaluation: keys as they are published, read back as written, parts that are missing absent."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eddyline.errors import OptionError
from eddyline_runtime.evaluation.figures import (
    Evaluation,
    Figure,
    Made,
    RivalEvaluation,
    read_evaluation,
    to_json,
    write_evaluation,
)

MADE = Made(date="2026-11-25", command="eddyline-runtime evaluate", machine="two cores", seconds={"drift": 1.5})
PLACE = Figure(value=0.9, ci95=(0.85, 0.95), n=240, ceiling=1.0)
numbers = st.floats(-10, 10)
figures = st.builds(
    Figure, value=numbers, ci95=st.tuples(numbers, numbers), n=st.integers(0, 999), ceiling=st.none() | numbers
)
named = st.dictionaries(st.sampled_from(["place", "hero", "all"]), figures)


def test_keys_are_the_published_ones_and_what_was_not_measured_is_absent() -> None:
    rivals = {"fifo": RivalEvaluation(calls_per_second=32.0, adherence={"hero": PLACE}, frechet=PLACE)}
    written = Evaluation(
        world="w", profile="smooth", seeds=(0, 1), made=MADE, adherence={"place": PLACE}, rivals=rivals
    )
    plain = json.loads(to_json(written))
    assert plain["adherence"]["place"] == {"value": 0.9, "ci95": [0.85, 0.95], "n": 240, "ceiling": 1.0}
    assert plain["rivals"]["fifo"]["calls_per_second"] == 32.0
    assert plain["rivals"]["fifo"]["adherence"]["hero"]["n"] == 240
    assert plain["rivals"]["fifo"]["frechet"]["ceiling"] == 1.0
    assert set(plain) == {"world", "profile", "seeds", "made", "adherence", "rivals"}


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(named, named, st.none() | figures, st.dictionaries(st.sampled_from(["fifo", "clip"]), named))
def test_an_evaluation_is_read_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    adherence: dict[str, Figure],
    drift: dict[str, Figure],
    frechet: Figure | None,
    rivals: dict[str, dict[str, Figure]],
) -> None:
    file = tmp_path_factory.mktemp("figures") / "e.json"
    evaluation = Evaluation(
        world="w",
        profile="smooth",
        seeds=(0,),
        made=MADE,
        adherence=adherence,
        drift=drift,
        frechet=frechet,
        rivals={name: RivalEvaluation(calls_per_second=1.0, adherence=part) for name, part in rivals.items()},
    )
    write_evaluation(evaluation, file)
    assert read_evaluation(file) == evaluation
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("content", [None, b"", b'{"world": "w"', b'{"world": "w"}'])
def test_a_file_that_is_no_evaluation_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "e.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OptionError, match=r"e\.json"):
        read_evaluation(file)
