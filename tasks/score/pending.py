"""Which texts of the arrivals are still to be scored, by which models; without torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.score.ledger import Ledger, fingerprints
from tasks.score.member import ScoredMember

MOST_NOTES = 256  # of a batch, which is scored again where the program was killed in it
MOST_CELLS = 1 << 20  # of a batch: texts times labels of all models

Wanted = tuple[str, str]  # a model's key, and an outcome


class Pending:
    """What is wanted of these members, and was not scored before."""

    def __init__(
        self, ledger: Ledger, members: Sequence[ScoredMember], outcomes: Collection[str] = ()
    ) -> None:
        """Of the outcomes that are wanted of each member that has them; none named: all."""
        wanted = [
            (member, outcome)
            for member in members
            for outcome in member.outcomes
            if not outcomes or outcome in outcomes
        ]
        self._scored = {
            (member.key, outcome): ledger.by(member.key, member.digest, outcome)
            for member, outcome in wanted
        }
        cells = sum(len(member.outcomes[outcome].labels) for member, outcome in wanted)
        self.batch_notes = max(1, min(MOST_NOTES, MOST_CELLS // max(1, cells)))

    def of(self, batch: pa.Table) -> dict[Wanted, NDArray[np.bool_]]:
        """Of each model and outcome, which of a batch of arrivals are still to be scored."""
        texts = fingerprints(batch)
        return {wanted: ~np.isin(texts, scored) for wanted, scored in self._scored.items()}

    def any(self, arrivals: Path) -> bool:
        """Whether there is anything to score in an artifact of arrivals."""
        return any(
            bool(pending.any())
            for batch in self.batches(arrivals)
            for pending in self.of(batch).values()
        )

    def count(self, arrivals: Path) -> int:
        """How many batches there are."""
        return -(-tables.rows(arrivals / "admissions") // self.batch_notes)

    def batches(self, arrivals: Path) -> Iterator[pa.Table]:
        """The arrivals with texts, in batches."""
        columns = ["hadm_id", "admittime", "note"]
        table = arrivals / "admissions"
        for batch in tables.stream(table, schemas.ADMISSIONS, columns, self.batch_notes):
            yield pa.Table.from_batches([batch])
