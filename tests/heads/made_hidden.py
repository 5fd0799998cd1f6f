"""Hidden states and label streams for the tests of heads."""

from __future__ import annotations

import torch

from speechlite.core.types import Batch, Hidden, Padded

DIM = 6


def hidden(lengths, *, num_layers=3, seed=0, frames=None) -> Hidden:
    """Return random hidden states, zero beyond the lengths, equal for a row in every batch."""
    layers = []
    for layer in range(num_layers):
        state_BSD = torch.zeros(len(lengths), frames or max(lengths), DIM)
        for row, length in enumerate(lengths):
            generator = torch.Generator().manual_seed(1000 * seed + 10 * row + layer)
            state_BSD[row, :length] = torch.randn(length, DIM, generator=generator)
        layers.append(state_BSD)
    return Hidden(tuple(layers), torch.tensor(lengths))


def batch(stream, sequences) -> Batch:
    """Return a batch that carries one label stream."""
    values_BL = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(sequence, dtype=torch.int64) for sequence in sequences], batch_first=True
    )
    lengths_B = torch.tensor([len(sequence) for sequence in sequences])
    names = tuple(f"u{row}" for row in range(len(sequences)))
    return Batch(names, labels={stream: Padded(values_BL, lengths_B)}, speakers=names)


def descend(module, loss_of, *, steps, rate) -> list[float]:
    """Train by plain gradient descent, and return the losses on the way."""
    parameters = list(module.parameters())
    values = []
    for _ in range(steps):
        loss = loss_of()
        mean = loss.sum / loss.weight
        values.append(mean.item())
        slopes = torch.autograd.grad(mean, parameters)
        with torch.no_grad():
            for value, slope in zip(parameters, slopes, strict=True):
                value -= rate * slope
    return values
