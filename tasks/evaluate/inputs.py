"""What is evaluated: the test admissions, what is known of their outcomes, and the predictions.

Everything is checked here, once, and lined up by admission; the rest of the stage trusts it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.data.reading import columns_of, read_table, refused, stream_table, table_of
from tasks.evaluate.known import Known
from tasks.measures.ranking import class_scores

BATCH_CELLS = 1 << 21  # read at once: 8 MiB, which memory already touched holds


def read_known(outcome: str, artifact: Path, admissions: pa.Table, split: str = "test") -> Known:
    """Line up an outcome with the split's admissions of the cohort.

    Raises EvaluationError where they do not fit, or a label is observed in no test admission.
    """
    what = f"outcome '{outcome}'"
    labels = read_table(table_of(artifact, "labels"), schemas.LABELS).sort_by("index")
    if not len(labels):
        words = f"{what} has no labels (0 rows); lower its min_count and ingest anew"
        raise refused(artifact, words)
    if labels["index"].to_pylist() != list(range(len(labels))):
        raise refused(
            artifact,
            f"the label table of {what} ({len(labels)} rows) does not number its "
            "labels 0, 1, 2, ...; ingest anew",
        )
    rows = read_table(table_of(artifact, "outcomes"), schemas.OUTCOMES)
    _refuse_duplicates(artifact, what, rows["hadm_id"])
    _refuse_strangers(artifact, what, rows["hadm_id"], admissions["hadm_id"])
    admissions = admissions.filter(pc.equal(admissions["split"], split)).sort_by("hadm_id")
    in_split = pc.is_in(rows["hadm_id"], admissions["hadm_id"])
    rows = rows.filter(pc.and_(rows["observed"], in_split)).sort_by("hadm_id").combine_chunks()
    admissions = admissions.filter(pc.is_in(admissions["hadm_id"], rows["hadm_id"]))
    systems = tuple(dict.fromkeys(labels["code_system"].to_pylist()))
    names = pa.array(systems, pa.string())
    group = pc.index_in(labels["code_system"], names).to_numpy().astype(np.int64)
    row_group = pc.index_in(rows["code_system"], names).fill_null(-1).to_numpy()
    observed = row_group[:, None] == group[None, :]
    if split == "test":  # elsewhere nothing is measured, only fitted where there is enough
        _refuse_never_observed(artifact, outcome, observed, len(rows))
    return Known(
        outcome=outcome,
        hadm_id=rows["hadm_id"].to_numpy(),
        patients=np.unique(admissions["subject_id"].to_numpy(), return_inverse=True)[1],
        cases=_case_matrix(artifact, outcome, rows["labels"], len(labels)),
        observed=observed,
        code_systems=systems,
        group=group,
        codes=tuple(labels["code"].to_pylist()),
        train=labels["train"].to_numpy(),
        admissions=admissions,
        one_of=pc.any(labels["one_of"]).as_py(),
    )


def read_scores(
    variant: str, path: Path, known: Known, admissions: pa.Table, split: str = "test"
) -> NDArray[np.float32]:
    """Read a variant's logits of a split, [admissions of `known`, labels].

    Of classes they become log-odds by the softmax over each admission's classes.
    Raises EvaluationError on another width, NaN or infinite logits, duplicates, admissions that
    are not in the cohort or not in that split, and observed admissions without a prediction.
    """
    what = f"predictions of variant '{variant}' for outcome '{known.outcome}'"
    if split != "test":
        what = f"{split} {what}"
    if not path.exists():
        raise refused(
            path,
            f"{what} are not there ({path.name} for {len(known.hadm_id)} admissions is missing); "
            "run finetune anew",
        )
    _check_width(what, path, known.labels)
    schema = schemas.predictions(known.labels)
    ids = read_table(path, schema, ["hadm_id"])["hadm_id"]
    wanted = pa.array(known.hadm_id)
    _refuse_duplicates(path, what, ids)
    _refuse_strangers(path, what, ids, admissions["hadm_id"])
    in_split = admissions.filter(pc.equal(admissions["split"], split))["hadm_id"]
    _refuse_strangers(path, what, ids, in_split, f"{split} split")
    _refuse_missing(path, what, ids, wanted, split)
    scores = np.empty(known.cases.shape, np.float32)
    bad = 0
    batch_rows = max(1, min(tables.ROW_GROUP_ROWS, BATCH_CELLS // known.labels))
    for batch in stream_table(path, schema, batch_rows=batch_rows):
        logits = batch["logits"].flatten().to_numpy(zero_copy_only=False)
        logits = logits.reshape(len(batch), known.labels)
        finite = np.isfinite(logits)
        bad += 0 if finite.all() else int((~finite.all(axis=1)).sum())
        rows = pc.index_in(batch["hadm_id"], wanted)
        known_rows = rows.is_valid().to_numpy(zero_copy_only=False)
        scores[rows.drop_null().to_numpy()] = logits if known_rows.all() else logits[known_rows]
    if bad:
        raise refused(
            path,
            f"{what}: {bad} of {len(ids)} rows hold NaN or infinite logits, or none at a label; "
            "the training diverged: lower finetune.learning_rate and run finetune anew",
        )
    if not known.one_of:
        return scores
    largest = np.finfo(np.float32).max  # the difference of two finite logits may not be one
    return np.clip(class_scores(scores), -largest, largest).astype(np.float32)


def _case_matrix(
    artifact: Path, outcome: str, labels: pa.ChunkedArray, width: int
) -> NDArray[np.bool_]:
    """Spread the lists of label indices over a matrix, [admissions, labels]."""
    column = labels.combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False)
    if len(values) and not (values.min() >= 0 and values.max() < width):
        raise refused(
            artifact,
            f"outcome '{outcome}' ({len(column)} rows) points outside its {width} labels; "
            "ingest anew",
        )
    cases = np.zeros((len(column), width), bool)
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
    cases[np.repeat(np.arange(len(column)), lengths), values] = True
    return cases


def _check_width(what: str, path: Path, labels: int) -> None:
    columns = columns_of(path)
    kind = columns.field("logits").type if "logits" in columns.names else None
    if kind is not None and pa.types.is_fixed_size_list(kind) and kind.list_size != labels:
        raise refused(
            path,
            f"{what}: {kind.list_size} logits a row in {tables.rows(path)} rows, but the outcome "
            f"has {labels} labels; run finetune anew on this outcome",
        )


def _refuse_duplicates(path: Path, what: str, ids: pa.ChunkedArray) -> None:
    duplicates = len(ids) - len(pc.unique(ids))
    if duplicates:
        raise refused(
            path, f"{what}: {duplicates} of {len(ids)} rows repeat an admission; make it anew"
        )


def _refuse_strangers(
    path: Path, what: str, ids: pa.ChunkedArray, known: pa.ChunkedArray, where: str = "cohort"
) -> None:
    strangers = len(ids) - pc.sum(pc.is_in(ids, known)).as_py() if len(ids) else 0
    if strangers:
        raise refused(
            path,
            f"{what}: {strangers} of {len(ids)} rows are of admissions that are not in the "
            f"{where}; they come from another cohort or split: run again from ingest on",
        )


def _refuse_missing(
    path: Path, what: str, ids: pa.ChunkedArray, wanted: pa.Array, split: str
) -> None:
    missing = len(wanted) - pc.sum(pc.is_in(wanted, ids.combine_chunks())).as_py()
    if missing:
        raise refused(
            path,
            f"{what}: {missing} of {len(wanted)} observed {split} admissions have no "
            f"row among {len(ids)}; predict them all, or the variants are not comparable",
        )


def _refuse_never_observed(
    artifact: Path, outcome: str, observed: NDArray[np.bool_], rows: int
) -> None:
    never = int((~observed.any(axis=0)).sum())
    if never:
        raise refused(
            artifact,
            f"outcome '{outcome}': {never} of its {observed.shape[1]} labels are observed in none "
            f"of its {rows} observed test admissions; use a larger test split, or only one ICD "
            "version",
        )
