"""Whether a device is there, told before anything is made on it."""

from pathlib import Path

import pytest
import torch

from eddyline.errors import ConfigError
from eddyline_runtime.cli import main
from eddyline_runtime.precision import check_device


def test_a_gpu_that_is_not_there_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device in ("cpu", "cuda", "cuda:0", "cuda:1"):
        check_device(device)
    for device in ("cuda:2", "cuda:1000"):
        with pytest.raises(ConfigError, match=f"no GPU for --device {device}; there are cuda:0, cuda:1$"):
            check_device(device)


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--recording", "none", "--held-out", "none", "--out", "out"],
        ["learn-words", "--pairs", "none", "--out", "out"],
    ],
    ids=lambda command: command[0],
)
def test_what_trains_without_its_gpu_ends_with_one_line_and_leaves_nothing(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([*command, "--device", "cuda"]) == 2
    assert "there is no GPU for --device cuda; use --device cpu" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
