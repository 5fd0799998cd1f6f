"""Layers over sparse weights: a bit for each place, and the values that are not pruned.

The pruned weights do not exist, so that no training revives them. Shapes: X any axes, K inputs, O
outputs, B batch, C channels, S frames.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechlite.nn.frames_convolution import convolve_frames
from speechlite.nn.inference import Prepared, has_kernels, is_faster, version_of
from speechlite.nn.sparse_product import SparseMatrix, kernel_name, sparse_linear

__all__ = [
    "SparseConv1d",
    "SparseLinear",
    "SparseWeight",
    "dense_of",
    "sparse_of",
]


class SparseWeight(nn.Module):
    """A tensor of which only some values are kept.

    Args:
        shape: shape of the whole tensor.
        nonzeros: number of values kept.
        dtype: of the values; those of 32 bits train, others are fixed.
    """

    mask: Tensor
    values: Tensor

    def __init__(
        self, shape: tuple[int, ...], nonzeros: int, *, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.shape = torch.Size(shape)
        self.nonzeros = nonzeros
        # bit k % 8 of byte k // 8 stands for place k of the flat tensor
        self.register_buffer("mask", torch.zeros(-(-self.shape.numel() // 8), dtype=torch.uint8))
        values = torch.zeros(nonzeros, dtype=dtype)
        if dtype == torch.float32:
            self.values = nn.Parameter(values)
        else:
            self.register_buffer("values", values)
        self._prepared = Prepared()

    @property
    def is_fixed(self) -> bool:
        """Whether no training changes the values."""
        return not isinstance(self.values, nn.Parameter)

    @property
    def zeros(self) -> int:
        """Number of places without a value."""
        return self.shape.numel() - self.nonzeros

    def fill(self, weight: Tensor, kept: Tensor) -> None:
        """Take the values of some places.

        Args:
            weight: the whole tensor, of this shape.
            kept: bool of the same shape; True at as many places as there are values.
        """
        places_V = kept.flatten().nonzero()[:, 0]
        bits_P8 = functional.pad(kept.flatten().byte(), (0, -kept.numel() % 8)).view(-1, 8)
        worth_8 = 2 ** torch.arange(8, dtype=torch.uint8, device=kept.device)
        with torch.no_grad():
            self.mask.copy_((bits_P8 * worth_8).sum(1).byte())
            self.values.copy_(weight.detach().flatten()[places_V])

    def kept(self) -> Tensor:
        """Return where values are.

        Returns:
            bool of the whole tensor's shape.
        """
        return self._bits().bool().view(self.shape)

    def dense(self, dtype: torch.dtype | None = None) -> Tensor:
        """Return the whole tensor, with a gradient to the values where one is asked for.

        Args:
            dtype: the type to return; None for the values' own.

        Returns:
            A tensor of this shape.
        """
        dtype = dtype or self.values.dtype

        def whole() -> Tensor:
            places_V = self._prepared.get("places", self._places, self.mask)
            empty = torch.zeros(self.shape.numel(), dtype=dtype, device=self.values.device)
            return empty.scatter(0, places_V, self.values.to(dtype)).view(self.shape)

        if torch.is_grad_enabled() and self.values.requires_grad:
            return whole()
        return self._prepared.get(f"dense {dtype}", whole, self.values, self.mask)

    def _places(self) -> Tensor:
        return self._bits().nonzero()[:, 0]

    def _bits(self) -> Tensor:
        worth_8 = 2 ** torch.arange(8, dtype=torch.uint8, device=self.mask.device)
        return (self.mask[:, None] & worth_8).flatten()[: self.shape.numel()]


class _SparseLayer(nn.Module):
    """What costs ask of a layer over sparse weights."""

    weight: SparseWeight
    bits = 16
    """Bits of a fixed value."""

    @property
    def stands_for(self) -> int:
        """Number of weights that are no parameters."""
        return self.weight.nonzeros if self.weight.is_fixed else 0


class SparseLinear(_SparseLayer):
    """A linear layer over sparse weights.

    Args:
        in_features: K.
        out_features: O.
        nonzeros: weights that are kept.
        bias: whether a bias is added.
        dtype: of the weights: float32, or float16, which no training changes.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        nonzeros: int,
        bias: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = SparseWeight((out_features, in_features), nonzeros, dtype=dtype)
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self._packed: tuple[tuple[int, ...], SparseMatrix] | None = None

    @property
    def kernel(self) -> str:
        """What computes the products on the CPU without gradients, for reports."""
        return "dense" if self._matrix() is None else f"sparse, {kernel_name()}, float32"

    def choose_kernel(self, rows: int) -> None:
        """Skip pruned weights from now on if that is faster on this machine.

        The result is the same but for rounding. Weights that change later, or leave the CPU, are
        multiplied with their zeros again.

        Args:
            rows: frames at a time, over all utterances of a batch.
        """
        version = version_of(self.weight.values, self.weight.mask)
        shape = (self.out_features, self.in_features)
        on_cpu = self.weight.mask.device.type == "cpu"
        self._packed = None
        if version is not None and on_cpu and min(shape):
            # beside values of 16 bits that are fixed, everything else has 32
            dtype = (
                torch.float32
                if self.weight.values.dtype == torch.float16
                else self.weight.values.dtype
            )
            facts = (rows, dtype, torch.get_num_threads())
            if _skipping_wins(shape, self.weight.nonzeros, *facts):
                matrix = SparseMatrix.of(self.weight.dense(torch.float32).detach())
                self._packed = (version, matrix)

    def forward(self, values_XK: Tensor) -> Tensor:
        """Return the mapped values.

        Args:
            values_XK: inputs.

        Returns:
            (..., O).
        """
        matrix = self._matrix()
        if matrix is not None and has_kernels(values_XK, torch.float32, torch.bfloat16):
            return _skipping(values_XK, matrix, self.bias)
        weight_OK = self.weight.dense(values_XK.dtype)
        return functional.linear(values_XK, weight_OK, self.bias)

    def _matrix(self) -> SparseMatrix | None:
        # what skips zeros, as long as it holds the weights as they are
        if self._packed is None:
            return None
        version, matrix = self._packed
        is_fresh = version == version_of(self.weight.values, self.weight.mask)
        return matrix if is_fresh else None


class SparseConv1d(_SparseLayer):
    """A convolution over sparse weights, padded with zeros.

    Args:
        in_channels: channels read.
        out_channels: channels written.
        kernel_size: frames of the kernel.
        nonzeros: weights that are kept.
        stride: frames from one output to the next.
        padding: zeros on both sides.
        dilation: frames from one tap to the next.
        groups: groups of channels.
        bias: whether a bias is added.
        dtype: of the weights: float32, or float16, which no training changes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        nonzeros: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.kernel_size = (
            in_channels,
            out_channels,
            kernel_size,
        )
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        shape = (out_channels, in_channels // groups, kernel_size)
        self.weight = SparseWeight(shape, nonzeros, dtype=dtype)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, values_BCS: Tensor) -> Tensor:
        """Return the convolved values.

        Args:
            values_BCS: inputs.

        Returns:
            (B, out_channels, frames).
        """
        return convolve_frames(
            values_BCS,
            self.weight.dense(values_BCS.dtype),
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )


def sparse_of(
    layer: nn.Linear | nn.Conv1d, kept: Tensor, *, dtype: torch.dtype = torch.float32
) -> SparseLinear | SparseConv1d:
    """Keep some weights of a layer.

    Args:
        layer: a layer in full precision, not changed; convolutions pad with zeros on both sides.
        kept: bool of its weight's shape: True where a weight stays.
        dtype: of the weights that are kept: float32, or float16, which no training changes.

    Returns:
        A layer of these weights.
    """
    nonzeros, bias = int(kept.sum()), layer.bias is not None
    made: SparseLinear | SparseConv1d
    if isinstance(layer, nn.Linear):
        made = SparseLinear(
            layer.in_features, layer.out_features, nonzeros=nonzeros, bias=bias, dtype=dtype
        )
    else:
        assert not isinstance(layer.padding, str)
        made = SparseConv1d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size[0],
            nonzeros=nonzeros,
            stride=layer.stride[0],
            padding=layer.padding[0],
            dilation=layer.dilation[0],
            groups=layer.groups,
            bias=bias,
            dtype=dtype,
        )
    made.to(layer.weight.device)
    made.weight.fill(layer.weight, kept)
    _copy_bias(layer, made)
    return made


def dense_of(layer: SparseLinear | SparseConv1d) -> nn.Linear | nn.Conv1d:
    """Return the stock layer with zeros at the pruned places.

    Args:
        layer: a sparse layer; not changed.

    Returns:
        A layer that computes the same.
    """
    bias = layer.bias is not None
    made: nn.Linear | nn.Conv1d
    if isinstance(layer, SparseLinear):
        made = nn.Linear(layer.in_features, layer.out_features, bias=bias)
    else:
        made = nn.Conv1d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=layer.groups,
            bias=bias,
        )
    made.to(layer.weight.mask.device)
    with torch.no_grad():
        made.weight.copy_(layer.weight.dense())
    _copy_bias(layer, made)
    return made


def _copy_bias(layer: nn.Module, made: nn.Module) -> None:
    if isinstance(layer.bias, Tensor) and isinstance(made.bias, Tensor):
        with torch.no_grad():
            made.bias.copy_(layer.bias)


@lru_cache(maxsize=256)
def _skipping_wins(
    shape: tuple[int, int], nonzeros: int, rows: int, dtype: torch.dtype, threads: int
) -> bool:
    # measured once for all layers of a shape and sparsity, with as many threads as are set
    generator = torch.Generator().manual_seed(0)
    weight_OK = torch.zeros(shape)
    places = torch.randperm(weight_OK.numel(), generator=generator)[:nonzeros]
    weight_OK.view(-1)[places] = torch.randn(nonzeros, generator=generator)
    matrix, dense_OK = SparseMatrix.of(weight_OK), weight_OK.to(dtype)
    inputs_NK = torch.randn(rows, shape[1], generator=generator).to(dtype)
    return kernel_name() == "numba" and is_faster(
        lambda: _skipping(inputs_NK, matrix, None),
        lambda: functional.linear(inputs_NK, dense_OK),
    )


def _skipping(values_XK: Tensor, matrix: SparseMatrix, bias_O: Tensor | None) -> Tensor:
    # sums are of float32, whatever the type of what comes in
    bias_O = None if bias_O is None else bias_O.detach().float()
    return sparse_linear(values_XK.float(), matrix, bias_O).to(values_XK.dtype)
