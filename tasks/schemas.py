"""The Parquet schema of every table in the store; one constant a table."""

import pyarrow as pa

_date_time = pa.timestamp("us")  # MIMIC's shifted local time, no zone

NOTES = pa.schema(
    [
        pa.field("note_id", pa.string(), nullable=False),
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("hadm_id", pa.int64()),  # null: a report outside any admission
        pa.field("note_type", pa.string(), nullable=False),  # DS, AD, RR, AR
        pa.field("note_seq", pa.int32()),
        pa.field("charttime", _date_time),
        pa.field("storetime", _date_time),
        pa.field("text", pa.large_string(), nullable=False),
    ]
)

REJECTS = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),  # the file's name, without its folder
        pa.field("line", pa.int64(), nullable=False),  # 1 is the header; where the record starts
        pa.field("column", pa.string()),  # null: the record as a whole
        pa.field("reason", pa.string(), nullable=False),  # never the content
    ]
)

SPLITS = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),  # train, validation, test
    ]
)

GUARD_PAIRS = pa.schema(  # nearly equal discharge notes of different splits or releases
    [
        pa.field("note_id", pa.string(), nullable=False),  # the one closer to training
        pa.field("split", pa.string(), nullable=False),  # pretraining, train, validation, test
        pa.field("release", pa.string(), nullable=False),
        pa.field("other_note_id", pa.string(), nullable=False),
        pa.field("other_split", pa.string(), nullable=False),
        pa.field("other_release", pa.string(), nullable=False),
        pa.field("similarity", pa.float32(), nullable=False),  # Jaccard of shingles, estimated
    ]
)

GUARD_DROPPED = pa.schema(  # notes that pretraining leaves out
    [
        pa.field("note_id", pa.string(), nullable=False),
        pa.field("release", pa.string(), nullable=False),
    ]
)

ADMISSIONS = pa.schema(
    [
        pa.field("hadm_id", pa.int64(), nullable=False),
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("admittime", _date_time),
        pa.field("dischtime", _date_time),
        pa.field("age", pa.int32()),  # years at admission; 91 stands for 90 and more
        pa.field("sex", pa.string()),
        pa.field("race", pa.string()),
        pa.field("insurance", pa.string()),
        pa.field("language", pa.string()),
        pa.field("admission_type", pa.string()),
        pa.field("note", pa.large_string(), nullable=False),  # the text that the view makes
    ]
)

SECTIONS = pa.schema(
    [
        pa.field("hadm_id", pa.int64(), nullable=False),
        pa.field("section", pa.string(), nullable=False),  # its name in ingest/sections.py
        pa.field("at_admission", pa.bool_(), nullable=False),  # one of the admission note's eight
        pa.field(
            "text", pa.large_string(), nullable=False
        ),  # several notes may have rows of one section
    ]
)

EXCLUSIONS = pa.schema(
    [
        pa.field("hadm_id", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)

QUALITY = pa.schema(
    [
        pa.field("release", pa.string(), nullable=False),  # mimic-iv, mimic-iii
        pa.field("table", pa.string(), nullable=False),
        pa.field("column", pa.string()),  # null: the row as a whole
        pa.field("check", pa.string(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),  # rows that the check hit
        pa.field("rows", pa.int64(), nullable=False),  # rows of the table, rejected ones too
    ]
)

OUTCOMES = pa.schema(
    [
        pa.field("hadm_id", pa.int64(), nullable=False),
        pa.field("observed", pa.bool_(), nullable=False),
        pa.field(
            "code_system", pa.string()
        ),  # the label space in which it is observed; null: unobserved
        pa.field("labels", pa.list_(pa.int32()), nullable=False),  # indices into LABELS
    ]
)

LABELS = pa.schema(
    [
        pa.field("index", pa.int32(), nullable=False),
        pa.field("code_system", pa.string(), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("title", pa.string()),  # null: it has no title
        pa.field("one_of", pa.bool_(), nullable=False),  # classes: an admission has exactly one
        pa.field("train", pa.int64(), nullable=False),  # admissions of the split with the label
        pa.field("validation", pa.int64(), nullable=False),
        pa.field("test", pa.int64(), nullable=False),
    ]
)

PERPLEXITY = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("nll_before", pa.float64(), nullable=False),  # nats, summed over the tokens
        pa.field("nll_after", pa.float64(), nullable=False),
    ]
)

ENCODED = pa.schema(
    [
        pa.field("hadm_id", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False),
    ]
)

HISTORY = pa.schema(
    [
        pa.field("arm", pa.string(), nullable=False),  # pretrain: "clinical" or "base"
        pa.field("step", pa.int64(), nullable=False),  # optimizer steps
        pa.field("epoch", pa.float64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),  # so far, over all ranks
        pa.field("examples", pa.int64(), nullable=False),  # so far, over all ranks
        pa.field("loss", pa.float64()),  # mean of the step; null on an evaluation row
        pa.field("learning_rate", pa.float64()),
        pa.field("validation", pa.float64()),  # macro AUROC, or perplexity; null between
        pa.field("seconds", pa.float64(), nullable=False),  # since the arm began
        pa.field("peak_mib", pa.float64(), nullable=False),  # resident or GPU memory, rank 0
    ]
)

METRICS = pa.schema(
    [
        pa.field("run", pa.string(), nullable=False),
        pa.field("variant", pa.string(), nullable=False),  # fused, unfused, tfidf, p_best, ...
        pa.field("against", pa.string()),  # a difference: the variant that is subtracted; or null
        pa.field("seed", pa.int64()),  # null: over several seeds
        pa.field("split", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("code_system", pa.string()),  # null: pooled over code systems
        pa.field("code", pa.string()),  # null: an aggregate over labels
        pa.field("group", pa.string(), nullable=False),  # "all", "sex=F", "cases=25-99", ...
        pa.field("metric", pa.string(), nullable=False),  # auroc_macro, auroc_micro, auroc, ...
        pa.field("method", pa.string(), nullable=False),  # how the interval was made
        pa.field("value", pa.float64()),  # null: undefined
        pa.field("low", pa.float64()),  # 95% interval; null: withheld
        pa.field("high", pa.float64()),
        pa.field("n", pa.int64(), nullable=False),  # admissions observed
        pa.field("n_patients", pa.int64(), nullable=False),
        pa.field("positives", pa.int64(), nullable=False),
    ]
)

CURVES = pa.schema(  # points of a variant's curves on test, in the order of x
    [
        pa.field("variant", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("curve", pa.string(), nullable=False),  # roc, precision_recall, ...
        pa.field("x", pa.float64(), nullable=False),
        pa.field("y", pa.float64(), nullable=False),  # roc: mean over defined labels
        pa.field("low", pa.float64()),  # 95% interval; null: none is known
        pa.field("high", pa.float64()),
        pa.field("n", pa.int64()),  # cells in the point; null: the curve is not of bins
    ]
)

LEAKS = pa.schema(
    [
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("code_system", pa.string(), nullable=False),
        pa.field("section", pa.string(), nullable=False),  # "ADMISSION NOTE": the eight together
        pa.field("at_admission", pa.bool_(), nullable=False),
        pa.field("auroc", pa.float64(), nullable=False),  # macro, on validation
        pa.field("low", pa.float64(), nullable=False),  # 95% interval
        pa.field("high", pa.float64(), nullable=False),
        pa.field("above", pa.float64(), nullable=False),  # auroc minus the admission note's, paired
        pa.field("above_low", pa.float64(), nullable=False),
        pa.field("above_high", pa.float64(), nullable=False),
        pa.field("p_value", pa.float64()),  # with Holm's correction; null: not a later section
        pa.field("flagged", pa.bool_(), nullable=False),
        pa.field("labels", pa.int64(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),  # validation admissions
        pa.field("n_patients", pa.int64(), nullable=False),
        pa.field("positives", pa.int64(), nullable=False),  # (admission, label) pairs
    ]
)

TERMS = pa.schema(
    [
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("code_system", pa.string(), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("section", pa.string(), nullable=False),
        pa.field("term", pa.string(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),  # added to the predicted probability
        pa.field(
            "patients", pa.int64(), nullable=False
        ),  # training patients with the term in that section
    ]
)

TRUTH = pa.schema(
    [
        pa.field("hadm_id", pa.int64(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),  # diagnoses, procedures, mortality
        pa.field("code_system", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),  # the code
        pa.field("p_full", pa.float32(), nullable=False),  # P(label | latent state)
        pa.field("p_best", pa.float32(), nullable=False),  # P(label | evidence of the sections)
    ]
)


def predictions(labels: int) -> pa.Schema:
    """The schema of predictions for an outcome with that many labels."""
    return pa.schema(
        [
            pa.field("hadm_id", pa.int64(), nullable=False),
            pa.field("logits", pa.list_(pa.float32(), labels), nullable=False),
        ]
    )


def corpus(sequence_length: int, vocabulary: int) -> pa.Schema:
    """The schema of packed sequences: token ids, and where each patient's documents start."""
    token = pa.uint16() if vocabulary <= 2**16 else pa.int32()
    return pa.schema(
        [
            pa.field("input_ids", pa.list_(token, sequence_length), nullable=False),
            pa.field("starts", pa.list_(pa.int32()), nullable=False),  # of each document's piece
            pa.field("subject_ids", pa.list_(pa.int64()), nullable=False),  # of each piece
        ]
    )
