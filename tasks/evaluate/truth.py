"""The generator's truth: the best prediction that the admission sections allow, as scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.errors import EvaluationError
from tasks.evaluate.known import Known


def read_best(path: Path, known: Known) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """Read p_best of an outcome's test admissions; None where the truth has no such outcome.

    Returns:
        [admissions, labels] p_best, 0 where there is none; [admissions, labels] whether it is
        known. Raises EvaluationError where the outcome is there, but of other admissions.
    """
    named = False
    best = np.zeros(known.cases.shape, np.float32)
    given = np.zeros(known.cases.shape, bool)
    keys = [
        f"{known.code_systems[g]} {code}" for g, code in zip(known.group, known.codes, strict=True)
    ]
    labels, admissions = pa.array(keys, pa.string()), pa.array(known.hadm_id)
    columns = ["hadm_id", "outcome", "code_system", "label", "p_best"]
    for batch in tables.stream(path, schemas.TRUTH, columns, batch_rows=1 << 18):
        batch = batch.filter(pc.equal(batch["outcome"], known.outcome))
        named = named or len(batch) > 0
        row = pc.index_in(batch["hadm_id"], admissions)
        batch, row = batch.filter(row.is_valid()), row.drop_null()
        if not len(row):
            continue
        key = pc.binary_join_element_wise(batch["code_system"], batch["label"], " ")
        label = pc.index_in(key, labels)
        kept = label.is_valid().to_numpy(zero_copy_only=False)
        rows = row.to_numpy(zero_copy_only=False)[kept]
        columns_of = label.drop_null().to_numpy(zero_copy_only=False)
        best[rows, columns_of] = batch["p_best"].to_numpy(zero_copy_only=False)[kept]
        given[rows, columns_of] = True
    if not named:  # the generator has no truth of it, such as of readmission
        return None
    if not (given & known.observed).any():
        raise EvaluationError(
            f"{path.name} has no p_best for the {len(known.hadm_id)} test admissions of outcome "
            f"'{known.outcome}'; it belongs to other data: correct evaluate.truth"
        )
    return best, given
