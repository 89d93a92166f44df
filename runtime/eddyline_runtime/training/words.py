"""Teach a world words it was not trained on: a text refiner learns to read them as words it knows.

Pairs of texts say what a world never read ("a tomcat strolls through drizzle") and the same in words it was trained on
("a cat walks right, it rains"). The world stays as it is and is the teacher of its own refiner: what every block's
cross-attention reads of the first text shall be what it reads of the second one, under queries that the world has when
it dreams. So no pictures are needed, and a step takes a second on one core.

Shapes: T texts, S texts whose vectors are kept, L text tokens, K text channels, N queries, H heads, D head dimension,
W width, C condition width.
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from tqdm import tqdm

from eddyline.errors import TrainingError
from eddyline_runtime.flow.sampler import euler_step
from eddyline_runtime.model.streamdit import Block, Conditioning, StreamDiT, plain_attention
from eddyline_runtime.model.text_encoder import TextEncoder
from eddyline_runtime.precision import half_precision
from eddyline_runtime.training.codec_trainer import warm_cosine
from eddyline_runtime.training.interrupt import ctrl_c_tells

MAX_PAIRS = 200_000
"""Pairs that are taken at most: their token states are kept in memory."""
COMPARED = 256
"""Pairs, the first ones, whose plain texts tell how far readings of different texts lie apart."""
SAMPLED = 512
"""Texts whose vectors a world keeps."""


@dataclass(frozen=True)
class Pair:
    """One statement in two wordings."""

    words: str
    """As somebody may type it."""
    plain: str
    """As the world was trained to read it."""


@dataclass(frozen=True, kw_only=True)
class WordsPlan:
    """How a refiner is trained."""

    depth: int = 2
    """Layers of the refiner, where the world has none yet."""
    steps: int = 1800
    batch: int = 64
    """Pairs."""
    queries: int = 48
    """Of each block, drawn anew for each step."""
    learning_rate: float = 1e-3
    scenes: int = 48
    """Dreamed to draw queries from."""


@dataclass(frozen=True)
class WordsReport:
    """What a refiner reached on pairs it did not see: the mean squared distance of what is read of the two texts, as a
    share of how far what is read of different plain texts lies apart."""

    distance_before: float
    distance: float


@dataclass(frozen=True)
class Reading:
    """What the blocks read of texts."""

    answers: tuple[Float[Tensor, "T N W"], ...]
    """Of each block's cross-attention, to its own queries."""
    brief: Float[Tensor, "T C"]


def read_pairs(path: Path) -> list[Pair]:
    """Pairs from a file of JSON lines, each {"words": ..., "plain": ...}.

    Raises:
        TrainingError: the file cannot be read, a line is no pair of texts that are not empty, or there are fewer than
            64 pairs or more than `MAX_PAIRS`.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} cannot be read ({error}); give a UTF-8 file of JSON lines") from error
    pairs = [_pair(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not 64 <= len(pairs) <= MAX_PAIRS:
        raise TrainingError(f"{path} holds {len(pairs)} pairs; give 64 to {MAX_PAIRS}")
    return pairs


def whole_pairs(pairs: Sequence[Pair], encoder: TextEncoder) -> list[Pair]:
    """Those pairs of which the encoder cuts neither text: of a text that is cut, what its other one says at the end
    cannot be learned, an event most of all.

    Raises:
        TrainingError: fewer than 64 are left.
    """
    kept = [p for p in pairs if max(encoder.count_tokens(p.words), encoder.count_tokens(p.plain)) <= encoder.max_tokens]
    if len(kept) < 64:
        raise TrainingError(
            f"of {len(pairs)} pairs {len(kept)} fit into the {encoder.max_tokens} tokens that are read; "
            "give shorter ones, 64 at least"
        )
    return kept


def _pair(path: Path, number: int, line: str) -> Pair:
    try:
        told = json.loads(line)
    except ValueError as error:
        raise TrainingError(f"{path}, line {number} is no JSON ({error})") from error
    words, plain = (told.get("words"), told.get("plain")) if isinstance(told, dict) else (None, None)
    if not (isinstance(words, str) and isinstance(plain, str) and words.strip() and plain.strip()):
        raise TrainingError(
            f'{path}, line {number} is {line[:80]!r}; a line is an object of two texts, {{"words": ..., "plain": ...}}'
        )
    return Pair(words, plain)


def learn_words(
    model: StreamDiT,
    text_encoder: TextEncoder,
    pairs: Sequence[Pair],
    *,
    plan: WordsPlan,
    seed: int,
    device: str,
) -> tuple[StreamDiT, WordsReport]:
    """A copy of the model whose refiner was trained; every other weight is the model's.

    A refiner that the model has goes on learning. What plain words shall be read as never passes through it, so
    learning again and again does not move it. One pair in twenty is kept out, to measure with. In one batch in three
    every text stands for itself, so that what the world reads well is left alone.

    Raises:
        TrainingError: the first `COMPARED` pairs all have one plain text, the loss is not finite, or Ctrl-C was
            pressed.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    teacher = model.to(device).eval()
    student = _with_refiner(teacher, plan.depth).to(device)
    held_out, train = pairs[::20], [pair for index, pair in enumerate(pairs) if index % 20]
    compared = [pair.plain for pair in train[:COMPARED]]
    if len(set(compared)) == 1:
        raise TrainingError(
            f"the first {len(compared)} pairs all have the plain text {compared[0]!r}, and by different ones is "
            "measured how near a reading is; shuffle the lines, or give pairs of several plain texts"
        )
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.words, pair.plain)))
    known = _Texts(text_encoder, texts, device)
    queries = gather_queries(teacher, known, [pair.plain for pair in train[: plan.scenes]], generator)
    lesson = _Lesson(student, teacher, known, _spread(teacher, known, compared, queries))
    refiner = list(student.text_refiner.parameters())
    optimiser = torch.optim.AdamW(refiner, lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    before = lesson.distance(held_out, queries)
    average = math.nan
    again = "stopped while words were learned; nothing was written, run the same command again"
    with ctrl_c_tells(again), tqdm(range(plan.steps), desc="learning words", unit="step") as bar:
        for step in bar:
            picked = [train[int(i)] for i in torch.randint(len(train), (plan.batch,), generator=generator)]
            if step % 3 == 0:
                picked = [Pair(pair.plain, pair.plain) for pair in picked]
            some = [q[torch.randperm(len(q), generator=generator)[: plan.queries]] for q in queries]
            loss = lesson.loss(picked, some)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(refiner, 1.0)
            if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
                raise TrainingError(
                    f"the loss is {loss.item()}, its gradient {norm.item()} at step {step}; take another --seed"
                )
            for group in optimiser.param_groups:
                group["lr"] = plan.learning_rate * warm_cosine(step, plan.steps)
            optimiser.step()
            average = loss.item() if math.isnan(average) else 0.98 * average + 0.02 * loss.item()
            bar.set_postfix(loss=f"{average:.4f}")
    return student.eval(), WordsReport(before, lesson.distance(held_out, queries))


@torch.no_grad()
def sample_texts(pairs: Sequence[Pair], encoder: TextEncoder, *, seed: int) -> Float[Tensor, "S K"]:
    """Unit vectors of `SAMPLED` texts as somebody may type them: by these a world knows what it has learned to read."""
    texts = list(dict.fromkeys(pair.words for pair in pairs))
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed))[:SAMPLED].tolist()
    chosen = [texts[number] for number in order]
    return torch.cat([encoder.encode(chosen[first : first + 64]).pooled for first in range(0, len(chosen), 64)])


def _with_refiner(model: StreamDiT, depth: int) -> StreamDiT:
    """A copy with a refiner, of which nothing else can be trained."""
    if model.config.refiner_depth:
        depth = model.config.refiner_depth
    copy = StreamDiT(replace(model.config, refiner_depth=depth))
    copy.load_state_dict({**copy.state_dict(), **model.state_dict()})
    copy.requires_grad_(False)
    copy.text_refiner.requires_grad_(True)
    return copy


class _Texts:
    """Token states of many texts, kept in half precision."""

    def __init__(self, encoder: TextEncoder, texts: Sequence[str], device: str) -> None:
        texts = sorted(texts, key=len)  # short ones together, so that little is padding
        self._index = {text: number for number, text in enumerate(texts)}
        self._device = device
        states, masks = [], []
        for first in tqdm(range(0, len(texts), 256), desc="encoding texts", unit="batch"):
            with half_precision("cpu"):
                encoded = encoder.encode(texts[first : first + 256])
            states.append(encoded.states.half())
            masks.append(encoded.mask)
        self._states, self._mask = torch.cat(states), torch.cat(masks)

    def get(self, texts: Sequence[str]) -> tuple[Float[Tensor, "T L K"], Bool[Tensor, "T L"]]:
        """Some of them, no longer than the longest."""
        rows = torch.tensor([self._index[text] for text in texts])
        mask = self._mask[rows]
        length = int(mask.sum(1).max())
        return self._states[rows, :length].float().to(self._device), mask[:, :length].to(self._device)


@torch.no_grad()
def gather_queries(
    model: StreamDiT, texts: _Texts, plain: Sequence[str], generator: torch.Generator, *, steps: int = 4
) -> list[Float[Tensor, "N H D"]]:
    """Queries of every block's cross-attention while a scene is dreamed for each plain text, which no refiner goes
    over: 64 of each call and scene."""
    config = model.config
    gathered: list[list[Tensor]] = [[] for _ in _blocks(model)]
    frames = 8
    for text in tqdm(plain, desc="dreaming scenes", unit="scene"):
        states, mask = texts.get([text])
        device = states.device
        words = Conditioning(
            text=states,
            text_mask=mask,
            text_index=torch.zeros(1, frames, dtype=torch.long, device=device),
            actions=torch.zeros(1, frames, config.action_dim, device=device),
            stride=torch.ones(1, frames, dtype=torch.long, device=device),
            refined=True,
        )
        shape = (1, frames, config.latent_channels, config.latent_height, config.latent_width)
        latents = torch.randn(shape, generator=generator).to(device)
        delta = torch.full((frames,), 1 / steps)
        for step in range(steps):
            with _listening(model, gathered, generator):
                velocity = model(latents, torch.full((1, frames), step / steps, device=device), words)
            latents = euler_step(latents, velocity.float(), delta)
    return [torch.cat(parts) for parts in gathered]


@contextmanager
def _listening(model: StreamDiT, gathered: list[list[Tensor]], generator: torch.Generator) -> Iterator[None]:
    """Within it, each block's queries of a call are sampled into its list."""

    def keep(into: list[Tensor]) -> object:
        def hook(module: nn.Module, given: object, queries: Tensor) -> None:
            rows = rearrange(queries.float(), "b f s h d -> (b f s) h d")
            into.append(rows[torch.randperm(len(rows), generator=generator)[:64]])

        return hook

    handles = [
        block.text_q_norm.register_forward_hook(keep(into))  # type: ignore[arg-type]  # the stub wants Any
        for block, into in zip(_blocks(model), gathered, strict=True)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _blocks(model: StreamDiT) -> list[Block]:
    return [block for block in model.blocks if isinstance(block, Block)]


def read(
    model: StreamDiT,
    states: Float[Tensor, "T L K"],
    mask: Bool[Tensor, "T L"],
    queries: Sequence[Float[Tensor, "N H D"]],
) -> Reading:
    """What every block reads of texts under its queries, and the texts in brief, from states as they are given."""
    projected = model.project(states, mask)
    answers = []
    for number, (block, query) in enumerate(zip(_blocks(model), queries, strict=True)):
        keys, values = projected.keys_values[:, number].unbind(1)
        asked = rearrange(query, "n h d -> 1 1 h n d")
        out = plain_attention(asked, keys[:, None], values[:, None], mask[:, None, None, None, :])
        answers.append(block.text_out(rearrange(out, "t 1 h n d -> t n (h d)")))
    return Reading(tuple(answers), projected.brief)


@torch.no_grad()
def _spread(model: StreamDiT, texts: _Texts, plain: Sequence[str], queries: Sequence[Tensor]) -> tuple[float, ...]:
    """Variance over texts of what each block reads, and of the texts in brief."""
    reading = read(model, *texts.get(plain), [query[:64] for query in queries])
    return tuple(float(part.var(dim=0).mean()) for part in (*reading.answers, reading.brief))


@dataclass(frozen=True)
class _Lesson:
    """Who learns from whom, on which texts."""

    student: StreamDiT
    teacher: StreamDiT
    texts: _Texts
    spread: Sequence[float]

    def loss(self, pairs: Sequence[Pair], queries: Sequence[Tensor]) -> Float[Tensor, ""]:
        """How far what the student reads of the words lies from what the teacher reads of the plain texts."""
        states, mask = self.texts.get([pair.words for pair in pairs])
        with half_precision(str(mask.device)):
            with torch.no_grad():
                wanted = read(self.teacher, *self.texts.get([pair.plain for pair in pairs]), queries)
            given = read(self.student, self.student.refine(states, mask), mask, queries)
        parts = zip((*given.answers, given.brief), (*wanted.answers, wanted.brief), self.spread, strict=True)
        errors = [nn.functional.mse_loss(a.float(), b.float()) / variance for a, b, variance in parts]
        return torch.stack(errors).mean()

    @torch.no_grad()
    def distance(self, pairs: Sequence[Pair], queries: Sequence[Tensor]) -> float:
        """The loss over some pairs, 512 at most, in batches and always under the same queries."""
        fixed = [query[:64] for query in queries]
        batches = [pairs[first : first + 64] for first in range(0, min(len(pairs), 512), 64)]
        return sum(self.loss(batch, fixed).item() for batch in batches) / len(batches)
