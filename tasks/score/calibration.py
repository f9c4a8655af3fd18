"""From an outcome's logits to probabilities and flags, as evaluation fits them to validation.

Platt's line or one temperature (`measures/recalibration.py`), and the threshold with the best F1
(`measures/thresholds.py`): what the report calls recalibrated, and F1 at chosen thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.data.reading import read_admissions
from tasks.errors import StoreError
from tasks.evaluate.inputs import read_known, read_scores
from tasks.export.member import Member
from tasks.inspection import READ_VERSIONS, check_version
from tasks.measures.logistic import sigmoid
from tasks.measures.ranking import class_scores
from tasks.measures.recalibration import Recalibration, recalibrate
from tasks.measures.thresholds import best_thresholds
from tasks.store import Manifest
from tasks.variants import Variant, read_variants


@dataclass(frozen=True)
class Labels:
    """What an outcome's logits are of, one entry a label."""

    code_systems: tuple[str, ...]
    codes: tuple[str, ...]
    titles: tuple[str | None, ...]
    one_of: bool  # classes, of which an admission has exactly one

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def read(cls, outcome: Path) -> Labels:
        """The labels of an outcome artifact, in the order of a head's logits."""
        table = tables.read(outcome / "labels", schemas.LABELS).sort_by("index")
        systems, codes, titles = (
            tuple(table[name].to_pylist()) for name in ("code_system", "code", "title")
        )
        return cls(systems, codes, titles, one_of=any(table["one_of"].to_pylist()))


@dataclass(frozen=True)
class Calibration:
    """What validation says of an outcome's logits.

    Of classes each is calibrated by itself, as the report measures it: their probabilities need
    not sum to one.
    """

    labels: Labels
    line: Recalibration
    thresholds: NDArray[np.float32]  # [labels], of `comparable` logits; infinite: never flagged

    def comparable(self, logits: NDArray[np.float32]) -> NDArray[np.floating]:
        """Logits [texts, labels]; of classes the log-odds of their softmax."""
        return class_scores(logits) if self.labels.one_of else logits

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated probabilities [texts, labels] of logits [texts, labels]."""
        scores = self.comparable(logits).astype(np.float64)
        return sigmoid(self.line.slope * scores + self.line.intercept)

    def flagged(self, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each logit reaches its label's threshold, [texts, labels]."""
        scores = self.comparable(logits).astype(np.float32)
        flags: NDArray[np.bool_] = scores >= self.thresholds
        return flags


@dataclass(frozen=True)
class Predicted:
    """A member's predictions of validation patients, and the cohort that these are in."""

    member: Member
    folder: Path  # with <outcome>/validation.parquet
    variant: Variant
    admissions: pa.Table  # of the cohort, without the notes

    @classmethod
    def of(cls, member: Member) -> Predicted:
        """Raises StoreError where the store has none, or of a version that is not read."""
        made, unread = member.manifest, None
        for path in member.store.folders():
            if path.parent.name != "predictions":
                continue
            manifest = member.store.manifest("predictions", path.name)
            if manifest and _is_of(manifest, made):
                if manifest.version not in READ_VERSIONS["predictions"]:
                    unread = manifest
                    continue
                variants = read_variants([path]).values()
                variant = next(variant for variant, _ in variants if variant.is_member)
                cohort, _ = cohort_of(member)
                folder = member.store.path(cohort.kind, cohort.key)
                return cls(member, path / variant.name, variant, read_admissions(folder))
        if unread:
            check_version(unread)
        raise StoreError(
            f"the store has no predictions of {member.artifact} for validation patients, to which "
            "probabilities are calibrated; run its configuration again"
        )

    def calibration(self, outcome: str) -> Calibration:
        """Fit an outcome's probabilities and thresholds to validation."""
        folder = self.member.outcome_folder(outcome)
        known = read_known(outcome, folder, self.admissions, "validation")
        path = self.folder / outcome / "validation.parquet"
        scores = read_scores(self.variant.name, path, known, self.admissions, "validation")
        sample = known.sample(scores)
        return Calibration(Labels.read(folder), recalibrate(sample), best_thresholds(sample))


def cohort_of(member: Member) -> tuple[Manifest, Manifest]:
    """The cohort from whose notes the member learned, and those encoded.

    Raises StoreError where they are gone.
    """
    encoded = member.encoded
    for made_from in encoded.inputs if encoded else ():
        if made_from.kind == "cohort":
            cohort = member.store.manifest(made_from.kind, made_from.key)
            if encoded and cohort:
                return cohort, encoded
    raise StoreError(
        f"the cohort from which {member.artifact} learned is gone; run its configuration again"
    )


def _is_of(predictions: Manifest, member: Manifest) -> bool:
    """Whether these predictions are of that member as it is, not of a stack with it."""
    described = predictions.config.get("job", {}).get("adapter")
    return described == {"artifact": member.kind, "digest": member.digest}
