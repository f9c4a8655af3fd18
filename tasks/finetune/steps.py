"""The steps of the finetune stage, and `finetune`, which calls them all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.finetune.config import FinetuneConfig, TfidfConfig
from tasks.finetune.jobs import FinetuneJob, PredictJob
from tasks.keys import Artifact
from tasks.launch import LaunchConfig
from tasks.launch import launch as run
from tasks.model.targets import check_targets
from tasks.reporting import report
from tasks.step import Counts, in_shards, step, warn


@dataclass(frozen=True)
class Finetuned:
    """What the stage made."""

    adapters: Artifact  # kind "task-adapter": every arm
    predictions: dict[str, dict[str, Artifact]]  # variant -> outcome -> where its predictions are


def finetune(
    config: FinetuneConfig,
    launch: LaunchConfig,
    *,
    base: Artifact | Path,
    clinical: Artifact,
    tokenizer: Artifact | Path,
    cohort: Artifact,
    outcomes: Mapping[str, Artifact],
) -> Finetuned:
    """From admission notes and outcomes to predictions of every arm and of the baseline.

    Raises TrainingError where an arm collapses, RanksDied where a new run would resume.
    """
    brought = None if isinstance(base, Artifact) else base
    check_targets(brought, config.lora.targets, "finetune.lora.targets")
    known = dict(outcomes)
    encoded = encode_notes(cohort=cohort, tokenizer=tokenizer, max_tokens=config.max_tokens)
    adapters = train_arms(
        config=config.model_copy(update={"tfidf": None}),  # not what the adapters depend on
        base=base,
        clinical=clinical,
        tokenizer=tokenizer,
        encoded=encoded,
        outcomes=known,
        launch=launch,
    )
    predicted = predict(
        config=config.model_copy(update={"tfidf": None}),
        base=base,
        clinical=clinical,
        adapters=adapters,
        encoded=encoded,
        outcomes=tuple(known),
        launch=launch,
    )
    variants: list[str] = [*config.arms]
    if "fused" in config.arms:
        variants += ["fused-without-clinical", "fused-without-task"]
    predictions = {variant: dict.fromkeys(known, predicted) for variant in variants}
    if config.tfidf:
        baseline = fit_tfidf(
            cohort=cohort,
            outcomes=known,
            config=config.tfidf,
            most=config.max_labelled_admissions,
            seed=config.seed,
        )
        predictions["tfidf"] = dict.fromkeys(known, baseline)
    return Finetuned(adapters, predictions)


@step("encoded", version=3)
def encode_notes(out: Path, cohort: Path, tokenizer: Path, max_tokens: int) -> Counts:
    """Turn admission notes into token ids."""
    from tasks.finetune.encode import encode

    return encode(out, cohort, tokenizer, max_tokens, in_shards)


@step("task-adapter", version=2, resumable=True)
def train_arms(
    out: Path,
    config: FinetuneConfig,
    base: Path,
    clinical: Path,
    tokenizer: Path,
    encoded: Path,
    outcomes: Mapping[str, Path],
    launch: LaunchConfig,
) -> Counts:
    """Train the task adapter and heads of every arm, in one launch."""
    job = FinetuneJob(
        config=config,
        base=base,
        clinical=clinical,
        tokenizer=tokenizer,
        encoded=encoded,
        outcomes=outcomes,
        result=out,
    )
    run("tasks.finetune.train", job, out / "work", launch, on_progress=report)
    found: Counts = json.loads((out / "summary.json").read_text())
    for name, value in found.items():
        if name.endswith("_warning"):
            warn(str(value))
    return found


@step("predictions", version=1)
def predict(
    out: Path,
    config: FinetuneConfig,
    base: Path,
    clinical: Path,
    adapters: Path,
    encoded: Path,
    outcomes: tuple[str, ...],
    launch: LaunchConfig,
) -> Counts:
    """Predict with the saved adapters of every arm, and with either adapter zeroed."""
    job = PredictJob(
        config=config,
        base=base,
        clinical=clinical,
        adapters=adapters,
        encoded=encoded,
        outcomes=outcomes,
        result=out,
    )
    run("tasks.finetune.predict", job, out / "work", launch, on_progress=report)
    return {"variants": len([path for path in out.iterdir() if path.name != "work"])}


@step("predictions", version=1)
def fit_tfidf(
    out: Path,
    cohort: Path,
    outcomes: Mapping[str, Path],
    config: TfidfConfig,
    most: int | None,
    seed: int,
) -> Counts:
    """Fit TF-IDF with logistic regression on the same admissions, and predict."""
    from tasks.finetune.tfidf import write_tfidf  # scikit-learn takes a second to import

    return write_tfidf(out, cohort, outcomes, config, most, seed)
