"""The Parquet schema of every table in the store; one constant a table."""

import pyarrow as pa

DATE_TIME = pa.timestamp("us")  # MIMIC's shifted local time, no zone


def _table(*columns: pa.Field) -> pa.Schema:
    return pa.schema(columns)


def _filled(name: str, kind: pa.DataType) -> pa.Field:
    """A column that has a value in every row."""
    return pa.field(name, kind, nullable=False)


NOTES = _table(
    _filled("note_id", pa.string()),
    _filled("subject_id", pa.int64()),
    pa.field("hadm_id", pa.int64()),  # null: a report outside any admission
    _filled("note_type", pa.string()),  # DS, AD, RR, AR
    pa.field("note_seq", pa.int32()),
    pa.field("charttime", DATE_TIME),
    pa.field("storetime", DATE_TIME),
    _filled("text", pa.large_string()),
)

REJECTS = _table(
    _filled("file", pa.string()),  # the file's name, without its folder
    _filled("line", pa.int64()),  # 1 is the header; where the record starts
    pa.field("column", pa.string()),  # null: the record as a whole
    _filled("reason", pa.string()),  # never the content
)

SPLITS = _table(
    _filled("subject_id", pa.int64()),
    _filled("split", pa.string()),  # train, validation, test
)

GUARD_PAIRS = _table(  # nearly equal discharge notes of different splits or releases
    _filled("note_id", pa.string()),  # the one closer to training
    _filled("split", pa.string()),  # pretraining, train, validation, test
    _filled("release", pa.string()),
    _filled("other_note_id", pa.string()),
    _filled("other_split", pa.string()),
    _filled("other_release", pa.string()),
    _filled("similarity", pa.float32()),  # Jaccard of shingles, estimated
)

GUARD_DROPPED = _table(  # notes that pretraining leaves out
    _filled("note_id", pa.string()),
    _filled("release", pa.string()),
)

ADMISSIONS = _table(
    _filled("hadm_id", pa.int64()),
    _filled("subject_id", pa.int64()),
    _filled("split", pa.string()),
    pa.field("admittime", DATE_TIME),
    pa.field("dischtime", DATE_TIME),
    pa.field("age", pa.int32()),  # years at admission; 91 stands for 90 and more
    pa.field("sex", pa.string()),
    pa.field("race", pa.string()),
    pa.field("insurance", pa.string()),
    pa.field("language", pa.string()),
    pa.field("admission_type", pa.string()),
    _filled("note", pa.large_string()),  # the text that the view makes
)

SECTIONS = _table(
    _filled("hadm_id", pa.int64()),
    _filled("section", pa.string()),  # its name in ingest/sections.py
    _filled("at_admission", pa.bool_()),  # one of the admission note's eight
    _filled("text", pa.large_string()),  # several notes may have rows of one section
)

EXCLUSIONS = _table(
    _filled("hadm_id", pa.int64()),
    _filled("reason", pa.string()),
)

QUALITY = _table(
    _filled("release", pa.string()),  # mimic-iv, mimic-iii
    _filled("table", pa.string()),
    pa.field("column", pa.string()),  # null: the row as a whole
    _filled("check", pa.string()),
    _filled("count", pa.int64()),  # rows that the check hit
    _filled("rows", pa.int64()),  # rows of the table, rejected ones too
)

OUTCOMES = _table(
    _filled("hadm_id", pa.int64()),
    _filled("observed", pa.bool_()),
    pa.field(
        "code_system", pa.string()
    ),  # the label space in which it is observed; null: unobserved
    _filled("labels", pa.list_(pa.int32())),  # indices into LABELS
)

LABELS = _table(
    _filled("index", pa.int32()),
    _filled("code_system", pa.string()),
    _filled("code", pa.string()),
    pa.field("title", pa.string()),  # null: it has no title
    _filled("one_of", pa.bool_()),  # classes: an admission has exactly one
    _filled("train", pa.int64()),  # admissions of the split with the label
    _filled("validation", pa.int64()),
    _filled("test", pa.int64()),
)

ONTOLOGY = _table(
    _filled("system", pa.string()),  # icd10cm, icd10pcs, icd9cm, icd9pcs
    _filled("chapter", pa.string()),  # of the category
    _filled("category", pa.string()),
    _filled("category_title", pa.string()),
    _filled("code", pa.string()),
    _filled("title", pa.string()),  # of the code
)

CODED = _table(  # the codes that make an admission of the training split have a label
    _filled("hadm_id", pa.int64()),
    _filled("index", pa.int32()),  # of the label, into LABELS
    _filled("code", pa.string()),
    _filled("title", pa.string()),  # the code's own; codes without one are left out
)

TOKENIZED = _table(  # a whole note
    _filled("subject_id", pa.int64()),
    _filled("bytes", pa.int64()),  # UTF-8, of the text after the first token
    _filled("input_ids", pa.list_(pa.int32())),
)

PERPLEXITY = _table(  # of a note, by the base, and by the base with the adapter
    _filled("subject_id", pa.int64()),
    _filled("tokens", pa.int64()),  # scored: all but the first; of an encoder the masked ones
    _filled("bytes", pa.int64()),  # UTF-8, of the text after the first token
    _filled("nll_before", pa.float64()),  # nats, summed over the tokens
    _filled("nll_after", pa.float64()),
)

ENCODED = _table(
    _filled("hadm_id", pa.int64()),
    _filled("split", pa.string()),
    _filled("input_ids", pa.list_(pa.int32())),
)

STATES = _table(  # of a frozen trunk, or what leaves its lower layers, chunk by chunk
    _filled("hadm_id", pa.int64()),
    _filled("split", pa.string()),
    _filled("tokens", pa.int64()),
    # [tokens, hidden], row by row, float16, the lower byte first; as numbers they were read at
    # 70 MB/s
    _filled("states", pa.large_binary()),
)

TITLE_STATES = _table(
    _filled("title", pa.string()),
    _filled("state", pa.list_(pa.float32())),  # [hidden], the mean over its tokens
)

EVIDENCE = _table(  # of a prediction, and what taking words out of the note does to it
    _filled("variant", pa.string()),
    _filled("hadm_id", pa.int64()),
    _filled("outcome", pa.string()),
    _filled("code_system", pa.string()),
    _filled("code", pa.string()),
    pa.field("title", pa.string()),  # of the label
    _filled("has_label", pa.bool_()),
    _filled("words", pa.int64()),  # of the note, as far as it is read
    _filled("probability", pa.float64()),
    _filled("without", pa.float64()),  # the same without the words of EVIDENCE_WORDS
    _filled("without_random", pa.float64()),  # ... without as many random ones, mean over draws
    # [11], the probability without the first tenths of the words: 0, 0.1, ..., 1 of them
    _filled("deletion", pa.list_(pa.float64())),  # the most attended first
    _filled("insertion", pa.list_(pa.float64())),  # of these tenths alone
    _filled("random", pa.list_(pa.float64())),  # in random orders, mean over draws
)

EVIDENCE_WORDS = _table(  # the words that a label attends to most; patients' text
    _filled("hadm_id", pa.int64()),
    _filled("outcome", pa.string()),
    _filled("code_system", pa.string()),
    _filled("code", pa.string()),
    _filled("rank", pa.int32()),  # 1: the most attended
    _filled("word", pa.large_string()),
    _filled("start", pa.int64()),  # where it stands in the admission's note, in characters
    _filled("end", pa.int64()),
    _filled("attention", pa.float64()),  # share of the label's attention
    _filled("without", pa.float64()),  # the probability without this word alone
)

HISTORY = _table(
    _filled("arm", pa.string()),  # pretrain: "clinical", "ontology" or "base"
    _filled("step", pa.int64()),  # optimizer steps
    _filled("epoch", pa.float64()),
    _filled("tokens", pa.int64()),  # so far, over all ranks
    _filled("examples", pa.int64()),  # so far, over all ranks
    pa.field("loss", pa.float64()),  # mean of the step; null on an evaluation row
    pa.field("learning_rate", pa.float64()),
    pa.field("validation", pa.float64()),  # macro AUROC, or perplexity; null between
    _filled("seconds", pa.float64()),  # since the arm began
    _filled("peak_mib", pa.float64()),  # resident or GPU memory, rank 0
)

METRICS = _table(
    _filled("run", pa.string()),
    _filled("variant", pa.string()),  # fused, unfused, tfidf, p_best, ...
    pa.field("against", pa.string()),  # a difference: the variant that is subtracted; or null
    pa.field("seed", pa.int64()),  # null: over several seeds
    _filled("split", pa.string()),
    _filled("outcome", pa.string()),
    pa.field("code_system", pa.string()),  # null: pooled over code systems
    pa.field("code", pa.string()),  # null: an aggregate over labels
    _filled("group", pa.string()),  # "all", "sex=F", "cases=25-99", ...
    _filled("metric", pa.string()),  # auroc_macro, auroc_micro, auroc, ...
    _filled("method", pa.string()),  # how the interval was made
    pa.field("value", pa.float64()),  # null: undefined
    pa.field("low", pa.float64()),  # 95% interval; null: withheld
    pa.field("high", pa.float64()),
    _filled("n", pa.int64()),  # admissions observed
    _filled("n_patients", pa.int64()),
    _filled("positives", pa.int64()),
)

CURVES = _table(  # points of a variant's curves on test, in the order of x
    _filled("variant", pa.string()),
    _filled("outcome", pa.string()),
    _filled("curve", pa.string()),  # roc, precision_recall, ...
    _filled("x", pa.float64()),
    _filled("y", pa.float64()),  # roc: mean over defined labels
    pa.field("low", pa.float64()),  # 95% interval; null: none is known
    pa.field("high", pa.float64()),
    pa.field("n", pa.int64()),  # cells in the point; null: the curve is not of bins
)

LEAKS = _table(
    _filled("outcome", pa.string()),
    _filled("code_system", pa.string()),
    _filled("section", pa.string()),  # "ADMISSION NOTE": the eight together
    _filled("at_admission", pa.bool_()),
    _filled("auroc", pa.float64()),  # macro, on validation
    _filled("low", pa.float64()),  # 95% interval
    _filled("high", pa.float64()),
    _filled("above", pa.float64()),  # auroc minus the admission note's, paired
    _filled("above_low", pa.float64()),
    _filled("above_high", pa.float64()),
    pa.field("p_value", pa.float64()),  # with Holm's correction; null: not a later section
    _filled("flagged", pa.bool_()),
    _filled("labels", pa.int64()),
    _filled("n", pa.int64()),  # validation admissions
    _filled("n_patients", pa.int64()),
    _filled("positives", pa.int64()),  # (admission, label) pairs
)

CANARIES = _table(  # the first of the candidates, in their order
    _filled("repeats", pa.int64()),  # how often it was planted
)

MEMORY = _table(
    _filled("measure", pa.string()),
    pa.field("repeats", pa.int64()),  # null: not of canaries
    pa.field("value", pa.float64()),  # exposure in bits, or an AUROC
    pa.field("low", pa.float64()),  # 95% interval
    pa.field("high", pa.float64()),
    _filled("n", pa.int64()),  # canaries, or notes
)

TERMS = _table(
    _filled("outcome", pa.string()),
    _filled("code_system", pa.string()),
    _filled("code", pa.string()),
    _filled("section", pa.string()),
    _filled("term", pa.string()),
    _filled("weight", pa.float64()),  # added to the predicted probability
    _filled("patients", pa.int64()),  # training patients with the term in that section
)

TRUTH = _table(
    _filled("hadm_id", pa.int64()),
    _filled("outcome", pa.string()),  # diagnoses, procedures, mortality
    _filled("code_system", pa.string()),
    _filled("label", pa.string()),  # the code
    _filled("p_full", pa.float32()),  # P(label | latent state)
    _filled("p_best", pa.float32()),  # P(label | evidence of the sections)
)


SCORES = _table(  # what models say of new admissions, by the day on which they were scored
    _filled("hadm_id", pa.int64()),
    pa.field("admittime", DATE_TIME),
    _filled("model", pa.string()),  # the key of its task-adapter artifact
    _filled("outcome", pa.string()),
    _filled("code_system", pa.string()),
    _filled("code", pa.string()),
    _filled("probability", pa.float32()),  # calibrated on validation
    _filled("flagged", pa.bool_()),  # at or above the threshold with the best F1 on validation
    _filled("scored", pa.timestamp("us", "UTC")),
)

SCORED = _table(  # which texts a model has scored, and what they were like; lies beside SCORES
    _filled("hadm_id", pa.int64()),
    _filled("text", pa.uint64()),  # of the admission and its text, a fingerprint
    _filled("model", pa.string()),
    _filled("digest", pa.string()),  # of the model
    _filled("outcome", pa.string()),
    _filled("words", pa.int32()),  # parted by white space
    _filled("rare", pa.float32()),  # share of the tokens that are read which are rare in training
    _filled("sections", pa.list_(pa.string())),  # that the text has
)


def predictions(labels: int) -> pa.Schema:
    """The schema of predictions for an outcome with that many labels."""
    return _table(
        _filled("hadm_id", pa.int64()),
        _filled("logits", pa.list_(pa.float32(), labels)),
    )


def corpus(sequence_length: int, vocabulary: int) -> pa.Schema:
    """The schema of packed sequences: token ids, and where each patient's documents start."""
    token = pa.uint16() if vocabulary <= 2**16 else pa.int32()
    return _table(
        _filled("input_ids", pa.list_(token, sequence_length)),
        _filled("starts", pa.list_(pa.int32())),  # of each document's piece
        _filled("subject_ids", pa.list_(pa.int64())),  # of each piece
    )
