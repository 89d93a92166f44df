"""Snapshots that no runtime took: files whose digest fits, and which say what they should not."""

from typing import Any

import msgspec
import torch
from safetensors.torch import load, save

from eddyline.protocol import SNAPSHOT_FORMAT
from eddyline_runtime import snapshot as snapshots


def metadata_of(data: bytes) -> dict[str, str]:
    """A file's metadata, whose order says nothing; its digest is of everything."""
    header: dict[str, Any] = msgspec.json.decode(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata: dict[str, str] = header["__metadata__"]
    return metadata


def moment_of(data: bytes) -> dict[str, Any]:
    """What a file says of its moment."""
    moment: dict[str, Any] = msgspec.json.decode(metadata_of(data)["moment"])
    return moment


def rewritten(data: bytes, **changes: Any) -> bytes:
    """The file with tensors or fields of its moment changed, and a digest that fits."""
    tensors = load(data)
    told = moment_of(data) | {name: value for name, value in changes.items() if name not in tensors}
    tensors |= {name: value for name, value in changes.items() if name in tensors}
    return _signed(tensors, msgspec.json.encode(told).decode())


def with_words(data: bytes, **changes: Any) -> bytes:
    """The file with fields of its words changed."""
    return rewritten(data, words={**moment_of(data)["words"], **changes})


def with_huge(data: bytes, number: int, huge: int) -> bytes:
    """The file with a number in its moment replaced by one that an encoder of JSON would not write."""
    return _signed(load(data), metadata_of(data)["moment"].replace(str(number), str(huge)))


def of_numbers(moment: str) -> bytes:
    """A file with all tensors that a snapshot has, each of them one number."""
    return _signed({name: torch.zeros((), dtype=kind) for name, kind in snapshots.TENSORS.items()}, moment)


def _signed(tensors: dict[str, torch.Tensor], moment: str) -> bytes:
    digest = snapshots._digest(moment, tensors)
    return save(tensors, {"format": SNAPSHOT_FORMAT, "moment": moment, "sha256": digest})
