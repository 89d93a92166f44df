"""Scripts of films as people write them: what each line comes to, and what is said of one that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from eddyline import cli
from eddyline.errors import ScriptError
from eddyline.screenplay import HOLD_S, LAST_S, MAX_LINES, ScriptLine, parse_script, read_script


def test_a_line_says_when_what_and_in_which_words() -> None:
    script = parse_script(
        "# a walk\n\n"
        "0 prompt: a red fox: it walks # right\n"
        "  2.5 s  event: thunder\r\n"
        "2.5s event (1.5 s) : rain\n"
        "4\tkeys:ArrowRight,ArrowUp\n"
        "5 keys:\n"
        "6 cut: 雪\n"
        "8 end",
        name="a.txt",
    )
    assert script.seconds == 8.0
    assert script.lines == (
        ScriptLine(0.0, "prompt", "a red fox: it walks # right"),
        ScriptLine(2.5, "event", "thunder", hold_s=HOLD_S),
        ScriptLine(2.5, "event", "rain", hold_s=1.5),
        ScriptLine(4.0, "keys", "ArrowRight,ArrowUp"),
        ScriptLine(5.0, "keys", ""),
        ScriptLine(6.0, "cut", "雪"),
    )
    assert [line.keys for line in script.lines[3:5]] == [("ArrowRight", "ArrowUp"), ()]


def test_a_script_without_an_end_goes_on_for_a_while_after_its_last_line() -> None:
    assert parse_script("0 prompt: a fox\n3 event: rain\n", name="a.txt").seconds == 3.0 + LAST_S


def test_the_script_that_the_help_shows_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["play", "--help"])
    shown = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("  ") and line[2] in "#0123456789"
    ]
    script = parse_script("\n".join(shown), name="help")
    assert [line.verb for line in script.lines] == ["prompt", "event", "keys", "keys", "cut"]
    assert script.seconds == 12.0


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "^a.txt says nothing; begin with a scene"),
        ("hello", "line 1: 'hello' says no second and verb; write a line such as"),
        ("2 prompt: a fox", "line 1: .* comes first; begin with a scene, such as `0 prompt"),
        ("0 event: rain", "line 1: .* comes first; begin with a scene, such as `0 prompt"),
        ("3 end", "line 1: .* comes first; begin with a scene, such as `0 prompt"),
        ("0 prompt: a fox\n\n1 evnt: rain", "line 3: unknown verb 'evnt'; use prompt, event, cut, keys or end"),
        ("0 prompt: a fox\n3 cut: a\n2.5 cut: b", "line 3: 2.5 s is before line 2, at 3 s; write them in order"),
        ("0 prompt: a fox\n3 cut: a\n2 end", "line 3: 2 s is before line 2, at 3 s; write them in order"),
        ("0 prompt: a fox\n3 cut: a\n3 end", "line 3: the film ends at the second of line 2; let it go on"),
        ("0 prompt: a fox\n3 end\n4 cut: a", "line 3: the film ends in line 2; write no more after it"),
        ("0 prompt: a fox\n3 end here", "line 2: 'here' stands after `end`; write `3 end` alone"),
        ("0 prompt: a fox\n0:05 cut: a", "line 2: '0:05' is no second of the film; begin with a number from 0 to 3600"),
        ("0 prompt: a fox\n-1 cut: a", "line 2: '-1' is no second"),
        ("0 prompt: a fox\nnan cut: a", "line 2: 'nan' is no second"),
        ("0 prompt: a fox\n3601 end", "line 2: '3601' is no second"),
        ("0 prompt: a fox\n1 event rain", "line 2: there is no colon after event; write a line such as"),
        ("0 prompt: a fox\n1 event:  ", "line 2: the text is empty; say in words"),
        ("0 prompt: " + "a" * 5000, "line 1: the text has 5000 characters; the limit is 4096"),
        ("0 prompt: a fox\n1 event (0 s): rain", r"line 2: event \(0 s\); an event alone takes seconds in brackets"),
        ("0 prompt: a fox\n1 event (long): rain", r"line 2: event \(long\); an event alone takes seconds in brackets"),
        ("0 prompt (2): a fox", r"line 1: prompt \(2\); an event alone takes seconds in brackets"),
        ("0 prompt: a fox\n1 keys: ?", r"line 2: '\?' is not a key; use the W3C names"),
        ("0 prompt: a\n" * (MAX_LINES + 1), f"line {MAX_LINES + 1}: one line too many; the limit is {MAX_LINES}"),
    ],
)
def test_a_line_that_cannot_be_done_is_refused_with_its_number_and_what_to_write(written: str, told: str) -> None:
    with pytest.raises(ScriptError, match=told):
        parse_script(written, name="a.txt")


def test_a_file_is_read_with_or_without_a_mark_of_its_encoding(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeff0 prompt: ein Bär\r\n4 end\r\n".encode())
    assert [line.text for line in read_script(file).lines] == ["ein Bär"]


def test_a_file_that_is_no_text_of_people_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    with pytest.raises(ScriptError, match=r"a\.txt cannot be read \(No such file or directory\); name a text"):
        read_script(file)
    file.write_bytes(b"0 prompt: \xff")
    with pytest.raises(ScriptError, match=r"a\.txt is no text in UTF-8 .*; save it as such"):
        read_script(file)
    file.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ScriptError, match=r"a\.txt has over 1048576 bytes"):
        read_script(file)
