"""StreamDiT over many ranks, by torch's FSDP2: each rank keeps a shard of every parameter and its own rows of a batch.

A rank holds 1/n of parameters, gradients, moments and average. A block is gathered for as long as it is computed, and
is computed again on the way back (activation checkpointing). The numbers are those of one process, up to rounding,
however many ranks there are: first weights and batches are drawn from (seed, block) and (seed, step), and losses are
weighted by the whole batch.
"""

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from eddyline.errors import ConfigError
from eddyline_runtime.config import ModelConfig
from eddyline_runtime.flow.loss import FlowSample, flow_matching_loss
from eddyline_runtime.model.streamdit import Conditioning, StreamDiT
from eddyline_runtime.training.data import Batch, noised


@dataclass(frozen=True)
class Ranks:
    """The processes that train together, and which of them this one is."""

    rank: int
    """0 to count - 1; 0 writes what is written once."""
    count: int
    device: torch.device
    mesh: DeviceMesh

    def total(self, *values: float) -> list[float]:
        """The sums of some numbers over all ranks; every rank must ask."""
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return [float(value) for value in sums]

    def parts(self, rows: int, *, at_once: int) -> list[slice]:
        """The rows of a batch that this rank computes, see `parts_of`."""
        return parts_of(rows, rank=self.rank, count=self.count, at_once=at_once)


def parts_of(rows: int, *, rank: int, count: int, at_once: int) -> list[slice]:
    """The rows of a batch that a rank computes, `at_once` at a time; every rank has equally many parts, since ranks
    compute in step.

    Raises:
        ConfigError: `rows` is no multiple of `count`.
    """
    if rows % count:
        raise ConfigError(f"a batch of {rows} windows does not split over {count} ranks; use a divisor of {rows}")
    own = rows // count
    first, end = rank * own, (rank + 1) * own
    return [slice(start, min(start + at_once, end)) for start in range(first, end, at_once)]


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the process group that torchrun describes in the environment; `device` is cpu or cuda.

    Raises:
        ConfigError: this process was not started by torchrun, or there is no GPU for it.
    """
    if "WORLD_SIZE" not in os.environ:
        raise ConfigError(
            "this process is alone; start it by `torchrun --nproc-per-node N -m eddyline_runtime.training.distributed`"
        )
    local = torch.device("cpu")
    if device == "cuda":
        number = int(os.environ["LOCAL_RANK"])
        if number >= torch.cuda.device_count():
            raise ConfigError(
                f"{number + 1} processes on this machine, {torch.cuda.device_count()} GPUs; "
                "give torchrun --nproc-per-node as many as there are, or use --device cpu"
            )
        local = torch.device("cuda", number)
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        count = dist.get_world_size()
        mesh = init_device_mesh(device, (count,))
        try:
            yield Ranks(dist.get_rank(), count, local, mesh)
        finally:
            # A mesh keeps the group too, and torch's caches of shardings keep the mesh.
            vars(mesh).get("_pg_registry", {}).clear()
    finally:
        dist.destroy_process_group()
        # Sharded models, which keep the group in circles, go now: its threads would run on until the interpreter's end,
        # and have aborted a process there whose training had ended well.
        gc.collect()


def sharded_streamdit(config: ModelConfig, *, seed: int, ranks: Ranks) -> StreamDiT:
    """A StreamDiT of which no rank ever holds the whole: bf16 with float32 sums on GPUs, float32 on processors."""
    with torch.device("meta"):
        model = StreamDiT(config)
    dtype = compute_dtype(ranks.device)
    # The network casts for itself, and tau must stay exact.
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for index, block in enumerate(model.blocks):
        model.blocks[index] = checkpoint_wrapper(block)
        fully_shard(model.blocks[index], mesh=ranks.mesh, mp_policy=policy)
    # Resharded after each pass too, so that a pass after weights were exchanged (see `averaged`) sees the new ones.
    fully_shard(model, mesh=ranks.mesh, mp_policy=policy, reshard_after_forward=True)
    model.to_empty(device=ranks.device)
    _draw_weights(model, seed)
    return model


def compute_dtype(device: torch.device) -> torch.dtype:
    """What is computed in: bf16 on GPUs, float32 on processors."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


@torch.no_grad()
def _draw_weights(model: StreamDiT, seed: int) -> None:
    """Fill a sharded model; the host holds one block and what lies around the blocks at a time.

    A StreamDiT of one block is drawn anew for every block, from (seed, its number); the first gives what lies around.
    """
    one_block = replace(model.config, depth=1)
    for index, block in enumerate(model.blocks):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.default_rng((seed, index)).integers(2**63)))
            whole = StreamDiT(one_block)
        if index == 0:
            model.latent_deviation.copy_(whole.latent_deviation)
            _scatter(whole, model, leave_out="blocks.")
        _scatter(whole.blocks[0], block)


def _scatter(whole: nn.Module, sharded: nn.Module, *, leave_out: str = "-") -> None:
    """Copy rank 0's parameters into the shards; those whose name starts with `leave_out` stay as they are."""
    wanted = dict(whole.named_parameters())
    for name, parameter in sharded.named_parameters():
        if not name.startswith(leave_out):
            assert isinstance(parameter, DTensor)
            source = wanted[name].detach().to(parameter.device)
            parameter.copy_(distribute_tensor(source, parameter.device_mesh, parameter.placements))


def weights_of(model: StreamDiT) -> dict[str, Tensor]:
    """The model's own shards and statistics, by the names that a StreamDiT in one piece gives them; not copies."""
    return {name: t.detach() for name, t in get_model_state_dict(model).items() if isinstance(t, Tensor)}


@torch.no_grad()
def update_average(average: Mapping[str, Tensor], weights: Mapping[str, Tensor], decay: float) -> None:
    """Move this rank's shards of the average towards the weights."""
    torch._foreach_lerp_(_local(average), _local(weights), 1 - decay)


@contextmanager
@torch.no_grad()
def averaged(average: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Within it, the model has its averaged weights: average and weights have changed places."""
    _exchange(average, weights)
    try:
        yield
    finally:
        _exchange(average, weights)


def _exchange(average: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    for one, other in zip(_local(average), _local(weights), strict=True):
        kept = one.clone()
        one.copy_(other)
        other.copy_(kept)


def _local(tensors: Mapping[str, Tensor]) -> list[Tensor]:
    return [t.to_local() if isinstance(t, DTensor) else t for t in tensors.values()]


def loss_shares(
    model: nn.Module, batch: Batch, parts: Sequence[slice], device: torch.device
) -> Iterator[Float[Tensor, ""]]:
    """The shares that some rows have in a batch's loss, part by part: those of all rows add up to the batch's loss.

    The whole batch's noise is drawn, whichever the rows are, so that it is the same for any number of ranks. And rows
    are weighed by the whole batch's frames that count: reference frames make rows, and so ranks, weigh differently.
    """
    sample = noised(batch, batch.latents.float())
    weight = sample.weight.sum()
    for rows in parts:
        tensors = (sample.latents, sample.tau, sample.velocity, sample.weight)
        part = FlowSample(*(tensor[rows].to(device) for tensor in tensors))
        velocity = model(part.latents, part.tau, words_of(batch.conditioning, rows).to(device))
        yield flow_matching_loss(velocity, part) * (sample.weight[rows].sum() / weight).to(device)


def words_of(words: Conditioning, rows: slice) -> Conditioning:
    """That of some rows, with only the texts that these are under: every block reads every text it is given."""
    used, index = torch.unique(words.text_index[rows], return_inverse=True)
    return Conditioning(words.text[used], words.text_mask[used], index, words.actions[rows], words.stride[rows])
