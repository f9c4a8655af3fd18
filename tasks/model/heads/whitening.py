"""Token states as a head likes them: centered, uncorrelated, of one size in every direction."""

from __future__ import annotations

import torch
from torch import Tensor, nn

RIDGE = 1e-2  # of the mean variance: directions in which states hardly differ are not blown up


class Whitening(nn.Module):
    """A fixed linear map, (h - mean) C^(-1/2), with C the covariance of the token states h.

    A language model's states share one large mean and a few large directions. Without the map, a
    head's weights move the logits of all labels together; with it the demo's heads came from 45%
    to 61% of the way to the best diagnosis AUROC in two epochs (at head rates of 3e-3 and 1e-2, the
    best for each).
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(hidden))
        self.register_buffer("matrix", torch.eye(hidden))

    def fit(self, states: Tensor) -> None:
        """Set the map from a sample of token states [tokens, hidden].

        Symmetric (ZCA), so that it does not depend on the signs of the eigenvectors.
        """
        states = states.double()
        mean = states.mean(dim=0)
        covariance = (states - mean).T @ (states - mean) / len(states)
        values, vectors = torch.linalg.eigh(covariance)
        scale = (values.clamp(min=0) + RIDGE * values.mean()).rsqrt()
        self.mean.copy_(mean)
        self.matrix.copy_(vectors @ torch.diag(scale) @ vectors.T)

    def forward(self, states: Tensor) -> Tensor:
        """Map states [..., hidden] to states of the same shape, in float32."""
        return (states.float() - self.mean.float()) @ self.matrix.float()
