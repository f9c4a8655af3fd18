"""What is evaluated: the test admissions, what is known of their outcomes, and the predictions.

Everything is checked here, once, and lined up by admission; the rest of the stage trusts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.errors import EvaluationError
from tasks.ranking import class_scores

COHORT_COLUMNS = (
    "hadm_id",
    "subject_id",
    "split",
    "age",
    "sex",
    "race",
    "insurance",
    "language",
    "admission_type",
)


@dataclass(frozen=True)
class Known:
    """An outcome of a split's observed admissions, in rising order of hadm_id."""

    outcome: str
    hadm_id: NDArray[np.int64]  # [admissions]
    patients: NDArray[np.int64]  # [admissions]; 0, 1, 2, ... a patient
    cases: NDArray[np.bool_]  # [admissions, labels]
    observed: NDArray[np.bool_]  # [admissions, labels]
    code_systems: tuple[str, ...]
    group: NDArray[np.int64]  # [labels]; index into code_systems
    codes: tuple[str, ...]  # [labels]
    train: NDArray[np.int64]  # [labels]; training admissions with the label
    admissions: pa.Table  # the cohort's columns, row by row as above
    one_of: bool = False  # the labels are classes, of which each admission has one

    @property
    def labels(self) -> int:
        return len(self.codes)


def table_of(place: Path, name: str) -> Path:
    """Where an artifact keeps a table: a folder of parts, or a single file."""
    folder = place / name
    return folder if folder.is_dir() else place / f"{name}.parquet"


def predictions_of(place: Path, variant: str, outcome: str, split: str = "test") -> Path:
    """Where an artifact keeps a variant's predictions: alone, or among others by name."""
    alone = place / f"{split}.parquet"
    return alone if alone.is_file() else place / variant / outcome / f"{split}.parquet"


def read_admissions(cohort: Path) -> pa.Table:
    """Read the cohort without its notes. Raises EvaluationError on duplicates or no test split."""
    found = tables.read(table_of(cohort, "admissions"), schemas.ADMISSIONS, COHORT_COLUMNS)
    duplicates = len(found) - len(pc.unique(found["hadm_id"]))
    if duplicates:
        raise EvaluationError(
            f"the cohort repeats {duplicates} of its {len(found)} admissions; ingest anew"
        )
    if not pc.any(pc.equal(found["split"], "test")).as_py():
        raise EvaluationError(
            f"none of the cohort's {len(found)} admissions is in the test split; "
            "raise ingest.split.test, or name test patients in the split file"
        )
    return found


def read_known(outcome: str, place: Path, admissions: pa.Table, split: str = "test") -> Known:
    """Line up an outcome with the split's admissions of the cohort.

    Raises EvaluationError where they do not fit, or a label is observed in no test admission.
    """
    labels = tables.read(table_of(place, "labels"), schemas.LABELS).sort_by("index")
    if labels["index"].to_pylist() != list(range(len(labels))):
        raise EvaluationError(
            f"the label table of outcome '{outcome}' ({len(labels)} rows) does not number its "
            "labels 0, 1, 2, ...; ingest anew"
        )
    rows = tables.read(table_of(place, "outcomes"), schemas.OUTCOMES)
    _refuse_duplicates(f"outcome '{outcome}'", rows["hadm_id"])
    _refuse_strangers(f"outcome '{outcome}'", rows["hadm_id"], admissions["hadm_id"])
    own = admissions.filter(pc.equal(admissions["split"], split)).sort_by("hadm_id")
    rows = rows.filter(pc.and_(rows["observed"], pc.is_in(rows["hadm_id"], own["hadm_id"])))
    rows = rows.sort_by("hadm_id").combine_chunks()
    own = own.filter(pc.is_in(own["hadm_id"], rows["hadm_id"]))
    systems = tuple(dict.fromkeys(labels["code_system"].to_pylist()))
    group = np.array([systems.index(name) for name in labels["code_system"].to_pylist()], np.int64)
    row_system = pc.index_in(rows["code_system"], pa.array(systems, pa.string()))
    row_group = row_system.fill_null(-1).to_numpy(zero_copy_only=False)
    observed = row_group[:, None] == group[None, :]
    if split == "test":  # elsewhere nothing is measured, only fitted where there is enough
        _refuse_never_observed(outcome, observed, len(rows))
    return Known(
        outcome=outcome,
        hadm_id=rows["hadm_id"].to_numpy(),
        patients=np.unique(own["subject_id"].to_numpy(), return_inverse=True)[1],
        cases=_case_matrix(outcome, rows["labels"], len(labels)),
        observed=observed,
        code_systems=systems,
        group=group,
        codes=tuple(labels["code"].to_pylist()),
        train=labels["train"].to_numpy(),
        admissions=own,
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
        raise EvaluationError(
            f"{what} are not there ({path.name} for {len(known.hadm_id)} admissions is missing); "
            "run finetune anew"
        )
    _check_width(what, path, known.labels)
    schema = schemas.predictions(known.labels)
    ids = tables.read(path, schema, ["hadm_id"])["hadm_id"]
    _refuse_duplicates(what, ids)
    _refuse_strangers(what, ids, admissions["hadm_id"])
    own = admissions.filter(pc.equal(admissions["split"], split))["hadm_id"]
    _refuse_strangers(what, ids, own, f"{split} split")
    wanted = pa.array(known.hadm_id)
    missing = len(wanted) - pc.sum(pc.is_in(wanted, ids.combine_chunks())).as_py()
    if missing:
        raise EvaluationError(
            f"{what}: {missing} of {len(wanted)} observed {split} admissions have no "
            f"row among {len(ids)}; predict them all, or the variants are not comparable"
        )
    scores = np.empty(known.cases.shape, np.float32)
    bad = 0
    for batch in tables.stream(path, schema):
        logits = batch["logits"].flatten().to_numpy(zero_copy_only=False)
        logits = logits.reshape(len(batch), known.labels)
        bad += int((~np.isfinite(logits).all(axis=1)).sum())
        place = pc.index_in(batch["hadm_id"], wanted)
        seen = place.is_valid().to_numpy(zero_copy_only=False)
        scores[place.drop_null().to_numpy()] = logits[seen]
    if bad:
        raise EvaluationError(
            f"{what}: {bad} of {len(ids)} rows hold NaN or infinite logits; the training "
            "diverged: lower finetune.learning_rate and run finetune anew"
        )
    return class_scores(scores).astype(np.float32) if known.one_of else scores


def _case_matrix(outcome: str, labels: pa.ChunkedArray, width: int) -> NDArray[np.bool_]:
    """Spread the lists of label indices over a matrix, [admissions, labels]."""
    column = labels.combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False)
    if len(values) and not (values.min() >= 0 and values.max() < width):
        raise EvaluationError(
            f"outcome '{outcome}' ({len(column)} rows) points outside its {width} labels; "
            "ingest anew"
        )
    cases = np.zeros((len(column), width), bool)
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
    cases[np.repeat(np.arange(len(column)), lengths), values] = True
    return cases


def _check_width(what: str, path: Path, labels: int) -> None:
    from pyarrow import parquet

    kind = parquet.read_schema(tables.parts(path)[0]).field("logits").type
    width = kind.list_size if pa.types.is_fixed_size_list(kind) else None
    if width != labels:
        raise EvaluationError(
            f"{what}: {width} logits a row in {tables.rows(path)} rows, but the outcome has "
            f"{labels} labels; run finetune anew on this outcome"
        )


def _refuse_duplicates(what: str, ids: pa.ChunkedArray) -> None:
    duplicates = len(ids) - len(pc.unique(ids))
    if duplicates:
        raise EvaluationError(f"{what}: {duplicates} of {len(ids)} rows repeat an admission")


def _refuse_strangers(
    what: str, ids: pa.ChunkedArray, known: pa.ChunkedArray, where: str = "cohort"
) -> None:
    strangers = len(ids) - pc.sum(pc.is_in(ids, known)).as_py() if len(ids) else 0
    if strangers:
        raise EvaluationError(
            f"{what}: {strangers} of {len(ids)} rows are of admissions that are not in the "
            f"{where}; they come from another cohort or split"
        )


def _refuse_never_observed(outcome: str, observed: NDArray[np.bool_], rows: int) -> None:
    never = int((~observed.any(axis=0)).sum())
    if never or not observed.shape[1]:
        raise EvaluationError(
            f"outcome '{outcome}': {never} of its {observed.shape[1]} labels are observed in none "
            f"of its {rows} observed test admissions; use a larger test split, or only one ICD "
            "version"
        )
