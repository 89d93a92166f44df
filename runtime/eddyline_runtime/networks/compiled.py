"""StreamDiT and the codec computed by OpenVINO on a CPU, behind the signatures of the torch modules.

What needs float32 stays in torch: sines of tau, the preconditioning, what the decoder remembers. OpenVINO is given the
rest, converted from the torch modules with the weights as float32, and computes in float32 or bf16. The number of
views, of texts and of decoded latent frames is free; the frames of a buffer are not, so there is one compiled network
for each length. Equal inputs give equal bits, as in torch.

Shapes: B views, F latent frames, C channels, Y X latent height and width, T frames.
"""

import hashlib
import logging
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import cache as cached
from functools import partial
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from eddyline_runtime.config import ModelConfig
from eddyline_runtime.model.codec import Codec, DecoderState
from eddyline_runtime.model.streamdit import Conditioning, StreamDiT, tau_features
from eddyline_runtime.networks.folder import FILE, keep, kept

PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}
"""What OpenVINO calls them."""
FREE = -1
"""An axis of any length."""

log = logging.getLogger(__name__)


class ConversionError(Exception):
    """OpenVINO cannot take the networks; the message says why. Never leaves this package."""


class CompiledStreamDiT(StreamDiT):
    """A StreamDiT whose `answer` OpenVINO computes, for buffers of the lengths that it was compiled for; of others,
    plain torch does."""

    def __init__(self, plain: StreamDiT, compiled: "Mapping[int, Compiled]") -> None:
        nn.Module.__init__(self)
        self.config = plain.config
        self.plain = plain
        self.register_buffer("latent_deviation", plain.latent_deviation)
        self._compiled = dict(compiled)
        self._missed: set[int] = set()

    def answer(
        self, latents: Float[Tensor, "B F C Y X"], tau_sines: Float[Tensor, "B F features"], conditioning: Conditioning
    ) -> Float[Tensor, "B F C Y X"]:
        """As that of `StreamDiT`."""
        frames = latents.shape[1]
        compiled = self._compiled.get(frames)
        if compiled is None:
            if frames not in self._missed:
                self._missed.add(frames)
                log.warning(
                    "buffers of %d latent frames run in plain torch, which is slower: no profile has them", frames
                )
            return self.plain.answer(latents, tau_sines, conditioning)
        words = self.refined(conditioning)
        return compiled(latents, tau_sines, words.text, words.text_mask, words.text_index, words.actions, words.stride)

    def refine(self, states: Float[Tensor, "T L K"], mask: Bool[Tensor, "T L"]) -> Float[Tensor, "T L K"]:
        """As that of `StreamDiT`, in plain torch: it runs once for each text."""
        return self.plain.refine(states, mask)


class CompiledCodec(Codec):
    """A codec whose decoder OpenVINO computes; it encodes in plain torch."""

    def __init__(self, plain: Codec, compiled: "Compiled") -> None:
        nn.Module.__init__(self)
        self.config = plain.config
        self.plain = plain
        self._compiled = compiled

    def encode(self, frames: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B F C Y X"]:
        """As that of `Codec`."""
        return self.plain.encode(frames)

    def decode_unfiltered(
        self, latents: Float[Tensor, "B F C Y X"], state: DecoderState | None = None
    ) -> tuple[Float[Tensor, "B T 3 H W"], DecoderState]:
        """As that of `Codec`; torch evens neighbours out, twice as fast as OpenVINO would."""
        state = state or self.start_state(latents)
        return self._compiled(latents, state.last), self.state_after(latents)


class Compiled:
    """One network in OpenVINO: tensors in, a tensor out. For one thread at a time."""

    def __init__(self, model: Any, *, precision: torch.dtype, threads: int) -> None:
        options = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # the game and other runtimes share the cores
        }
        self._request = _core().compile_model(model, "CPU", options).create_infer_request()

    def __call__(self, *inputs: Tensor) -> Float[Tensor, "*shape"]:
        """The answer, float32, in memory of its own."""
        arrays = [(t.float() if t.is_floating_point() else t).contiguous().numpy() for t in inputs]
        self._request.infer(arrays, share_inputs=True)
        return torch.from_numpy(self._request.get_output_tensor(0).data.copy())


def compile_streamdit(
    plain: StreamDiT,
    buffer_frames: Sequence[int],
    *,
    text_tokens: int,
    precision: torch.dtype,
    threads: int,
    cache: Path | None,
) -> CompiledStreamDiT:
    """StreamDiT in OpenVINO.

    Args:
        plain: on the CPU, float32 or bfloat16.
        buffer_frames: lengths of buffers to compile for.
        text_tokens: L, to which texts are padded.
        precision: float32 or bfloat16.
        threads: of the CPU.
        cache: where converted networks are kept, or None.

    Raises:
        ConversionError: OpenVINO cannot take it.
    """
    networks = {}
    for frames in buffer_frames:
        example = [torch.ones(shape, dtype=dtype) for shape, dtype in _inputs(plain.config, 2, frames, 3, text_tokens)]
        shapes = [shape for shape, _ in _inputs(plain.config, FREE, frames, FREE, text_tokens)]
        networks[frames] = _compiled(plain, _Answer, example, shapes, precision=precision, threads=threads, cache=cache)
    return CompiledStreamDiT(plain, networks)


def _inputs(
    sizes: ModelConfig, batch: int, frames: int, texts: int, text_tokens: int
) -> list[tuple[list[int], torch.dtype]]:
    """Shapes and dtypes of what `_Answer` takes."""
    return [
        ([batch, frames, sizes.latent_channels, sizes.latent_height, sizes.latent_width], torch.float32),
        ([batch, frames, tau_features(torch.zeros(1, 1)).shape[-1]], torch.float32),
        ([texts, text_tokens, sizes.text_dim], torch.float32),
        ([texts, text_tokens], torch.bool),
        ([batch, frames], torch.int64),
        ([batch, frames, sizes.action_dim], torch.float32),
        ([batch, frames], torch.int64),
    ]


def compile_codec(
    plain: Codec, sizes: ModelConfig, *, precision: torch.dtype, threads: int, cache: Path | None
) -> CompiledCodec:
    """The codec with its decoder in OpenVINO, for latents of `sizes`; arguments as those of `compile_streamdit`.

    Raises:
        ConversionError: OpenVINO cannot take it.
    """
    cell = [sizes.latent_channels, sizes.latent_height, sizes.latent_width]
    example = [torch.zeros(2, 2, *cell), torch.zeros(2, 1, *cell)]
    shapes = [[FREE, FREE, *cell], [FREE, 1, *cell]]
    compiled = _compiled(plain, _Decoder, example, shapes, precision=precision, threads=threads, cache=cache)
    return CompiledCodec(plain, compiled)


class _Answer(nn.Module):
    """`StreamDiT.answer` as a function of tensors; texts come refined."""

    def __init__(self, model: StreamDiT) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        latents: Float[Tensor, "B F C Y X"],
        tau_sines: Float[Tensor, "B F features"],
        text: Float[Tensor, "T L K"],
        text_mask: Bool[Tensor, "T L"],
        text_index: Int[Tensor, "B F"],
        actions: Float[Tensor, "B F A"],
        stride: Int[Tensor, "B F"],
    ) -> Float[Tensor, "B F C Y X"]:
        words = Conditioning(text, text_mask, text_index, actions, stride, refined=True)
        return self.model.answer(latents, tau_sines, words)


class _Decoder(nn.Module):
    """`Codec.decode_unfiltered` as a function of tensors."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(
        self, latents: Float[Tensor, "B F C Y X"], last: Float[Tensor, "B 1 C Y X"]
    ) -> Float[Tensor, "B T 3 H W"]:
        return self.codec.decode_unfiltered(latents, DecoderState(last))[0]


def _compiled(
    plain: nn.Module,
    wrap: Callable[[Any], nn.Module],
    example: Sequence[Tensor],
    shapes: Sequence[Sequence[int]],
    *,
    precision: torch.dtype,
    threads: int,
    cache: Path | None,
) -> Compiled:
    """A network compiled for `shapes`, from the cache or converted now; it is traced with `example`."""
    key = _key(plain, shapes)
    try:
        read = _core().read_model
        model = None if cache is None else kept(cache, key, read)
        if model is None:
            converted = _converted(wrap(deepcopy(plain).float()), example, shapes)
            write = partial(_openvino().save_model, converted, compress_to_fp16=False)
            with TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
                write(Path(scratch) / FILE)
                model = read(Path(scratch) / FILE)  # as later starts do: what never was on disk computes other bits
            if cache is not None:
                keep(cache, key, write)
        return Compiled(model, precision=precision, threads=threads)
    except Exception as error:  # of anyone's making: OpenVINO's errors have no root of their own
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConversionError(f"OpenVINO cannot take {type(plain).__name__}: {lines[-1].strip()}") from error


def _converted(module: nn.Module, example: Sequence[Tensor], shapes: Sequence[Sequence[int]]) -> Any:
    openvino = _openvino()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every number that it takes for fixed: they are
        traced = torch.jit.trace(module.eval(), tuple(example), check_trace=False)
        return openvino.convert_model(traced, input=[openvino.PartialShape(list(shape)) for shape in shapes])


@cached
def _openvino() -> Any:
    """OpenVINO, imported without its telemetry, which would report every start to its makers."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


@cached
def _core() -> Any:
    """OpenVINO's core, one for the process and until its end.

    Each core sets the stack on which signals are handled. When one of several goes, that stack may be one that is gone,
    and the next Ctrl-C would kill the process.
    """
    return _openvino().Core()


def _sources() -> list[Path]:
    """The code of which a converted network is made."""
    packages = (Path(str(files(name))) for name in ("eddyline_kernels", "eddyline_runtime.model"))
    return [Path(__file__), *(file for package in packages for file in sorted(package.rglob("*.py")))]


def _key(plain: nn.Module, shapes: Sequence[Sequence[int]]) -> str:
    """What a converted network is kept under: weights, code, shapes and versions."""
    digest = hashlib.sha256(repr((plain.config, shapes, version("openvino"), torch.__version__)).encode())
    for file in _sources():
        digest.update(file.read_bytes())
    for name, tensor in plain.state_dict().items():
        digest.update(f"{name} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
