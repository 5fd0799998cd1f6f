"""The ``binary`` compressor: weights and activations of one bit, or of a few."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from speechlite.compressors.config import BinaryConfig
from speechlite.compressors.leaves import find_leaves, with_leaves
from speechlite.core.compressor import Compressor
from speechlite.core.errors import PlanError
from speechlite.core.model import SpeechModel
from speechlite.nn.attention import RelativeSelfAttention, SelfAttention
from speechlite.nn.attention_core import Products
from speechlite.nn.feedforward import FeedForward
from speechlite.nn.packed import packed
from speechlite.nn.quantized import QuantizedConv1d, QuantizedLinear, QuantizedProducts
from speechlite.nn.quantizers import ActivationQuantizer
from speechlite.nn.sparse import SparseConv1d, SparseLinear

__all__ = ["Binary"]

_STOCK = (nn.Linear, nn.Conv1d, Products)
_TRAINED = (QuantizedLinear, QuantizedConv1d, QuantizedProducts)


class Binary(Compressor):
    """Train weights and activations of few bits, then store their codes.

    BiT (Liu et al. 2022, arXiv 2205.13016), for linear layers, convolutions and the products of
    attention, as "Attention or Convolution" (arXiv 2311.02772) uses it. Train it under any
    objective; with ``pack=false`` the weights behind the codes stay, and a further ``binary`` of
    fewer bits goes on from them (BiT's multi-distillation). With one bit each, packed layers count
    bits on the CPU.

    Args:
        config: the options.
    """

    def __init__(self, config: BinaryConfig) -> None:
        self.config = config

    def prepare(self, model: SpeechModel) -> SpeechModel:
        """Return a copy whose layers train under quantisation.

        Args:
            model: the model; not changed.

        Returns:
            A model for ``plan``.

        Raises:
            PlanError: if there is nothing to quantise.
        """
        return self._quantised(model, self._decide(model), restart=True)

    def plan(self, model: SpeechModel) -> dict[str, Any]:
        """Say which layers are quantised, and how.

        Args:
            model: what ``prepare`` returned.

        Returns:
            ``weight_bits``, ``activation_bits``, ``packed``, names of ``leaves`` and, of these,
            the ``unsigned`` ones, whose inputs are never negative.

        Raises:
            PlanError: if nothing is.
        """
        return self._decide(model)

    def restructure(self, model: SpeechModel, plan: Mapping[str, Any]) -> SpeechModel:
        """Replace the layers that a plan names.

        Args:
            model: the trained model, or one that the plan was made for.
            plan: what ``plan`` returned.

        Returns:
            A copy with stored codes; with ``packed`` false the layers that train.

        Raises:
            PlanError: if the plan does not fit the model.
        """
        _check(plan)
        trained = self._quantised(model, plan, restart=False)
        if not plan["packed"]:
            return trained
        return with_leaves(
            trained, plan["leaves"], dict.fromkeys(_TRAINED, lambda leaf, _: packed(leaf))
        )

    def _decide(self, model: SpeechModel) -> dict[str, Any]:
        config = self.config
        if find_leaves(model, (SparseLinear, SparseConv1d), parts=config.parts, keep=config.keep):
            raise PlanError(
                f"{list(config.parts)} has sparse layers, and codes of few bits have no zeros",
                remedy="quantise a model that is not pruned, or take compressor=int8",
            )
        found = find_leaves(model, (*_STOCK, *_TRAINED), parts=config.parts, keep=config.keep)
        leaves = [name for name, leaf in found.items() if self._can(model, name, leaf)]
        if not leaves:
            raise PlanError(
                f"no linear layer and no convolution in {list(config.parts)} can be quantised",
                remedy="change compressor.parts or compressor.keep; packed layers stay as they are",
            )
        return {
            "weight_bits": config.weight_bits,
            "activation_bits": config.activation_bits,
            "packed": config.pack,
            "leaves": leaves,
            "unsigned": [name for name in leaves if _reads_no_negatives(model, name)],
        }

    def _can(self, model: SpeechModel, name: str, leaf: nn.Module) -> bool:
        if isinstance(leaf, Products):
            # products stand in the core of an attention block; without heads there are none
            block = model.get_submodule(name.rpartition(".core.")[0])
            return self.config.attention and _heads(block) > 0
        if isinstance(leaf, nn.Conv1d):
            plain = leaf.padding_mode == "zeros" and leaf.dilation == (1,)
            return plain and not isinstance(leaf.padding, str) and leaf.weight.numel() > 0
        return not isinstance(leaf, nn.Linear) or leaf.weight.numel() > 0

    def _quantised(
        self, model: SpeechModel, plan: Mapping[str, Any], *, restart: bool
    ) -> SpeechModel:
        bits = (plan["weight_bits"], plan["activation_bits"])
        unsigned = set(plan["unsigned"])

        def make(leaf: nn.Module, name: str) -> nn.Module:
            made: nn.Module
            if isinstance(leaf, Products):
                block = model.get_submodule(name.rpartition(".core.")[0])
                made = _of_products(leaf, block, bits[1])
            else:
                made = _of_layer(leaf, *bits, signed=name not in unsigned)
            if restart:
                _restart(made)
            return made.to(next(model.parameters()).device)

        return with_leaves(model, plan["leaves"], dict.fromkeys((*_STOCK, *_TRAINED), make))


def _check(plan: Mapping[str, Any]) -> None:
    expected = {"weight_bits", "activation_bits", "packed", "leaves", "unsigned"}
    remedy = "use the plan that speechlite compress wrote"
    if set(plan) != expected:
        raise PlanError(f"the plan has {sorted(plan)}, expected {sorted(expected)}", remedy=remedy)
    bits = [plan["weight_bits"], plan["activation_bits"]]
    leaves, unsigned = plan["leaves"], plan["unsigned"]
    are_names = isinstance(leaves, list) and isinstance(unsigned, list) and bool(leaves)
    if (
        not all(type(number) is int and 1 <= number <= 8 for number in bits)
        or not isinstance(plan["packed"], bool)
        or not are_names
        or any(name not in leaves for name in unsigned)
    ):
        raise PlanError(
            f"the plan has weight_bits={bits[0]!r}, activation_bits={bits[1]!r}, "
            f"packed={plan['packed']!r}, leaves={leaves!r:.80} and unsigned={unsigned!r:.80}: "
            "expected 1 to 8 bits, true or false, names of leaves, and some of them",
            remedy=remedy,
        )


def _heads(block: nn.Module) -> int:
    assert isinstance(block, (SelfAttention, RelativeSelfAttention))
    # of a linear layer or of one that a compressor put in its place
    width = block.query.out_features
    assert isinstance(width, int)
    return width // block.head_dim


def _reads_no_negatives(model: SpeechModel, name: str) -> bool:
    parent, _, child = name.rpartition(".")
    block = model.get_submodule(parent)
    return (
        isinstance(block, FeedForward)
        and child == "contract"
        and isinstance(block.activation, nn.ReLU)
    )


def _of_products(leaf: Products, block: nn.Module, bits: int) -> QuantizedProducts:
    assert isinstance(block, (SelfAttention, RelativeSelfAttention))
    made = QuantizedProducts(_heads(block), block.head_dim, bits=bits)
    if isinstance(leaf, QuantizedProducts):
        made.load_state_dict(leaf.state_dict())
    return made


def _of_layer(
    leaf: nn.Module, weight_bits: int, activation_bits: int, *, signed: bool
) -> QuantizedLinear | QuantizedConv1d:
    made: QuantizedLinear | QuantizedConv1d
    options: dict[str, Any] = {
        "weight_bits": weight_bits,
        "activation_bits": activation_bits,
        "signed": signed,
        "bias": leaf.bias is not None,
    }
    latent = leaf.weight if isinstance(leaf, (nn.Linear, nn.Conv1d)) else leaf.latent
    assert isinstance(latent, torch.Tensor)
    if isinstance(leaf, (nn.Linear, QuantizedLinear)):
        made = QuantizedLinear(leaf.in_features, leaf.out_features, **options)
    else:
        assert isinstance(leaf, (nn.Conv1d, QuantizedConv1d))
        stride, padding = leaf.stride, leaf.padding
        made = QuantizedConv1d(
            latent.shape[1] * leaf.groups,
            latent.shape[0],
            latent.shape[2],
            stride=stride if isinstance(stride, int) else stride[0],
            padding=padding if isinstance(padding, int) else int(padding[0]),
            groups=leaf.groups,
            **options,
        )
    if isinstance(leaf, (QuantizedLinear, QuantizedConv1d)):
        made.input.load_state_dict(leaf.input.state_dict())
    with torch.no_grad():
        made.latent.copy_(latent)
        if made.bias is not None and isinstance(leaf.bias, torch.Tensor):
            made.bias.copy_(leaf.bias)
    return made


def _restart(made: nn.Module) -> None:
    # scales of other bits are of another size
    for module in made.modules():
        if isinstance(module, ActivationQuantizer):
            module.started.fill_(False)
