"""What a member's training minimizes: a union of losses, without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.config import Config, kind_or


class CrossEntropy(Config):
    """The cross-entropy of each known cell; the saved probabilities are those of the data."""

    kind: Literal["cross_entropy"] = "cross_entropy"


class Focal(Config):
    """Cross-entropy times (1 - p)^gamma, p the probability of what is true (Lin et al. 2017).

    Cells that are told already count less. The saved probabilities are not those of the data: they
    are nearer to a half (of classes, to each other), and no bias takes that back. For one label
    likelier cases still rank higher. A weight of cases is taken off the bias as if gamma were 0.
    """

    kind: Literal["focal"] = "focal"
    gamma: float = Field(default=2.0, ge=0)
    """How much less; 0: as cross_entropy"""


class LogitAdjusted(Config):
    """Cross-entropy of logits to which tau times the log-odds of training are added (Menon et al.
    2021); of classes, their log-probabilities.

    So the heads themselves learn what cases say beyond their base rate. What is added is a constant
    of the label, which its bias can take up: rankings within a label, and AUROCs, are those of
    cross_entropy, and with `probabilities: data` the saved heads are, too, but for rounding.
    """

    kind: Literal["logit_adjusted"] = "logit_adjusted"
    tau: float = Field(default=1.0, ge=0)
    """How often the log-odds are added"""
    probabilities: Literal["data", "balanced"] = "data"
    """Which ones the saved heads give. data: what was added is added to the saved biases; balanced:
    it is not, so that with tau 1 they are those among as many cases as controls (equally many of
    each class), and a threshold of a half balances sensitivity and specificity"""


Loss = Annotated[
    CrossEntropy | Focal | LogitAdjusted, Field(discriminator="kind"), kind_or("cross_entropy")
]
