"""What every head is: token states in, one logit a label out, and a bias that can be started."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """From token states to one logit for each label of an outcome."""

    bias: Tensor  # [labels]; where it is no parameter, it is 0 and stays so

    @property
    def has_bias(self) -> bool:
        return isinstance(self.bias, nn.Parameter)

    def start_from_titles(self, titles: Tensor, known: Tensor) -> None:
        """Start in the direction of the labels' embedded titles.

        Args:
            titles: [labels, hidden], the embedded titles, with the mean over titles taken off.
            known: [labels] bool, whether the label has a title; the others keep a random start.
        """
        raise NotImplementedError

    def forward(self, hidden: Tensor, present: Tensor) -> Tensor:
        """Map token states [batch, tokens, hidden] to logits [batch, labels], in float32.

        Args:
            present: [batch, tokens] bool, False at padding.
        """
        raise NotImplementedError

    def start_bias(self, positives: Tensor, observed: Tensor) -> None:
        """Start the bias at each label's log-odds in training, one case and one control added.

        A network that starts at the base rates need not spend its first steps on learning them.

        Args:
            positives: [labels], observed training admissions with the label.
            observed: [labels], training admissions in which the label was observed.
        """
        with torch.no_grad():
            self.bias.copy_(torch.log((positives + 1) / (observed - positives + 1)))
