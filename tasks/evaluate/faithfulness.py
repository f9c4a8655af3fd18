"""Whether predictions need the words that got the attention more than others: areas with intervals.

What each area is, `measures/faithfulness.py` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import schemas
from tasks.data.reading import read_table, refused, table_of
from tasks.evaluate.known import Known
from tasks.measures.faithfulness import areas, mean
from tasks.measures.intervals import interval
from tasks.metrics_table import valued

_METHOD = "mean over predictions, clustered by patient"


def faithfulness_rows(evidence: Sequence[Path], known: Known) -> Iterator[dict[str, Any]]:
    """Rows of each variant and code system of which there is evidence.

    deletion_area, insertion_area and random_area, and how far random words' lies above the first
    and below the second, paired: above 0 where attention is the better order.

    Raises EvaluationError where it is of other admissions or labels.
    """
    for artifact in evidence:
        table = read_table(table_of(artifact, "evidence"), schemas.EVIDENCE)
        table = table.filter(pc.equal(table["outcome"], known.outcome))
        for variant in pc.unique(table["variant"]).to_pylist():
            of_variant = table.filter(pc.equal(table["variant"], variant))
            yield from _rows(artifact, variant, of_variant, known)


def _rows(artifact: Path, variant: str, table: pa.Table, known: Known) -> Iterator[dict[str, Any]]:
    hadm_ids = table["hadm_id"].to_numpy()
    at = np.searchsorted(known.hadm_id, hadm_ids).clip(max=len(known.hadm_id) - 1)
    if (known.hadm_id[at] != hadm_ids).any():
        raise refused(
            artifact,
            f"evidence of outcome '{known.outcome}' is of admissions of which it is not observed; "
            "run finetune anew",
        )
    systems = np.array(table["code_system"].to_pylist())
    deletion, insertion, random = (
        areas(np.array(table[name].to_pylist())) for name in ("deletion", "insertion", "random")
    )
    measured = {
        "deletion_area": (deletion, 0.0),
        "insertion_area": (insertion, 0.0),
        "random_area": (random, 0.0),
        "deletion_below_random": (random - deletion, -1.0),
        "insertion_above_random": (insertion - random, -1.0),
    }
    for of in known.sets:
        some = np.full(len(table), True) if of.code_system is None else systems == of.code_system
        if not some.any():
            continue
        named = of.row | {
            "variant": variant,
            "n": len(np.unique(hadm_ids[some])),
            "n_patients": len(np.unique(known.patients[at[some]])),
            "positives": int(pc.sum(table["has_label"].filter(pa.array(some))).as_py()),
        }
        patients: NDArray[np.int64] = np.unique(known.patients[at[some]], return_inverse=True)[1]
        for metric, (values, low) in measured.items():
            found = interval(mean(values[some]), patients, (low, 1.0))
            yield named | valued(metric, found, _METHOD)
