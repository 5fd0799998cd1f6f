"""The stack of strided convolutions that turns a waveform into frames.

Shapes: B batch, T samples, S frames (of a layer), C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechlite.core.model import PruneGroup
from speechlite.nn.lengths import padding_mask
from speechlite.nn.normalization import MaskedInstanceNorm, SelectiveLayerNorm
from speechlite.nn.waveform_inference import may_run_in_chunks, run_in_chunks

__all__ = ["WaveformLayer", "WaveformStack", "receptive_field"]


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Return the samples that one frame of a stack sees.

    Args:
        kernels: kernel size of each layer.
        strides: stride of each layer.

    Returns:
        Samples.
    """
    samples, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        samples += (kernel - 1) * step
        step *= stride
    return samples


class WaveformLayer(nn.Module):
    """Convolve, normalise, GELU.

    Args:
        in_channels: channels of the input.
        out_channels: C.
        kernel_size: frames of the kernel.
        stride: frames from one output to the next.
        bias: whether the convolution has a bias.
        norm: "instance" (each channel over time), "layer" (each frame over channels) or "none".
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        *,
        bias: bool,
        norm: str,
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(
            in_channels, out_channels, kernel_size, stride=stride, bias=bias
        )
        nn.init.kaiming_normal_(self.convolution.weight)
        self.norm: MaskedInstanceNorm | SelectiveLayerNorm | None = None
        if norm == "instance":
            self.norm = MaskedInstanceNorm(out_channels)
        elif norm == "layer":
            self.norm = SelectiveLayerNorm(out_channels)
        self.gate: Tensor | None = None

    def forward(self, channels_BCS: Tensor, valid_BS: Tensor | None) -> Tensor:
        """Return the layer's output.

        Args:
            channels_BCS: input, channels first.
            valid_BS: which frames of the output are valid, where that matters; None for all.

        Returns:
            (B, C, S).
        """
        output_BCS: Tensor = self.convolution(channels_BCS)
        if isinstance(self.norm, MaskedInstanceNorm):
            output_BCS = self.norm(output_BCS, valid_BS)
        elif self.norm is not None:
            output_BCS = self.norm(output_BCS.mT).mT
        output_BCS = functional.gelu(output_BCS)
        return output_BCS if self.gate is None else output_BCS * self.gate[:, None]

    def install(self, gate: Tensor | None) -> None:
        """Multiply the channels, and leave dead ones out of the norm.

        Args:
            gate: (C,), or None for no gate.
        """
        self.gate = gate
        self.leave_out(gate)

    def leave_out(self, gate: Tensor | None) -> None:
        """Leave dead channels out of the norm, and multiply none.

        Args:
            gate: (C,), or None for no gate.
        """
        if isinstance(self.norm, SelectiveLayerNorm):
            self.norm.alive = None if gate is None else gate.detach() != 0

    def slices(self) -> tuple[tuple[str, int, int], ...]:
        """Return what a channel owns in this layer.

        Returns:
            ``(name, axis, width)`` of each tensor.
        """
        names = [name for name, _ in self.named_parameters()]
        return tuple((name, 0, 1) for name in names)


class WaveformStack(nn.Module):
    """Stack convolution layers over a waveform (wav2vec 2.0, arXiv 2006.11477, section 2).

    Args:
        channels: channels of each layer.
        kernels: kernel size of each layer.
        strides: stride of each layer.
        bias: whether the convolutions have biases.
        norm: "group": the first layer normalises each channel over time, the others do not
            normalise; "layer": every layer normalises each frame over its channels.
        legacy_padding: whether the first norm counts padding as speech, as the models were trained.
    """

    def __init__(
        self,
        channels: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
        *,
        bias: bool,
        norm: str,
        legacy_padding: bool,
    ) -> None:
        super().__init__()
        self.legacy_padding = legacy_padding
        self.kernels, self.strides = tuple(kernels), tuple(strides)
        norms = ["layer" if norm == "layer" else "none"] * len(channels)
        if norm == "group":
            norms[0] = "instance"
        rows = zip([1, *channels], channels, kernels, strides, norms, strict=False)
        self.layers = nn.ModuleList(
            WaveformLayer(inputs, outputs, kernel, stride, bias=bias, norm=kind)
            for inputs, outputs, kernel, stride, kind in rows
        )

    @property
    def num_channels(self) -> int:
        """Channels of the last layer."""
        return self._typed()[-1].convolution.out_channels

    def _typed(self) -> list[WaveformLayer]:
        return [layer for layer in self.layers if isinstance(layer, WaveformLayer)]

    def forward(self, waves_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the last layer's output.

        Args:
            waves_BT: samples, zero beyond the lengths.
            lengths_B: valid samples, int64.

        Returns:
            (B, C, S); anything may stand beyond the lengths.
        """
        valid_BS = None
        if isinstance(self.layers[0].norm, MaskedInstanceNorm) and not self.legacy_padding:
            valid_BS = self._valid_after_first(waves_BT.shape[1], lengths_B)
        layers, field = self._typed(), self._field()
        if may_run_in_chunks(layers, waves_BT, field=field):
            return run_in_chunks(layers, waves_BT, valid_BS, field=field)
        channels_BCS = self.layers[0](waves_BT[:, None], valid_BS)
        for layer in self.layers[1:]:
            channels_BCS = layer(channels_BCS, None)
        return channels_BCS

    def _field(self) -> int:
        return receptive_field(self.kernels, self.strides)

    def _valid_after_first(self, num_samples: int, lengths_B: Tensor) -> Tensor | None:
        kernel, stride = self.kernels[0], self.strides[0]
        frames_B = torch.div(lengths_B - kernel, stride, rounding_mode="floor") + 1
        return padding_mask(frames_B, (num_samples - kernel) // stride + 1)

    def prune_groups(self) -> tuple[PruneGroup, ...]:
        """Return the channels of each layer but the last, whose reader stands elsewhere.

        Returns:
            One group a layer.
        """
        groups = []
        for index, layer in enumerate(self._typed()[:-1]):
            reader = f"layers.{index + 1}.convolution.weight"
            groups.append(
                PruneGroup(
                    name=f"layers.{index}.channels",
                    size=layer.convolution.out_channels,
                    gate=layer.install,
                    slices=(*_inside(layer.slices(), f"layers.{index}"), (reader, 1, 1)),
                    absorbed_by=(reader,),
                )
            )
        return tuple(groups)

    def last_channels(self, install: Callable[[Tensor | None], None]) -> PruneGroup:
        """Return the channels of the last layer, without what reads them.

        Args:
            install: gives a multiplier to the reader.

        Returns:
            A group to which the reader's slices are to be added.
        """
        index = len(self.layers) - 1
        layer = self._typed()[index]

        def gate(multiplier: Tensor | None) -> None:
            layer.leave_out(multiplier)
            install(multiplier)

        return PruneGroup(
            name=f"layers.{index}.channels",
            size=layer.convolution.out_channels,
            gate=gate,
            slices=_inside(layer.slices(), f"layers.{index}"),
        )


def _inside(
    slices: Sequence[tuple[str, int, int]], prefix: str
) -> tuple[tuple[str, int, int], ...]:
    return tuple((f"{prefix}.{name}", axis, width) for name, axis, width in slices)
