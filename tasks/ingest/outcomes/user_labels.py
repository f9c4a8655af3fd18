"""An outcome that the user defines in a Parquet file."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.errors import ConfigError, SourceError
from tasks.ingest.lookup import row_of
from tasks.ingest.outcomes.config import LabelsConfig, OwnOutcomeConfig
from tasks.ingest.outcomes.inputs import Counted, Inputs
from tasks.ingest.outcomes.labels import Outcome, frequent


def user_labels(inputs: Inputs, config: OwnOutcomeConfig) -> Counted:
    """The labels of a Parquet file with one row for each admission.

    An admission that is not in the file, or whose labels are null there, is unobserved; an empty
    list says that it has none of the labels. Raises SourceError where the file is not of that form.
    """
    return labelled(inputs, config, _read(config), config.file.name)


def labelled(
    inputs: Inputs, config: OwnOutcomeConfig | LabelsConfig, table: pa.Table, file: str
) -> Counted:
    """The outcome of a table of hadm_id, distinct, and labels, lists of texts or null.

    Args:
        file: what an error calls the table.

    Raises SourceError where one_of is set and an admission has not one label.
    """
    rows = row_of(table["hadm_id"].to_numpy(), inputs.cohort["hadm_id"].to_numpy())
    usable = (rows >= 0) & table["labels"].is_valid().to_numpy()
    kept, rows = table.filter(pa.array(usable))["labels"], rows[usable]
    lengths = pc.list_value_length(kept).to_numpy()
    names = pc.list_flatten(kept)
    rows_of_labels = np.repeat(rows, lengths)
    if config.one_of and (lengths != 1).any():
        raise SourceError(
            f"{file}: {int((lengths != 1).sum())} admissions do not have exactly one label; give "
            f"each one, or set one_of of outcome '{config.name}' to false"
        )
    in_training = pc.equal(inputs.cohort["split"], "train").to_numpy()
    systems = pa.chunked_array([pa.repeat(config.name, len(names))])
    admission, label, labels = frequent(
        rows_of_labels, systems, names, in_training, config.min_count
    )
    if not labels and not config.optional:
        raise ConfigError(
            f"outcome '{config.name}': no label is held by {config.min_count} training admissions; "
            "check that its identifiers are those of the source, or lower its min_count"
        )
    observed = np.zeros(inputs.cohort.num_rows, bool)
    observed[rows] = True
    if config.one_of:  # an admission of a class that is too rare to learn has no label left
        observed &= np.isin(np.arange(len(observed)), admission)
    outcome = Outcome(
        systems=[config.name if known else None for known in observed.tolist()],
        admission=admission,
        label=label,
        labels=labels,
        titles=[code for _, code in labels],
        one_of=config.one_of,
    )
    return outcome, {"rows": table.num_rows, "rows_outside_the_cohort": int((~usable).sum())}


def _read(config: OwnOutcomeConfig) -> pa.Table:
    """The file's columns hadm_id (whole numbers, distinct) and labels (a list of texts)."""
    name = config.file.name
    wanted = f"it needs the columns hadm_id and labels (outcome '{config.name}')"
    try:
        table = pq.read_table(config.file, columns=["hadm_id", "labels"])
    except (OSError, pa.ArrowException, ValueError):  # the message may quote a value
        raise SourceError(f"{name} cannot be read as Parquet; {wanted}") from None
    if table.column_names != ["hadm_id", "labels"]:
        raise SourceError(f"{name} lacks a column; {wanted}")
    labels = table["labels"]
    if pa.types.is_string(labels.type) or pa.types.is_large_string(labels.type):
        labels = _as_lists(labels)
    try:
        table = pa.table({"hadm_id": table["hadm_id"], "labels": labels}).cast(
            pa.schema([("hadm_id", pa.int64()), ("labels", pa.list_(pa.string()))])
        )
    except (pa.ArrowException, ValueError):
        raise SourceError(f"{name} has other types; {wanted}: whole numbers, and texts") from None
    ids = table["hadm_id"]
    if ids.null_count or pc.count_distinct(ids).as_py() < len(ids):
        raise SourceError(f"{name}: an hadm_id is null or occurs twice; give each admission a row")
    return table


def _as_lists(labels: pa.ChunkedArray) -> pa.ListArray:
    """Each text as a list of one, null as null."""
    flat = labels.combine_chunks()
    valid = flat.is_valid().to_numpy(zero_copy_only=False)
    offsets = np.r_[0, np.cumsum(valid)].astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), flat.drop_null(), mask=pa.array(~valid))
