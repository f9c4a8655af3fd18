"""What diagnoses and procedures share: the ICD version of each admission, and its labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.errors import ConfigError
from tasks.ingest.outcomes.codes import SYSTEMS, CodedRows, Kind
from tasks.ingest.outcomes.config import DiagnosesConfig, ProceduresConfig
from tasks.ingest.outcomes.groups import Grouped, grouped
from tasks.ingest.outcomes.labels import Outcome, frequent


@dataclass(frozen=True)
class Coded:
    """The code rows of the cohort, and the version in which each admission is observed.

    observed: [admissions], 9, 10, or 0 where it is unobserved.
    mixed: admissions with codes of both versions; the more frequent version counts.
    """

    kind: Kind
    rows: CodedRows
    observed: NDArray[np.int64]
    mixed: int

    def outcome(
        self,
        cohort: pa.Table,
        titles: pa.Table | None,
        config: DiagnosesConfig | ProceduresConfig,
    ) -> tuple[Outcome, dict[str, int]]:
        """The outcome of the rows that are coded in their admission's version."""
        groups = grouped(self.rows.of_version(self.observed), self.kind, titles, config)
        names = SYSTEMS[self.kind]
        in_training = pc.equal(cohort["split"], "train").to_numpy()
        systems = pc.if_else(pc.equal(pa.array(groups.rows.version), 9), names[9], names[10])
        admission, label, labels = frequent(
            groups.rows.admission, systems, groups.rows.code, in_training, config.min_count
        )
        if not labels:
            raise ConfigError(
                f"outcome '{config.name}': no code is held by {config.min_count} of the "
                f"{int(in_training.sum())} training admissions; lower its min_count"
            )
        outcome = Outcome(
            systems=[names.get(version) for version in self.observed.tolist()],
            admission=admission,
            label=label,
            labels=labels,
            titles=_titled(labels, names, groups),
        )
        return outcome, self._counts() | groups.counts

    def _counts(self) -> dict[str, int]:
        versions = Counter(self.observed.tolist())
        other = int((self.observed[self.rows.admission] != self.rows.version).sum())
        return {
            "observed_icd9": versions[9],
            "observed_icd10": versions[10],
            "admissions_of_mixed_version": self.mixed,
            "code_rows": len(self.rows.code),
            "code_rows_of_another_version": other,
            "code_rows_outside_the_cohort": self.rows.elsewhere,
            "code_rows_of_another_patient": self.rows.mistaken,
        }


def chosen(versions: NDArray[np.int64], wanted: str) -> NDArray[np.int64]:
    """The admissions' versions [admissions], 0 where another one is wanted."""
    return np.where(versions == int(wanted), versions, 0) if wanted in ("9", "10") else versions


def _titled(
    labels: list[tuple[str, str]], names: dict[int, str], groups: Grouped
) -> list[str | None]:
    version_of = {name: version for version, name in names.items()}
    return [groups.titles.get((version_of[system], code)) for system, code in labels]
