"""Batch norm over valid frames only, over all processes.

Shapes: B batch, S frames, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn import functional as distributed_functional

__all__ = ["MaskedBatchNorm"]


class MaskedBatchNorm(nn.Module):
    """Normalise channels by the statistics of valid frames (Ioffe and Szegedy 2015, algorithm 1).

    With several processes the statistics are those of the whole batch, so that their number does
    not change the result.

    Args:
        num_channels: D.
        momentum: weight of the newest batch in the running statistics.
        epsilon: term under the square root.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_channels: int, *, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.momentum = momentum
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))

    def forward(self, frames_BSD: Tensor, valid_BS: Tensor | None) -> Tensor:
        """Return normalised frames.

        Args:
            frames_BSD: input, zero beyond the lengths.
            valid_BS: which frames count; None for all.

        Returns:
            (B, S, D); what stands beyond the lengths means nothing.
        """
        mean_D, var_D = self.running_mean, self.running_var
        if self.training:
            mean_D, var_D = self._batch_statistics(frames_BSD, valid_BS)
        scale_D = self.weight * torch.rsqrt(var_D + self.epsilon)
        return frames_BSD * scale_D + (self.bias - mean_D * scale_D)

    def _batch_statistics(
        self, frames_BSD: Tensor, valid_BS: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        frames_BSD = frames_BSD.float()
        count = frames_BSD.new_tensor(float(frames_BSD.shape[0] * frames_BSD.shape[1]))
        if valid_BS is not None:
            count = valid_BS.sum().float()
        count, sum_D = _over_processes(count, frames_BSD.sum((0, 1)))
        mean_D = sum_D / count
        centred_BSD = frames_BSD - mean_D
        if valid_BS is not None:
            centred_BSD = centred_BSD * valid_BS[..., None]
        (squares_D,) = _over_processes(centred_BSD.square().sum((0, 1)))
        var_D = squares_D / count
        with torch.no_grad():
            self.running_mean.lerp_(mean_D, self.momentum)
            unbiased_D = squares_D / (count - 1).clamp(min=1)
            self.running_var.lerp_(unbiased_D, self.momentum)
        return mean_D, var_D


def _over_processes(*values: Tensor) -> tuple[Tensor, ...]:
    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    if distributed.get_world_size() == 1:
        return values
    # functional all_reduce sums the gradients over processes in the backward pass, too
    flat = torch.cat([value.reshape(-1) for value in values])
    flat = distributed_functional.all_reduce(flat)
    parts = flat.split([value.numel() for value in values])
    return tuple(part.view(value.shape) for part, value in zip(parts, values, strict=True))
