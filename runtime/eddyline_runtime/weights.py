"""Find, verify and load a world: its card, StreamDiT, codec and text encoder.

A world is a folder: `card.json` (sizes, profiles, what the world knows, sha256 of each file), `streamdit.safetensors`,
`codec.safetensors` and, where they were trained, `probe.safetensors` and `words.safetensors`. Tensors are only ever
read from safetensors.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path

import msgspec
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from eddyline import protocol
from eddyline.errors import ConfigError, ProtocolError, WeightsError
from eddyline_runtime import config
from eddyline_runtime.config import CodecConfig, ModelConfig, Profile
from eddyline_runtime.files import sha256_of
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.model.streamdit import StreamDiT
from eddyline_runtime.model.text_encoder import ByteTextEncoder, MiniLMTextEncoder, TextEncoder
from eddyline_runtime.precision import default_dtype

CARD_VERSION = 1
WORDS_FILE = "words.safetensors"
"""`World.learned`."""
WEIGHT_FILES = ("codec.safetensors", "probe.safetensors", "streamdit.safetensors", WORDS_FILE)
"""What a world may consist of beside its card; a training run keeps other files in its folder too."""


@dataclass(frozen=True, kw_only=True)
class WorldCard:
    """What a world is and knows; stored as JSON beside its weights.

    Raises:
        ConfigError: picture, latent, actions or profiles do not fit together, or clients could not be told of them.
    """

    name: str
    description: str
    fps: float
    height: int
    width: int
    model: ModelConfig
    codec: CodecConfig
    text_encoder: str
    text_tokens: int
    action_names: tuple[str, ...]
    phrases: tuple[str, ...]
    """What this world knows, in short phrases; suggestions and `understood` are made from them."""
    profiles: dict[str, Profile]
    default_profile: str
    training: dict[str, str] = field(default_factory=dict)
    """How it was trained: recipe, samples, seed, versions, measured figures."""
    sha256: dict[str, str] = field(default_factory=dict)
    version: int = CARD_VERSION

    def __post_init__(self) -> None:
        cell = self.codec.cell_px
        picture = (self.model.latent_height * cell, self.model.latent_width * cell)
        if (self.height, self.width) != picture or self.model.latent_channels != self.codec.latent_channels:
            raise ConfigError(
                f"world {self.name!r} shows {self.width}x{self.height}, its latent decodes to "
                f"{picture[1]}x{picture[0]}; card, model and codec must be of one size"
            )
        if len(self.action_names) != self.model.action_dim:
            raise ConfigError(
                f"world {self.name!r} names {len(self.action_names)} actions, its model takes {self.model.action_dim}"
            )
        if self.default_profile not in self.profiles:
            raise ConfigError(
                f"world {self.name!r} has no profile {self.default_profile!r}, only {', '.join(self.profiles)}"
            )
        self._check_welcome()

    def weights_id(self) -> str:
        """What two worlds share exactly where the latents of one mean the same in the other; a digest in hex."""
        hashes = [self.sha256.get(name) for name in ("codec.safetensors", "streamdit.safetensors")]
        return hashlib.sha256(msgspec.json.encode([self.model, self.codec, hashes])).hexdigest()

    def profile_name(self, asked: str | None) -> str:
        """The name of the profile that is asked for, or of the world's own.

        Raises:
            ConfigError: the world has no such profile.
        """
        if asked is not None and asked not in self.profiles:
            known = ", ".join(sorted(self.profiles))
            raise ConfigError(f"profile {asked!r} is unknown; {self.name} has {known}")
        return self.default_profile if asked is None else asked

    def chunk_frames(self, profile: Profile) -> int:
        """Frames of a chunk."""
        return profile.partition.chunk_frames * self.codec.frames_per_latent

    def welcome(self) -> protocol.Welcome:
        """What clients are told of this world."""
        return protocol.Welcome(
            version=protocol.VERSION,
            runtime="",
            instance="",
            model=self.name,
            fps=self.fps,
            height=self.height,
            width=self.width,
            action_names=self.action_names,
            profiles=tuple(
                protocol.ProfileInfo(name=name, chunk_frames=self.chunk_frames(profile))
                for name, profile in self.profiles.items()
            ),
            default_profile=self.default_profile,
            phrases=self.phrases[: protocol.MAX_PHRASES],
        )

    def _check_welcome(self) -> None:
        """What a runtime will tell its clients must be within the limits of the wire."""
        try:
            protocol.decode_runtime_message(protocol.encode(self.welcome()))
        except ProtocolError as error:
            raise ConfigError(
                f"world {self.name!r} cannot be told to clients ({error}); change that name, phrase or number"
            ) from error


@dataclass(frozen=True)
class World:
    """A loaded world, ready to dream."""

    card: WorldCard
    model: StreamDiT
    codec: Codec
    text_encoder: TextEncoder
    learned: Float[Tensor, "S K"] | None = None
    """Unit vectors, under its text encoder, of some texts that `learn-words` taught it to read."""


def tiny_card() -> WorldCard:
    """The test world: 48x32, byte text encoder, random weights only."""
    profiles = {
        "smooth": config.smooth(),
        "responsive": config.responsive(),
    }
    return WorldCard(
        name="tiny",
        description="Random weights for tests: noise that answers to words, no pictures.",
        fps=16.0,
        height=32,
        width=48,
        model=config.tiny(),
        codec=config.tiny_codec(),
        text_encoder=ByteTextEncoder.name,
        text_tokens=24,
        action_names=("ArrowLeft", "ArrowRight", "ArrowUp", "KeyA", "KeyD"),
        phrases=("a red knight", "it starts to rain", "night falls"),
        profiles=profiles,
        default_profile="smooth",
    )


def large_card(name: str, model: ModelConfig) -> WorldCard:
    """The paper's sizes: 512x512 at 16 fps. No weights exist; for benchmarks with random ones."""
    profiles = {"smooth": Profile(partition=config.Partition(num_chunks=8, chunk_frames=2))}
    return WorldCard(
        name=name,
        description="StreamDiT at the paper's size; untrained.",
        fps=16.0,
        height=512,
        width=512,
        model=model,
        codec=CodecConfig(latent_channels=8, width=128, detail_width=96, depth=2),
        text_encoder=ByteTextEncoder.name,
        text_tokens=512,
        action_names=(
            *(f"Digit{i}" for i in range(10)),
            *("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "KeyA", "KeyD"),
        ),
        phrases=(),
        profiles=profiles,
        default_profile="smooth",
    )


_UNTRAINED: dict[str, Callable[[], WorldCard]] = {
    "tiny": tiny_card,
    "streamdit_4b": lambda: large_card("streamdit_4b", config.streamdit_4b()),
    "streamdit_30b": lambda: large_card("streamdit_30b", config.streamdit_30b()),
}


def card_of(name_or_path: str) -> WorldCard:
    """The card of a shipped world, an untrained preset, or a folder; no weights are read.

    Raises:
        WeightsError: there is no such world, or its card is none.
    """
    if name_or_path in _UNTRAINED:
        return _UNTRAINED[name_or_path]()
    return read_card(world_folder(name_or_path))


def world_folder(name_or_path: str) -> Path:
    """The folder of a shipped world's name, or the path itself.

    Raises:
        WeightsError: there is no such world.
    """
    shipped = Path(str(files("eddyline_runtime"))) / "pretrained" / name_or_path
    for folder in (shipped, Path(name_or_path)):
        if (folder / "card.json").is_file():
            return folder
    raise WeightsError(
        f"no world called {name_or_path!r}: neither shipped with the package nor a folder with a card.json; "
        "use 'diorama', or the folder that `eddyline-runtime train` wrote"
    )


def load_world(
    name_or_path: str, *, device: str = "cpu", dtype: torch.dtype | None = None, random_weights: bool = False
) -> World:
    """Load a world for inference.

    Args:
        name_or_path: a shipped world's name, an untrained preset (`tiny`, `streamdit_4b`, `streamdit_30b`; only with
            `random_weights`), or a folder.
        device: what torch calls it; the text encoder stays on the host.
        dtype: of StreamDiT; by default the fastest the device has (bf16 where it is native).
        random_weights: seeded random weights instead of trained ones, for benchmarks and tests.

    Raises:
        WeightsError: the world is unknown, a file is missing, cut, foreign or of another shape, or a preset without
            weights was asked for without `random_weights`.
    """
    if name_or_path in _UNTRAINED:
        if not random_weights:
            raise WeightsError(
                f"{name_or_path} has no weights, only a shape; ask for random ones to benchmark it (--random-weights; "
                "in Python random_weights=True), or use 'diorama'"
            )
        return _random_world(_UNTRAINED[name_or_path](), device, dtype)
    folder = world_folder(name_or_path)
    card = read_card(folder)
    if random_weights:
        return _random_world(card, device, dtype)
    model, codec = _build(card, device)
    load_into(model, _verified(folder, card, "streamdit.safetensors"))
    load_into(codec, _verified(folder, card, "codec.safetensors"))
    learned = _load_learned(folder, card) if WORDS_FILE in card.sha256 else None
    return World(card, *_for_inference(model, codec, device, dtype), text_encoder_for(card), learned)


def save_world(
    folder: Path, card: WorldCard, *, model: StreamDiT, codec: Codec, learned: Float[Tensor, "S K"] | None = None
) -> WorldCard:
    """Write a world: weights (StreamDiT as bf16, its statistics and the codec as float32), then the card with hashes.

    `learned` is `World.learned`, written as fp16.

    A probe that lies in the folder already is named in the card too. Returns the card as written.

    Raises:
        WeightsError: it cannot be written; says whether a world that was there before is untouched.
    """
    statistics = dict(model.named_buffers())
    contents = {
        "streamdit.safetensors": {
            k: v if k in statistics else v.to(torch.bfloat16) for k, v in model.state_dict().items()
        },
        "codec.safetensors": codec.state_dict(),
    }
    if learned is not None:
        contents[WORDS_FILE] = {"pooled": learned.half()}
    parts = {name: folder / f"{name}.part" for name in (*contents, "card.json")}
    replaced: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, tensors in contents.items():
            save_file({k: v.contiguous() for k, v in tensors.items()}, parts[name])
        kept = (name for name in WEIGHT_FILES if name in contents or name != WORDS_FILE)
        written = {name: parts.get(name, folder / name) for name in kept}
        card = replace(card, sha256={name: sha256_of(path) for name, path in written.items() if path.exists()})
        parts["card.json"].write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=2))
        for name, part in parts.items():
            part.replace(folder / name)
            replaced.append(name)
        if WORDS_FILE not in contents:
            (folder / WORDS_FILE).unlink(missing_ok=True)  # of the world that was there before
    except (OSError, SafetensorError) as error:
        for part in parts.values():
            part.unlink(missing_ok=True)
        before = (
            f"{', '.join(replaced)} are new already, so a world that was there before is none any more"
            if replaced
            else "a world that was there before is untouched"
        )
        raise WeightsError(
            f"{folder}: the world cannot be written ({error}); make room on the disk or choose another folder, {before}"
        ) from error
    return card


def read_card(folder: Path) -> WorldCard:
    """Read and check a world's card.

    Raises:
        WeightsError: it is no card, or one of another version.
    """
    path = folder / "card.json"
    try:
        card = msgspec.json.decode(path.read_bytes(), type=WorldCard)
    except (OSError, ConfigError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise WeightsError(f"{path} is no world card ({error}); train again or reinstall the package") from error
    if card.version != CARD_VERSION:
        raise WeightsError(
            f"{path} has version {card.version}, this runtime reads {CARD_VERSION}; use a matching release"
        )
    return card


def _load_learned(folder: Path, card: WorldCard) -> Float[Tensor, "S K"]:
    path = _verified(folder, card, WORDS_FILE)
    try:
        learned = load_file(path)["pooled"].float()
    except (OSError, SafetensorError, KeyError) as error:
        raise WeightsError(f"{path} holds no vectors of texts ({error!r}); run learn-words again") from error
    if learned.ndim != 2 or learned.shape[1] != card.model.text_dim or not len(learned):
        raise WeightsError(
            f"{path} holds vectors {tuple(learned.shape)}, expected [texts, {card.model.text_dim}]; "
            "run learn-words again"
        )
    return learned


def load_into(module: nn.Module, path: Path) -> None:
    """Load a safetensors file into a module, every tensor, no other.

    Raises:
        WeightsError: the file is missing, cut, or has other tensors or shapes.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path} cannot be read ({error}); it is missing or cut: reinstall or train again"
        ) from error
    expected = {name: tuple(t.shape) for name, t in module.state_dict().items()}
    given = {name: tuple(t.shape) for name, t in tensors.items()}
    wrong = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
    if wrong:
        name = wrong[0]
        raise WeightsError(
            f"{path} does not fit: {name} is {given.get(name, 'missing')}, expected {expected.get(name, 'nothing')} "
            f"({len(wrong)} tensors differ); the file belongs to another configuration"
        )
    module.load_state_dict(tensors)


def text_encoder_for(card: WorldCard) -> TextEncoder:
    """The encoder a card names.

    Raises:
        WeightsError: this runtime does not know it.
    """
    if card.text_encoder == MiniLMTextEncoder.name:
        return MiniLMTextEncoder(max_tokens=card.text_tokens)
    if card.text_encoder == ByteTextEncoder.name:
        return ByteTextEncoder(dim=card.model.text_dim, max_tokens=card.text_tokens)
    raise WeightsError(f"text encoder {card.text_encoder!r} is unknown; this runtime has all-MiniLM-L6-v2 and bytes")


def _build(card: WorldCard, device: str) -> tuple[StreamDiT, Codec]:
    with torch.device(device):
        return StreamDiT(card.model), Codec(card.codec)


def _random_world(card: WorldCard, device: str, dtype: torch.dtype | None) -> World:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, codec = _build(card, device)
        for parameter in (*model.parameters(), *codec.parameters()):
            if parameter.ndim > 1 and not parameter.any():  # zero starts would hide the words and the past
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    return World(card, *_for_inference(model, codec, device, dtype), text_encoder_for(card))


def _for_inference(model: StreamDiT, codec: Codec, device: str, dtype: torch.dtype | None) -> tuple[StreamDiT, Codec]:
    deviation = model.latent_deviation
    model = model.to(device=device, dtype=dtype or default_dtype(device)).eval().requires_grad_(False)
    model.latent_deviation = deviation.to(device)  # statistics stay float32
    return model, codec.to(device).eval().requires_grad_(False)


def _verified(folder: Path, card: WorldCard, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise WeightsError(f"{path} is missing; reinstall the package or train again")
    if sha256_of(path) != card.sha256.get(name):
        raise WeightsError(f"{path} is cut or was changed: its sha256 is not the card's; reinstall or train again")
    return path
