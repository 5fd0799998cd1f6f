"""Models as ONNX graphs, of any batch size and length.

Shapes: B batch, T samples, S frames, D model width.

The graph is captured by ``torch.export``, which follows shapes as symbols and refuses what it
cannot follow. The older tracer runs the model once and writes down what it saw: branches and
lengths of its example would silently become part of the graph.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from speechlite.core.errors import ConfigError, EnvironmentProblem
from speechlite.core.model import SpeechModel
from speechlite.data.atomic import replace_file
from speechlite.interop.onnx_fbank import with_plain_filterbanks
from speechlite.nn.dense_layers import with_dense_layers

__all__ = ["export_onnx"]

_PACKAGES = ("onnx", "onnxscript")
# torch writes no lower ones, and masks of higher ones do not run in onnxruntime
_OPSETS = range(18, 23)
_LARGEST_BYTES = 2**31 - 2**26
_NAMES = ({0: "batch", 1: "samples"}, {0: "batch"})


def export_onnx(model: SpeechModel, path: Path, *, opset: int = 18, hidden: str = "last") -> None:
    """Write a model as one ONNX file.

    The inputs are ``waves`` (B, T) float32, zero beyond the lengths, and ``lengths`` (B,) int64;
    the outputs are ``hidden`` (B, S, D), or ``hidden_0`` to ``hidden_N``, and ``frame_lengths``
    (B,). B and T are free. The metadata name the ``sample_rate``, the ``stride`` and the
    ``min_samples``.

    Args:
        model: the model; not changed.
        path: name of the file; its directory must exist.
        opset: version of the operator set, 18 to 22.
        hidden: "last" for the last layer's output, "all" for every hidden state.

    Raises:
        ConfigError: if an option is out of range, the model is too large for one file, or a part of
            it cannot be written as a graph.
        EnvironmentProblem: if a package is missing, or the file cannot be written.
    """
    _check_packages()
    _check_options(opset, hidden)
    with_dense = with_dense_layers(model).cpu()
    _check_size(with_dense)
    with replace_file(path) as stream:
        plain = with_plain_filterbanks(with_dense).eval().requires_grad_(False)
        program = _program(_Graph(plain, all_states=hidden == "all"), opset)
        for name in ("sample_rate", "stride", "min_samples"):
            program.model.metadata_props[name] = str(getattr(plain.frontend, name))
        stream.write(program.model_proto.SerializeToString())


class _Graph(nn.Module):
    # the function that the file holds
    def __init__(self, model: SpeechModel, *, all_states: bool) -> None:
        super().__init__()
        self.model = model
        self.num_states = model.num_layers + 1 if all_states else 1
        states = [f"hidden_{index}" for index in range(self.num_states)]
        self.outputs = [*(states if all_states else ["hidden"]), "frame_lengths"]
        self.eval()

    def forward(self, waves_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, ...]:
        hidden = self.model(waves_BT, lengths_B)
        return (*hidden.layers[-self.num_states :], hidden.lengths)


def _check_packages() -> None:
    for package in _PACKAGES:
        try:
            version(package)
        except PackageNotFoundError:
            raise EnvironmentProblem(
                f"{package} is not installed; writing ONNX needs it",
                remedy="install speechlite[onnx]",
            ) from None


def _check_options(opset: int, hidden: str) -> None:
    if opset not in _OPSETS:
        raise ConfigError(
            f"opset={opset}, expected {_OPSETS.start} to {_OPSETS.stop - 1}",
            remedy="leave it at 18",
        )
    if hidden not in ("last", "all"):
        raise ConfigError(f"hidden={hidden!r}, expected last or all", remedy="choose one of them")


def _check_size(model: SpeechModel) -> None:
    tensors = [*model.parameters(), *model.buffers()]
    size_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size_bytes > _LARGEST_BYTES:
        raise ConfigError(
            f"the model has {size_bytes:,} bytes of weights, one ONNX file holds 2 GiB",
            remedy="compress it first",
        )


def _example(model: SpeechModel) -> tuple[Tensor, Tensor]:
    # sizes that no other size of the graph equals by chance, and padding
    frontend = model.frontend
    num_samples = frontend.min_samples + 63 * frontend.stride
    lengths_B = torch.tensor([num_samples, num_samples - 20 * frontend.stride, num_samples // 2])
    return torch.zeros(len(lengths_B), num_samples), lengths_B


def _program(graph: _Graph, opset: int) -> torch.onnx.ONNXProgram:
    free = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC}, {0: Dim.DYNAMIC})
    try:
        with _silence(), torch.no_grad():
            program = torch.onnx.export(
                torch.export.export(graph, _example(graph.model), dynamic_shapes=free),
                dynamo=True,
                opset_version=opset,
                input_names=["waves", "lengths"],
                output_names=graph.outputs,
                dynamic_shapes=_NAMES,
                verbose=False,
            )
    except RuntimeError as error:
        spec = graph.model.spec
        raise ConfigError(
            f"{spec.encoder['name']} on {spec.frontend['name']} cannot be written as a graph: "
            f"{str(error).strip().partition(chr(10))[0]}",
            remedy="export a model on conv_waveform or fbank",
        ) from error
    assert program is not None
    return program


@contextmanager
def _silence() -> Iterator[None]:
    # torch tells of its own old names, and of packages for pictures
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
