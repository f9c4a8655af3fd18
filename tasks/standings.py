"""Where the models of several runs stand: the record between the step that ranks them and the page.

What is undefined, and the interval that is withheld, is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.config import Config

FILE = "standings.json"
AFTER_LOOKING = "chosen after looking"


class Number(Config):
    """A value over seeds with its 95% interval, as a row of the metrics table has them."""

    value: float | None
    low: float | None
    high: float | None
    method: str  # says why, where the interval is withheld
    p_value: float | None = None  # of no difference


class Standing(Config):
    """A model's row of an outcome's table; differences are of the pooled macro AUROC."""

    name: str  # run/variant
    seeds: int
    deterministic: bool  # several seeds made the same predictions, byte for byte
    one_checkpoint: bool  # nothing is known of how another seed would fare
    twins: tuple[str, ...]  # the models that predict the same, byte for byte
    macro: Number
    micro: Number
    by_seed: tuple[float | None, ...]  # macro AUROC; one value where it is deterministic
    spread: float | None  # the standard deviation of these
    to_reference: Number | None  # None: it is the reference
    holm: float | None  # the p-value of that among all comparisons of the outcome
    to_best: Number | None  # None: it is the best row, which was chosen after looking


class Board(Config):
    """An outcome's leaderboard, the highest macro AUROC first."""

    outcome: str
    admissions: int  # of test, in which the outcome is known
    labels: int
    labels_defined: int  # with a case and a control
    reference: str
    best: str
    standings: tuple[Standing, ...]  # each distinct model once

    @property
    def comparisons(self) -> int:
        """How many p-values Holm's correction is over."""
        return sum(standing.to_reference is not None for standing in self.standings)


class Spent(Config):
    """What one seed's training of a model took, its adapters' with it; None: not known."""

    seconds: float | None = None
    peak_mib: float | None = None  # of any of its trainings
    parameters: float | None = None  # trained
    adapter_parameters: float | None = None  # those of them that are not of a head
    flops: float | None = None  # operations, forward and backward, by formula
    flops_to_best: float | None = None  # up to the best validation
    cost: float | None = None  # at launch.price_per_hour

    @classmethod
    def together(cls, parts: Sequence[Spent]) -> Spent:
        """Of several trainings: all add up, but for the memory; unknown if one is."""
        return cls(**{name: _all(parts, name) for name in cls.model_fields})

    @classmethod
    def mean(cls, seeds: Sequence[Spent]) -> Spent:
        """Of several seeds."""
        sums = {name: _all(seeds, name) for name in cls.model_fields if name != "peak_mib"}
        known = {name: each / len(seeds) for name, each in sums.items() if each is not None}
        return cls(**known, peak_mib=_all(seeds, "peak_mib"))


def _all(parts: Sequence[Spent], name: str) -> float | None:
    values = [getattr(part, name) for part in parts]
    if not values or None in values:
        return None
    return max(values) if name == "peak_mib" else sum(values)


class Standings(Config):
    """The boards of all outcomes, and what one seed's training of each model took."""

    seeds: tuple[int, ...]
    boards: tuple[Board, ...]
    spent: dict[str, Spent]  # by run/variant

    def write(self, folder: Path) -> None:
        (folder / FILE).write_text(self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Standings:
        return cls.model_validate_json((folder / FILE).read_bytes())
