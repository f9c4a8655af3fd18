"""Layers that compute in their input's precision, whichever one the engine keeps them in."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Dense(nn.Linear):
    """A linear layer: Kaiming-uniform weights, and a bias, if any, that starts at zero."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return F.linear(input, self.weight.to(input.dtype), bias)


class Norm(nn.LayerNorm):
    """Layer normalization of states."""

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
        return F.layer_norm(input, self.normalized_shape, weight, bias, self.eps)
