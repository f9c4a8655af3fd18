"""A made-up run for the evaluate stage: patients with several admissions, two ICD versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks import schemas, tables
from tasks.variants import Variant, write_variant

SYSTEMS = ("icd9cm", "icd10cm")
VARIANTS = {  # and how much noise is in their logits
    Variant(
        name="fused",
        title="Fused (clinical + task adapter)",
        short_title="Fused",
        phrase="the fused model",
        member="fused",
        summands=("clinical", "task"),
    ): 0.8,
    Variant(
        name="unfused",
        title="Task adapter only",
        phrase="the task adapter alone",
        member="unfused",
        summands=("task",),
    ): 1.2,
    Variant(
        name="tfidf",
        title="TF-IDF + logistic regression",
        short_title="TF-IDF",
        phrase="TF-IDF with logistic regression",
        baseline=True,
    ): 1.5,
    Variant(
        name="fused-without-clinical",
        title="Fused, clinical adapter zeroed",
        member="fused",
        summands=("task",),
        ablates="clinical",
    ): 3.0,
}


@dataclass
class MadeUp:
    """Where the artifacts lie, and the arrays behind them."""

    folder: Path
    cohort: Path
    outcomes: dict[str, Path]
    predictions: dict[str, dict[str, Path]]  # variant -> outcome -> folder of both splits
    truth: Path
    perplexity: Path
    quality: Path
    histories: dict[str, Path]
    test_ids: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def artifacts(self) -> tuple[Path, ...]:
        """Where the predictions lie, one artifact a variant."""
        folders = [folder for of in self.predictions.values() for folder in of.values()]
        return tuple(dict.fromkeys(folder.parent.parent for folder in folders))


def make_run(folder: Path, *, admissions: int = 300, labels: int = 12, seed: int = 0) -> MadeUp:
    """Write every artifact that the stage reads, for diagnoses and mortality."""
    random = np.random.default_rng(seed)
    subject = np.sort(random.integers(0, int(admissions / 1.5), admissions)) + 10_000_000
    hadm = 20_000_000 + random.permutation(admissions)
    people = np.unique(subject)
    split_of = dict(
        zip(
            people,
            random.choice(["train", "validation", "test"], len(people), p=[0.3, 0.2, 0.5]),
            strict=True,
        )
    )
    split = np.array([split_of[person] for person in subject])
    cohort = folder / "cohort"
    _write_cohort(cohort, hadm, subject, split, random)
    version = random.integers(0, 2, admissions)
    outcomes, predictions = (
        {},
        {variant.name: {} for variant in VARIANTS},
    )
    truth_rows: list[pa.Table] = []
    for outcome, systems, width in (
        ("diagnoses", SYSTEMS, labels),
        ("mortality", ("mortality",), 1),
    ):
        group = np.arange(width) % len(systems)
        chance = np.clip(0.5 * (1 + np.arange(width)) ** -0.8, 0.02, 0.4)
        signal = (
            random.normal(size=(admissions, width))
            + 0.5 * random.normal(size=len(people))[np.searchsorted(people, subject)][:, None]
        )
        offset = np.log(chance / (1 - chance))
        best = 1 / (1 + np.exp(-(1.6 * signal + offset)))
        observed = (
            (version[:, None] == group) if len(systems) == 2 else np.ones((admissions, 1), bool)
        )
        cases = (random.random((admissions, width)) < best) & observed
        outcomes[outcome] = folder / f"outcome-{outcome}"
        _write_outcome(outcomes[outcome], hadm, split, cases, systems, group, version)
        for variant, noise in VARIANTS.items():
            logits = 1.6 * signal + offset + noise * random.normal(size=signal.shape)
            artifact = folder / f"predictions-{variant.name}"
            place = predictions[variant.name][outcome] = artifact / variant.name / outcome
            write_variant(place.parent, variant)
            (artifact / "manifest.json").write_text("{}")
            for name in ("validation", "test"):
                own = split == name
                write_predictions(place / f"{name}.parquet", hadm[own], logits[own])
        truth_rows.append(_truth(outcome, hadm, best, observed, systems, group))
    tables.write(folder / "truth.parquet", schemas.TRUTH, truth_rows)
    (folder / "synth.json").write_text('{"labels": 12, "shares": {"unmentioned": 0.31}}')
    _write_perplexity(folder / "perplexity", random)
    checks = schemas.QUALITY.empty_table()
    tables.write(folder / "quality" / "quality" / "part-0.parquet", schemas.QUALITY, checks)
    names = {"base": "base", "pretrain": "clinical-adapter", "finetune": "task-adapter"}
    histories = {stage: folder / name for stage, name in names.items()}
    _write_history(histories["base"], ["base"], 40.0)
    _write_history(histories["pretrain"], ["clinical"], 40.0)
    for member in ("fused", "unfused"):  # an artifact each
        _write_history(histories["finetune"] / member, [member], 0.5)
    return MadeUp(
        folder,
        cohort,
        outcomes,
        predictions,
        folder / "truth.parquet",
        folder / "perplexity",
        folder / "quality",
        histories,
        np.sort(hadm[split == "test"]),
    )


def write_predictions(path: Path, hadm: Sequence[int], logits: np.ndarray) -> None:
    """Write logits, [admissions, labels], as a predictions table."""
    flat = pa.array(np.asarray(logits, np.float32).ravel())
    column = pa.FixedSizeListArray.from_arrays(flat, logits.shape[1])
    schema = schemas.predictions(logits.shape[1])
    tables.write(path, schema, pa.Table.from_arrays([pa.array(hadm), column], schema=schema))


def _write_cohort(
    place: Path,
    hadm: np.ndarray,
    subject: np.ndarray,
    split: np.ndarray,
    random: np.random.Generator,
) -> None:
    n = len(hadm)
    text = pa.array(["a note"] * n, pa.large_string())
    columns = {
        "hadm_id": hadm,
        "subject_id": subject,
        "split": split,
        "admittime": pa.nulls(n, pa.timestamp("us")),
        "dischtime": pa.nulls(n, pa.timestamp("us")),
        "age": random.integers(18, 92, n).astype(np.int32),
        "sex": random.choice(["F", "M"], n),
        "race": random.choice(["WHITE", "BLACK", "ASIAN", "RARE"], n, p=[0.6, 0.25, 0.14, 0.01]),
        "insurance": random.choice(["Medicare", "Other"], n),
        "language": pa.nulls(n, pa.string()),
        "admission_type": random.choice(["URGENT", "EW EMER."], n),
        "note": text,
    }
    tables.write(
        place / "admissions" / "part-0.parquet",
        schemas.ADMISSIONS,
        pa.table(columns).cast(schemas.ADMISSIONS),
    )
    left_out = pa.table(
        {
            "hadm_id": np.arange(7),
            "reason": ["no discharge note"] * 5 + ["empty admission note"] * 2,
        }
    )
    tables.write(
        place / "exclusions" / "part-0.parquet",
        schemas.EXCLUSIONS,
        left_out.cast(schemas.EXCLUSIONS),
    )


def _write_outcome(
    place: Path,
    hadm: np.ndarray,
    split: np.ndarray,
    cases: np.ndarray,
    systems: Sequence[str],
    group: np.ndarray,
    version: np.ndarray,
) -> None:
    seen = [systems[one] if len(systems) == 2 else systems[0] for one in version]
    rows = {
        "hadm_id": hadm,
        "observed": [True] * len(hadm),
        "code_system": seen,
        "labels": [np.flatnonzero(row).astype(np.int32) for row in cases],
    }
    tables.write(
        place / "outcomes" / "part-0.parquet",
        schemas.OUTCOMES,
        pa.Table.from_pydict(rows, schemas.OUTCOMES),
    )
    width = cases.shape[1]
    labels = {
        "index": np.arange(width),
        "code_system": [systems[one] for one in group],
        "code": [f"C{index:02}" for index in range(width)],
        "title": [f"Condition <{index}> & others" if index % 5 else None for index in range(width)],
        "one_of": [False] * width,
        **{name: cases[split == name].sum(axis=0) for name in ("train", "validation", "test")},
    }
    tables.write(
        place / "labels" / "part-0.parquet",
        schemas.LABELS,
        pa.Table.from_pydict(labels, schemas.LABELS),
    )


def _truth(
    outcome: str,
    hadm: np.ndarray,
    best: np.ndarray,
    observed: np.ndarray,
    systems: Sequence[str],
    group: np.ndarray,
) -> pa.Table:
    row, label = np.nonzero(observed)
    columns = {
        "hadm_id": hadm[row],
        "outcome": [outcome] * len(row),
        "code_system": [systems[group[one]] for one in label],
        "label": [f"C{one:02}" for one in label],
        "p_full": best[row, label].astype(np.float32),
        "p_best": best[row, label].astype(np.float32),
    }
    return pa.Table.from_pydict(columns, schemas.TRUTH)


def _write_perplexity(place: Path, random: np.random.Generator) -> None:
    tokens = random.integers(200, 4000, 60)
    before = tokens * (3.4 + 0.1 * random.normal(size=60))
    after = before - tokens * (0.6 + 0.05 * random.normal(size=60))
    columns = {
        "subject_id": np.arange(60),
        "tokens": tokens,
        "bytes": 4 * tokens,
        "nll_before": before,
        "nll_after": after,
    }
    tables.write(
        place / "perplexity" / "part-0.parquet",
        schemas.PERPLEXITY,
        pa.Table.from_pydict(columns, schemas.PERPLEXITY),
    )


def _write_history(place: Path, arms: Sequence[str], scale: float) -> None:
    rows = [
        {
            "arm": arm,
            "step": step,
            "epoch": step / 100,
            "tokens": step * 4096,
            "examples": step * 16,
            "loss": 2 + scale / (1 + step / 20),
            "learning_rate": 1e-3,
            "validation": 0.5 + 0.3 * step / 400 if step % 100 == 0 else None,
            "seconds": step * 0.1,
            "peak_mib": 800.0,
        }
        for arm in arms
        for step in range(1, 401)
    ]
    tables.write(
        place / "history.parquet", schemas.HISTORY, pa.Table.from_pylist(rows, schemas.HISTORY)
    )
