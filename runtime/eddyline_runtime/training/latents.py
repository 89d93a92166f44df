"""Encoded recordings on disk: latents and token states take long to make, so a run that is resumed reads them back.

One safetensors file. Clips lie one after the other along the frame axis; the metadata names what they were made from.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from eddyline.errors import CheckpointError, TrainingError
from eddyline_runtime.model.text_encoder import EncodedText
from eddyline_runtime.training.checkpoint import write_tensors
from eddyline_runtime.training.data import LatentClip, LatentData

FORMAT = "eddyline-latents-1"


def save_latents(path: Path, data: LatentData, *, made_from: str) -> None:
    """Write encoded clips; `made_from` says of which recording and codec.

    Raises:
        CheckpointError: the file cannot be written.
    """
    tensors = {
        "latents": torch.cat([clip.latents for clip in data.clips]),
        "actions": torch.cat([clip.actions for clip in data.clips]),
        "text": torch.cat([torch.tensor(clip.text, dtype=torch.int32) for clip in data.clips]),
        "frames": torch.tensor([len(clip.text) for clip in data.clips]),
        "stride": torch.tensor([clip.stride for clip in data.clips]),
        "states": data.encoded.states,
        "mask": data.encoded.mask,
        "pooled": data.encoded.pooled,
    }
    write_tensors(path, tensors, {"format": FORMAT, "made_from": made_from, "texts": json.dumps(data.texts)})


def load_latents(path: Path, *, made_from: str) -> LatentData | None:
    """Read encoded clips back; None where there is no such file, or it was made from something else.

    Raises:
        CheckpointError: the file is cut or foreign.
    """
    if not path.exists():
        return None
    metadata, tensors = _read(path)
    return _data(metadata, tensors) if metadata.get("made_from") == made_from else None


def map_latents(folder: Path) -> tuple[LatentData, ...]:
    """All files of encoded clips in a folder, in the order of their names, whatever they were made from. They are
    mapped into memory: what is never drawn is never read, so that together they may be larger than it.

    Raises:
        TrainingError: there is no such folder, or no file in it.
        CheckpointError: a file is cut or foreign.
    """
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise TrainingError(f"{folder} holds no latents (*.safetensors); encode clips and save them there")
    return tuple(_data(*_read(path)) for path in paths)


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors; the tensors are views of the mapped file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); it is cut, delete it to encode anew") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} holds no latents of ours (format {metadata.get('format')!r}, expected {FORMAT!r}); delete it"
        )
    return metadata, tensors


def _data(metadata: dict[str, str], tensors: dict[str, Tensor]) -> LatentData:
    lengths = tensors["frames"].tolist()
    parts = zip(
        tensors["latents"].split(lengths),
        tensors["text"].split(lengths),
        tensors["actions"].split(lengths),
        tensors["stride"].tolist(),
        strict=True,
    )
    return LatentData(
        clips=tuple(
            LatentClip(latents, tuple(text.tolist()), actions, stride) for latents, text, actions, stride in parts
        ),
        texts=tuple(json.loads(metadata["texts"])),
        encoded=EncodedText(tensors["states"], tensors["mask"], tensors["pooled"]),
    )
