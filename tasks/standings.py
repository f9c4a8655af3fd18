"""Where the models of several runs stand: the record between the step that ranks them and the page.

What is undefined, and the interval that is withheld, is None.
"""

from __future__ import annotations

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


class Standings(Config):
    """The boards of all outcomes, and what one seed's training of each model took."""

    seeds: tuple[int, ...]
    boards: tuple[Board, ...]
    seconds: dict[str, float]  # run/variant -> seconds, where they are known

    def write(self, folder: Path) -> None:
        (folder / FILE).write_text(self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Standings:
        return cls.model_validate_json((folder / FILE).read_bytes())
