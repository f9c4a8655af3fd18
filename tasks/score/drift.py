"""Whether what was scored of late is like what the models learned from: inputs, and scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.data.predictions import read_predictions
from tasks.measures.stability import Stability, counts_in, edges_of, stability
from tasks.score.config import DriftConfig
from tasks.score.ledger import PART, SCORED, batches_since, of_model
from tasks.score.member import ScoredMember
from tasks.score.reference import Reference

_NAMES = {"words": "words", "rare": "share of tokens that are rare in training"}


@dataclass(frozen=True)
class Drift:
    """How far one thing has moved."""

    model: str  # the member's name
    what: str
    stability: Stability
    bound: float

    @property
    def moved(self) -> bool:
        return self.stability.moved(self.bound)

    @property
    def row(self) -> dict[str, object]:
        """Of the table on Prefect's page; aggregates only."""
        return {
            "model": self.model,
            "what": self.what,
            "PSI": round(self.stability.psi, 4),
            "bound": self.bound,
            "by chance": round(self.stability.chance, 4),
            "new notes": self.stability.new,
            "reference notes": self.stability.reference,
            "drift": "DRIFT" if self.moved else "",
        }


def drifts(
    root: Path,
    members: Sequence[ScoredMember],
    references: Mapping[str, Path],
    config: DriftConfig,
) -> list[Drift]:
    """Compare what these members scored of late with training (inputs) and validation (scores).

    Of an outcome the label that moved furthest stands for all.

    Args:
        root: of the store.
        references: by the member's key, an artifact of that kind.
    """
    first = datetime.now(UTC).date() - timedelta(days=config.days - 1)
    batches = list(batches_since(root, first))
    if not batches:
        return []
    scored = _read(batches, SCORED, schemas.SCORED)
    scores = _read(batches, PART, schemas.SCORES)
    found = []
    for member in members:
        reference = Reference.read(references[member.key])
        stabilities = dict(_of_inputs(_texts_of(scored, member), reference))
        of_member = scores.filter(pc.equal(scores["model"], member.key))
        stabilities |= dict(_of_scores(of_member, member))
        found += [Drift(member.name, what, of, config.bound) for what, of in stabilities.items()]
    return found


def _texts_of(scored: pa.Table, member: ScoredMember) -> pa.Table:
    """What a member has read, each text once."""
    rows = [of_model(scored, member.key, member.digest, name) for name in member.outcomes]
    return max(rows, key=len)


def _read(batches: Sequence[Path], name: str, schema: pa.Schema) -> pa.Table:
    return pa.concat_tables([tables.read(batch / name, schema) for batch in batches])


def _of_inputs(scored: pa.Table, reference: Reference) -> Iterator[tuple[str, Stability]]:
    tests = len(reference.edges) + len(reference.sections)
    for name, edges in reference.edges.items():
        counts = counts_in(edges, scored[name].to_numpy().astype(np.float64))
        yield _NAMES[name], stability(reference.counts[name], counts, tests)
    present = pc.value_counts(pc.list_flatten(scored["sections"])).to_pylist()
    counted = {each["values"]: each["counts"] for each in present}
    for section, notes in reference.sections.items():
        has, had = counted.get(section, 0), notes
        new = np.array([has, len(scored) - has])
        yield f"section {section}", stability(np.array([had, reference.notes - had]), new, tests)


def _of_scores(scores: pa.Table, member: ScoredMember) -> Iterator[tuple[str, Stability]]:
    for outcome, calibration in member.outcomes.items():
        rows = scores.filter(pc.equal(scores["outcome"], outcome))
        labels = calibration.labels
        if not len(rows):
            continue
        _, logits = read_predictions(member.predictions / outcome / "validation.parquet")
        expected = calibration.probabilities(logits).astype(np.float32)
        found = {}
        for label, values in enumerate(_by_label(rows, len(labels))):
            edges = edges_of(expected[:, label])
            found[label] = stability(
                counts_in(edges, expected[:, label]), counts_in(edges, values), len(labels)
            )
        furthest = max(found, key=lambda label: found[label].psi - found[label].chance)
        yield f"probability of {outcome}, {labels.codes[furthest]}", found[furthest]


def _by_label(rows: pa.Table, labels: int) -> NDArray[np.float32]:
    """Probabilities [labels, texts] of an outcome's rows, which go label by label of each text."""
    values: NDArray[np.float32] = rows["probability"].to_numpy().reshape(-1, labels).T
    return values
