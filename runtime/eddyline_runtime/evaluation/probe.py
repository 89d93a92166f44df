"""The probe: a small convolutional network that reads a world's labels off a few consecutive frames.

It is trained on recordings, whose frames carry labels, and then reads dreams. It must read pictures that are a little
blurred or noisy, so that is what it is trained on too, and part of its training pictures went through the codec.

Shapes: N windows, T frames, W frames per window, H W picture height and width, V values of an attribute.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int64, UInt8
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from eddyline.errors import TrainingError, WeightsError
from eddyline.recording import RecordedClip, Recording
from eddyline_runtime.dreamer import to_uint8
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.precision import half_precision

FORMAT = "eddyline-probe-1"
WINDOW_FRAMES = 4
"""Enough to see which way things move; one latent frame."""
_UNKNOWN = -100
"""Target of an attribute that is just changing: it counts for nothing."""


@dataclass(frozen=True, kw_only=True)
class ProbeRecipe:
    """How a probe is trained."""

    steps: int = 8000
    batch: int = 32
    learning_rate: float = 2e-3
    windows_per_clip: int = 14
    max_clips: int = 2400
    held_out_share: float = 0.08
    """Of the clips; accuracy is measured on them."""
    codec_share: float = 0.35
    """Of the windows: seen through the codec."""
    latent_noise: float = 0.15
    """Deviation of noise added to latents on the way through the codec."""
    settle_frames: int = 12
    """An attribute counts from so many frames after its change on."""
    instant: tuple[str, ...] = ("doing", "happening")
    """Attributes that are what they are from their first frame on."""
    seed: int = 0


@runtime_checkable
class ClipSource(Protocol):
    """A recording, or anything that reads like one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> RecordedClip: ...


class Probe(nn.Module):
    """Convolutions over a window of frames, one linear head per attribute."""

    def __init__(self, labels: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.labels = {attribute: tuple(values) for attribute, values in labels.items()}
        self.eyes = nn.Sequential(
            *_stage(3 * WINDOW_FRAMES, 32, size=5, stride=4),
            *_stage(32, 64, stride=2),
            *_stage(64, 64),
            *_stage(64, 128, stride=2),
            *_stage(128, 128),
            *_stage(128, 96, stride=2),
        )
        self.middle = nn.Sequential(
            nn.AdaptiveAvgPool2d((3, 5)), nn.Flatten(), nn.Dropout(0.15), nn.Linear(96 * 15, 96), nn.SiLU()
        )
        self.heads = nn.ModuleDict({attribute: nn.Linear(96, len(values)) for attribute, values in self.labels.items()})

    def forward(self, windows: Float[Tensor, "N W 3 H W2"]) -> dict[str, Float[Tensor, "N V"]]:
        """Windows of frames in [-1, 1] to logits of each attribute's values."""
        seen = self.middle(self.eyes(_joined(windows)))
        return {attribute: head(seen) for attribute, head in self.heads.items()}

    @torch.inference_mode()
    def features(self, frames: NDArray[np.uint8], *, stride: int = WINDOW_FRAMES) -> NDArray[np.float32]:
        """What RGB frames [T, H, W, 3] look like before they get names: [N, 96] of a window every `stride` frames.

        Raises:
            ValueError: there are fewer frames than a window has.
        """
        if len(frames) < WINDOW_FRAMES:
            raise ValueError(f"{len(frames)} frames are too few to read; the probe looks at {WINDOW_FRAMES} at once")
        starts = range(0, len(frames) - WINDOW_FRAMES + 1, stride)
        windows = torch.stack([_to_tensor(frames[start : start + WINDOW_FRAMES]) for start in starts])
        self.eval()
        seen: NDArray[np.float32] = self.middle(self.eyes(_joined(windows))).numpy()
        return seen

    @torch.inference_mode()
    def shares(self, features: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """For each attribute, probabilities [N, V] of its values in windows with these features."""
        seen = torch.from_numpy(features)
        return {attribute: head(seen).softmax(1).numpy() for attribute, head in self.heads.items()}

    def look(self, frames: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Read RGB frames [T, H, W, 3]: for each attribute, probabilities [N, V] of each of N windows.

        Raises:
            ValueError: there are fewer frames than a window has.
        """
        return self.shares(self.features(frames))

    def save(self, path: Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write the probe as safetensors; label names go into the metadata."""
        about = {"format": FORMAT, "labels": json.dumps(self.labels), **(metadata or {})}
        save_file({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, path, about)


def load_probe(path: Path) -> Probe:
    """Read a probe.

    Raises:
        WeightsError: the file is missing, cut, or no probe.
    """
    if not path.exists():
        raise WeightsError(
            f"{path} is not there: this world has no probe to read pictures; "
            "`eddyline_runtime.evaluation.probe.train_probe` makes one of a recording with labels, and "
            "`python -m eddyline_runtime.evaluation.directions` measures keys without one"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read ({error}); it may be cut: train the probe again") from error
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{path} has the format {metadata.get('format')!r}, a probe has {FORMAT!r}; train the probe again"
        )
    probe = Probe(json.loads(metadata["labels"]))
    probe.load_state_dict(tensors)
    return probe.eval().requires_grad_(False)


@dataclass(frozen=True)
class Windows:
    """Windows of frames with their targets."""

    frames: UInt8[Tensor, "N W 3 H W2"]
    targets: dict[str, Int64[Tensor, " N"]]
    """Index of the value, or a mark for values that are just changing."""

    def __len__(self) -> int:
        return len(self.frames)


def cut_windows(
    source: ClipSource, clips: Sequence[int], recipe: ProbeRecipe, rng: np.random.Generator
) -> tuple[UInt8[Tensor, "N W 3 H W2"], list[dict[str, str | None]]]:
    """Draw windows of some clips, `recipe.windows_per_clip` of each at most.

    Returns:
        The frames, and for each window the value of each attribute; None where it has not settled.
    """
    frames = torch.empty(0, dtype=torch.uint8)
    settled: list[dict[str, str | None]] = []
    for index in tqdm(clips, desc="cutting windows", unit="clip"):
        clip = source[index]
        starts = rng.permutation(len(clip.frames) - WINDOW_FRAMES + 1)[: recipe.windows_per_clip]
        for start in starts.tolist():
            window = torch.from_numpy(_first_channels(clip.frames[start : start + WINDOW_FRAMES]))
            if not settled:  # room for all of them at once: gigabytes that are not to be copied
                frames = torch.empty((len(clips) * recipe.windows_per_clip, *window.shape), dtype=torch.uint8)
            frames[len(settled)] = window
            settled.append({name: _settled(values, start, name, recipe) for name, values in clip.labels.items()})
    return frames[: len(settled)], settled


def _settled(values: Sequence[str], start: int, attribute: str, recipe: ProbeRecipe) -> str | None:
    settle = 0 if attribute in recipe.instant else recipe.settle_frames
    around = set(values[max(0, start - settle) : start + WINDOW_FRAMES])
    return values[start] if len(around) == 1 else None


def _windows(
    frames: UInt8[Tensor, "N W 3 H W2"],
    settled: Sequence[Mapping[str, str | None]],
    labels: Mapping[str, Sequence[str]],
) -> Windows:
    def target(value: str | None, values: Sequence[str]) -> int:
        return _UNKNOWN if value is None else values.index(value)

    targets = {
        attribute: torch.tensor([target(window.get(attribute), values) for window in settled])
        for attribute, values in labels.items()
    }
    return Windows(frames, targets)


def train_probe(
    recording: Path | ClipSource,
    out: Path,
    *,
    codec: Codec | None = None,
    recipe: ProbeRecipe | None = None,
) -> dict[str, float]:
    """Train a probe on a recording and save it.

    Args:
        codec: some pictures are shown through it, as dreams come out of it.

    Returns:
        accuracy per attribute on clips that were not trained on, transitions left out.

    Raises:
        TrainingError: there are fewer than two clips, or no labels.
    """
    recipe = recipe or ProbeRecipe()
    source = Recording(recording) if isinstance(recording, Path) else recording
    if len(source) < 2:
        raise TrainingError(
            f"the recording has {len(source)} clips; a probe needs two at least, to train and to measure"
        )
    rng = np.random.default_rng(recipe.seed)
    chosen = rng.permutation(len(source))[: recipe.max_clips].tolist()
    held_out = max(1, round(recipe.held_out_share * len(chosen)))
    # apart, for short clips have fewer windows than others, and none may be in both
    (test_frames, test_settled), (frames, settled) = (
        cut_windows(source, clips, recipe, rng) for clips in (chosen[:held_out], chosen[held_out:])
    )
    every = [*test_settled, *settled]
    labels = {
        name: tuple(sorted({value for window in every if (value := window.get(name)) is not None}))
        for name in dict.fromkeys(name for window in every for name in window)
    }
    if not labels:
        raise TrainingError("the recording has no labels for a probe to learn; pass labels to Recorder.add")
    test, train = _windows(test_frames, test_settled, labels), _windows(frames, settled, labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        generator = torch.Generator().manual_seed(recipe.seed)
        if codec is not None:
            _through_codec(train, codec, recipe, generator)
        probe = Probe(labels)
        _fit(probe, train, recipe, generator)
    accuracy = measure_probe(probe, test)
    about = {"recipe": json.dumps(asdict(recipe)), "accuracy": json.dumps(accuracy)}
    probe.save(out, about)
    return accuracy


@torch.inference_mode()
def measure_probe(probe: Probe, windows: Windows, *, batch: int = 64) -> dict[str, float]:
    """Share of windows read right, per attribute; NaN where no window has settled labels."""
    probe.eval()
    right = dict.fromkeys(probe.labels, 0)
    counted = dict.fromkeys(probe.labels, 0)
    for start in range(0, len(windows), batch):
        logits = probe(_scaled(windows.frames[start : start + batch]))
        for attribute, scores in logits.items():
            target = windows.targets[attribute][start : start + batch]
            known = target != _UNKNOWN
            right[attribute] += int((scores.argmax(1) == target)[known].sum())
            counted[attribute] += int(known.sum())
    return {name: right[name] / counted[name] if counted[name] else float("nan") for name in right}


def _fit(probe: Probe, windows: Windows, recipe: ProbeRecipe, generator: torch.Generator) -> None:
    optimiser = torch.optim.AdamW(probe.parameters(), lr=recipe.learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=recipe.steps)
    probe.train()
    bar = tqdm(range(recipe.steps), desc="training the probe", unit="step")
    for _ in bar:
        rows = torch.randint(len(windows), (recipe.batch,), generator=generator)
        seen = _roughened(_scaled(windows.frames[rows]), generator)
        with half_precision("cpu"):
            logits = probe(seen)
        losses = [
            F.cross_entropy(scores.float(), windows.targets[attribute][rows], ignore_index=_UNKNOWN, reduction="sum")
            for attribute, scores in logits.items()
        ]
        loss = torch.stack(losses).sum() / recipe.batch
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)


def _roughened(windows: Float[Tensor, "N W 3 H W2"], generator: torch.Generator) -> Float[Tensor, "N W 3 H W2"]:
    """Blur some windows, add noise, change brightness and contrast a little, as dreams differ from recordings."""
    count = len(windows)

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, 1, generator=generator)

    flat = rearrange(windows, "n w c y x -> (n w) c y x")
    blurred = F.avg_pool2d(flat, 3, stride=1, padding=1, count_include_pad=False).view_as(windows)
    blur = drawn(-0.6, 1.0).clamp(min=0)
    windows = windows + blur * (blurred - windows)
    noise = torch.randn(windows.shape[1:], generator=generator) * drawn(-0.08, 0.12).clamp(min=0)  # one pattern: quick
    return (windows + noise) * drawn(0.88, 1.1) + drawn(-0.06, 0.06)


@torch.inference_mode()
def _through_codec(windows: Windows, codec: Codec, recipe: ProbeRecipe, generator: torch.Generator) -> None:
    """Replace a share of the windows, in place, by what the codec makes of them."""
    frames = windows.frames
    rows = torch.randperm(len(windows), generator=generator)[: round(recipe.codec_share * len(windows))]
    for piece in tqdm(torch.split(rows, 16), desc="through the codec", unit="batch"):
        latents = codec.encode(_scaled(frames[piece]))
        # The decoder remembers the latent frame before: give it a full stop of the same picture.
        state = codec.decode(latents)[1]
        level = recipe.latent_noise * torch.rand(len(piece), 1, 1, 1, 1, generator=generator)
        noisy = latents + level * torch.randn(latents.shape, generator=generator)
        pixels, _ = codec.decode(noisy, state)
        frames[piece] = to_uint8(pixels)


def _joined(windows: Float[Tensor, "N W 3 H W2"]) -> Float[Tensor, "N channels H W2"]:
    joined: Tensor = rearrange(windows, "n w c y x -> n (w c) y x")
    return joined


def _stage(inside: int, outside: int, *, size: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inside, outside, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outside),
        nn.SiLU(),
    )


def _first_channels(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(frames.transpose(0, 3, 1, 2))


def _to_tensor(frames: NDArray[np.uint8]) -> Float[Tensor, "W 3 H W2"]:
    return _scaled(torch.from_numpy(_first_channels(frames)))


def _scaled(frames: Tensor) -> Tensor:
    return frames.float() / 127.5 - 1.0
