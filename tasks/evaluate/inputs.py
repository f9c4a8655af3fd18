"""What is evaluated: the test admissions, what is known of their outcomes, and the predictions.

Everything is checked here, once, and lined up by admission; the rest of the stage trusts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.data.reading import columns_of, read_table, refused, stream_table, table_of
from tasks.measures.columns import positives_of
from tasks.measures.ranking import class_scores
from tasks.metrics_table import BANDS

BATCH_CELLS = 1 << 21  # read at once: 8 MiB, which memory already touched holds


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

    @cached_property
    def seen(self) -> NDArray[np.bool_]:
        """Which admissions are observed in each code system, all of its labels at once.

        [code systems, admissions]
        """
        first = [int(np.argmax(self.group == system)) for system in range(len(self.code_systems))]
        return np.ascontiguousarray(self.observed[:, first].T)

    @cached_property
    def positives(self) -> NDArray[np.int64]:
        """How many observed admissions have each label; [labels]."""
        return positives_of(self.cases, self.observed)

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """A number for each (code system, band of training cases), system by system; [labels]."""
        return self.group * len(BANDS) + bands_of(self.train)

    def rows_of(self, labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The admissions in which a code system of these labels is observed; [admissions]."""
        return np.any(self.seen[np.unique(self.group[labels])], axis=0)

    def described(self, labels: NDArray[np.bool_]) -> dict[str, int]:
        """What a metrics row over these labels, [labels], is of: admissions, patients, cases."""
        rows = self.rows_of(labels)
        return {
            "n": int(rows.sum()),
            "n_patients": len(np.unique(self.patients[rows])),
            "positives": int(self.positives[labels].sum()),
        }


def bands_of(cases: NDArray[np.int64]) -> NDArray[np.int64]:
    """The index into BANDS of each label's band; [labels].

    >>> [BANDS[band][1] for band in bands_of(np.array([24, 25, 40_000]))]
    ['cases=1-24', 'cases=25-99', 'cases=1000+']
    """
    return np.searchsorted([fewest for fewest, _ in BANDS], cases, "right") - 1


def read_known(outcome: str, place: Path, admissions: pa.Table, split: str = "test") -> Known:
    """Line up an outcome with the split's admissions of the cohort.

    Raises EvaluationError where they do not fit, or a label is observed in no test admission.
    """
    what = f"outcome '{outcome}'"
    labels = read_table(table_of(place, "labels"), schemas.LABELS).sort_by("index")
    if not len(labels):
        raise refused(place, f"{what} has no labels (0 rows); lower its min_count and ingest anew")
    if labels["index"].to_pylist() != list(range(len(labels))):
        raise refused(
            place,
            f"the label table of {what} ({len(labels)} rows) does not number its "
            "labels 0, 1, 2, ...; ingest anew",
        )
    rows = read_table(table_of(place, "outcomes"), schemas.OUTCOMES)
    _refuse_duplicates(place, what, rows["hadm_id"])
    _refuse_strangers(place, what, rows["hadm_id"], admissions["hadm_id"])
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
        _refuse_never_observed(place, outcome, observed, len(rows))
    return Known(
        outcome=outcome,
        hadm_id=rows["hadm_id"].to_numpy(),
        patients=np.unique(own["subject_id"].to_numpy(), return_inverse=True)[1],
        cases=_case_matrix(place, outcome, rows["labels"], len(labels)),
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
        raise refused(
            path,
            f"{what} are not there ({path.name} for {len(known.hadm_id)} admissions is missing); "
            "run finetune anew",
        )
    _check_width(what, path, known.labels)
    schema = schemas.predictions(known.labels)
    ids = read_table(path, schema, ["hadm_id"])["hadm_id"]
    _refuse_duplicates(path, what, ids)
    _refuse_strangers(path, what, ids, admissions["hadm_id"])
    own = admissions.filter(pc.equal(admissions["split"], split))["hadm_id"]
    _refuse_strangers(path, what, ids, own, f"{split} split")
    wanted = pa.array(known.hadm_id)
    missing = len(wanted) - pc.sum(pc.is_in(wanted, ids.combine_chunks())).as_py()
    if missing:
        raise refused(
            path,
            f"{what}: {missing} of {len(wanted)} observed {split} admissions have no "
            f"row among {len(ids)}; predict them all, or the variants are not comparable",
        )
    scores = np.empty(known.cases.shape, np.float32)
    bad = 0
    batch_rows = max(1, min(tables.ROW_GROUP_ROWS, BATCH_CELLS // known.labels))
    for batch in stream_table(path, schema, batch_rows=batch_rows):
        logits = batch["logits"].flatten().to_numpy(zero_copy_only=False)
        logits = logits.reshape(len(batch), known.labels)
        finite = np.isfinite(logits)
        bad += 0 if finite.all() else int((~finite.all(axis=1)).sum())
        place = pc.index_in(batch["hadm_id"], wanted)
        seen = place.is_valid().to_numpy(zero_copy_only=False)
        scores[place.drop_null().to_numpy()] = logits if seen.all() else logits[seen]
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
    place: Path, outcome: str, labels: pa.ChunkedArray, width: int
) -> NDArray[np.bool_]:
    """Spread the lists of label indices over a matrix, [admissions, labels]."""
    column = labels.combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False)
    if len(values) and not (values.min() >= 0 and values.max() < width):
        raise refused(
            place,
            f"outcome '{outcome}' ({len(column)} rows) points outside its {width} labels; "
            "ingest anew",
        )
    cases = np.zeros((len(column), width), bool)
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
    cases[np.repeat(np.arange(len(column)), lengths), values] = True
    return cases


def _check_width(what: str, path: Path, labels: int) -> None:
    found = columns_of(path)
    kind = found.field("logits").type if "logits" in found.names else None
    if kind is not None and pa.types.is_fixed_size_list(kind) and kind.list_size != labels:
        raise refused(
            path,
            f"{what}: {kind.list_size} logits a row in {tables.rows(path)} rows, but the outcome "
            f"has {labels} labels; run finetune anew on this outcome",
        )


def _refuse_duplicates(place: Path, what: str, ids: pa.ChunkedArray) -> None:
    duplicates = len(ids) - len(pc.unique(ids))
    if duplicates:
        raise refused(
            place, f"{what}: {duplicates} of {len(ids)} rows repeat an admission; make it anew"
        )


def _refuse_strangers(
    place: Path,
    what: str,
    ids: pa.ChunkedArray,
    known: pa.ChunkedArray,
    where: str = "cohort",
) -> None:
    strangers = len(ids) - pc.sum(pc.is_in(ids, known)).as_py() if len(ids) else 0
    if strangers:
        raise refused(
            place,
            f"{what}: {strangers} of {len(ids)} rows are of admissions that are not in the "
            f"{where}; they come from another cohort or split: run again from ingest on",
        )


def _refuse_never_observed(
    place: Path, outcome: str, observed: NDArray[np.bool_], rows: int
) -> None:
    never = int((~observed.any(axis=0)).sum())
    if never:
        raise refused(
            place,
            f"outcome '{outcome}': {never} of its {observed.shape[1]} labels are observed in none "
            f"of its {rows} observed test admissions; use a larger test split, or only one ICD "
            "version",
        )
