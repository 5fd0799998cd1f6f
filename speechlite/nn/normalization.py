"""Norms over what counts only: valid frames, or channels that are still there.

Shapes: B batch, S frames, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn import functional as distributed_functional
from torch.nn import functional

__all__ = ["MaskedBatchNorm", "MaskedInstanceNorm", "SelectiveLayerNorm"]


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
        frames_BSD = _at_least_float32(frames_BSD)
        count = frames_BSD.new_tensor(float(frames_BSD.shape[0] * frames_BSD.shape[1]))
        if valid_BS is not None:
            count = valid_BS.sum().to(frames_BSD.dtype)
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


class MaskedInstanceNorm(nn.Module):
    """Normalise each channel of each utterance over its valid frames.

    Group norm (Wu and He 2018, arXiv 1803.08494) with as many groups as channels.

    Args:
        num_channels: D.
        epsilon: term under the square root.
    """

    def __init__(self, num_channels: int, *, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, channels_BDS: Tensor, valid_BS: Tensor | None) -> Tensor:
        """Return normalised channels.

        Args:
            channels_BDS: input.
            valid_BS: which frames count; None for all.

        Returns:
            (B, D, S); what stands beyond the lengths means nothing.
        """
        if valid_BS is None:
            # torch.nn.functional's refuses a single frame
            return torch.group_norm(
                channels_BDS, len(self.weight), self.weight, self.bias, self.epsilon
            )
        valid_B1S = valid_BS[:, None]
        count_B11 = valid_B1S.sum(-1, keepdim=True).clamp(min=1)
        known_BDS = _at_least_float32(channels_BDS).masked_fill(~valid_B1S, 0.0)
        mean_BD1 = known_BDS.sum(-1, keepdim=True) / count_B11
        # few passes, because this is the longest signal of a model
        centred_BDS = (known_BDS - mean_BD1).masked_fill_(~valid_B1S, 0.0)
        norm_BD1 = torch.linalg.vector_norm(centred_BDS, dim=-1, keepdim=True)
        scale_BD1 = self.weight[:, None] * torch.rsqrt(norm_BD1.square() / count_B11 + self.epsilon)
        normed_BDS = torch.addcmul(self.bias[:, None].to(known_BDS.dtype), centred_BDS, scale_BD1)
        return normed_BDS.to(channels_BDS.dtype)


class SelectiveLayerNorm(nn.LayerNorm):
    """Layer norm (Ba et al. 2016, arXiv 1607.06450) over the channels that a gate leaves.

    With ``alive`` set it computes what a norm without the other channels would.

    Args:
        num_channels: D.
        epsilon: term under the square root.
    """

    def __init__(self, num_channels: int, *, epsilon: float = 1e-5) -> None:
        super().__init__(num_channels, eps=epsilon)
        self.alive: Tensor | None = None

    def forward(self, frames_BSD: Tensor) -> Tensor:
        """Return normalised frames.

        Args:
            frames_BSD: input.

        Returns:
            (B, S, D); dead channels are zero.
        """
        if self.alive is None:
            return functional.layer_norm(
                frames_BSD, self.weight.shape, self.weight, self.bias, self.eps
            )
        # as torch's own norm does, also under autocast
        frames_BSD = _at_least_float32(frames_BSD)
        alive_D = self.alive.to(frames_BSD.dtype)
        count = alive_D.sum().clamp(min=1.0)
        mean_BS1 = (frames_BSD * alive_D).sum(-1, keepdim=True) / count
        centred_BSD = (frames_BSD - mean_BS1) * alive_D
        var_BS1 = centred_BSD.square().sum(-1, keepdim=True) / count
        normed_BSD = centred_BSD * torch.rsqrt(var_BS1 + self.eps)
        scaled_BSD = (normed_BSD * self.weight + self.bias) * alive_D
        return scaled_BSD.to(self.weight.dtype)


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
