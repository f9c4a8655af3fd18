"""What the report tells besides the metrics: the data, the training, and where it all came from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from tasks import schemas, tables
from tasks.data.reading import read_admissions, table_of
from tasks.errors import EvaluationError
from tasks.patients import SPLITS
from tasks.report.config import Lineage
from tasks.variants import Variant

UNUSABLE = "unusable row"
CURVE_POINTS = 150  # of a loss curve; steps between are averaged


@dataclass(frozen=True)
class SplitSize:
    """How large a split is."""

    name: str
    patients: int
    admissions: int


@dataclass(frozen=True)
class CohortFlow:
    """The flow from the source's admissions to the splits."""

    source: int  # admissions
    exclusions: tuple[tuple[str, int], ...]  # reason, admissions; the largest first
    splits: tuple[SplitSize, ...]

    @property
    def admissions(self) -> int:
        return sum(split.admissions for split in self.splits)

    @property
    def patients(self) -> int:
        return sum(split.patients for split in self.splits)


@dataclass(frozen=True)
class Label:
    """A label of an outcome: what it is called, and how often each split has it."""

    outcome: str
    code_system: str
    code: str
    title: str | None
    train: int
    test: int
    validation: int = 0
    one_of: bool = False  # the outcome's labels are classes, of which an admission has one


# adapters that learn from notes, by their kind: the name of their training
DOMAIN_ADAPTERS = {"clinical-adapter": "clinical", "ontology-adapter": "ontology"}


@dataclass(frozen=True)
class Arm:
    """What the training of a member, or of a shared adapter, saw and cost; its curves."""

    stage: str
    name: str
    title: str
    predicts: bool  # a member, which learns from labels; the others learn from notes
    steps: int
    tokens: int
    examples: int
    seconds: float
    peak_mib: float
    loss: tuple[tuple[float, float], ...]  # (tokens, mean loss)
    validation: tuple[tuple[float, float], ...]  # (tokens, macro AUROC or perplexity)


@dataclass(frozen=True)
class Cost:
    """What it took to train something; None where it is not known."""

    seconds: float | None = None
    tokens: int | None = None
    peak_mib: float | None = None
    parameters: int | None = None  # trained


@dataclass(frozen=True)
class Making:
    """When a page was made, and by which version of clinfuse."""

    date: str = "at an unknown time"  # 2026-11-26 14:05 UTC
    version: str = "of unknown version"
    commit: str = "unknown"

    @classmethod
    def of(cls, provenance: Mapping[str, Any]) -> Making:
        """From what a manifest says of its making."""
        return cls(
            f"{provenance['created'][:16].replace('T', ' ')} UTC",
            provenance["packages"].get("clinfuse", cls.version),
            (provenance["git_commit"] or cls.commit)[:12],
        )


def read_costs(lineage: Lineage) -> dict[str, Cost]:
    """What the manifests know of costs and the histories do not.

    Trained parameters are in the adapters' counts: of a member by its name, of an adapter of the
    domain by its own. A baseline has no history: its seconds are those that its artifact took,
    fitting and predicting together, whichever run made it.
    """
    costs: dict[str, Cost] = {}
    for origin in lineage.artifacts:
        counts = origin.counts
        if origin.kind in DOMAIN_ADAPTERS and "trained_parameters" in counts:
            name = DOMAIN_ADAPTERS[origin.kind]
            costs[name] = Cost(parameters=counts["trained_parameters"])
        if origin.kind == "task-adapter" and "member" in counts:
            before = costs.get(counts["member"], Cost(parameters=0)).parameters or 0
            costs[counts["member"]] = Cost(parameters=before + counts["parameters"])
        if origin.kind == "predictions" and "variant" in counts:
            costs[counts["variant"]] = Cost(seconds=origin.took_seconds)
    return costs


def read_cohort(cohort: Path) -> CohortFlow:
    """Count the cohort's admissions and patients by split, and what was left out, and why."""
    admissions = read_admissions(cohort)
    excluded = tables.read(table_of(cohort, "exclusions"), schemas.EXCLUSIONS, ["reason"])
    unusable = _rejected_admissions(cohort)
    reasons = Counter(excluded["reason"].to_pylist())
    if unusable:
        reasons[UNUSABLE] = unusable
    splits = []
    for name in SPLITS:
        part = admissions.filter(pc.equal(admissions["split"], name))
        splits.append(SplitSize(name, len(pc.unique(part["subject_id"])), len(part)))
    source = len(admissions) + reasons.total()
    return CohortFlow(source, tuple(reasons.most_common()), tuple(splits))


def read_labels(outcomes: Mapping[str, Path]) -> list[Label]:
    """Every label of every outcome, in the outcomes' order."""
    columns = ["code_system", "code", "title", "train", "test", "validation", "one_of"]
    return [
        Label(outcome=outcome, **row)
        for outcome, path in outcomes.items()
        for row in tables.read(table_of(path, "labels"), schemas.LABELS, columns).to_pylist()
    ]


def read_arms(histories: Mapping[str, Sequence[Path]], variants: Sequence[Variant]) -> list[Arm]:
    """What the training history below each of these folders tells, stage by stage."""
    titles = {variant.member: variant.short_title for variant in variants if variant.is_member}
    arms = []
    for stage, folders in histories.items():
        for folder in folders:
            rows: dict[str, list[dict[str, Any]]] = {}
            for path in sorted(folder.rglob("history.parquet")):
                for row in tables.read(path, schemas.HISTORY).to_pylist():
                    rows.setdefault(row["arm"], []).append(row)
            for name, of_arm in rows.items():
                title = titles.get(name, f"{stage[:1].upper()}{stage[1:]}")
                arms.append(_arm(stage, name, title, of_arm, predicts=name in titles))
    return arms


def read_difficulty(path: Path | None) -> dict[str, Any]:
    """What the generator says of how hard its data is; empty without it."""
    if path is None:
        return {}
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError):
        raise EvaluationError(
            f"{path.name} is no readable JSON; run `clinfuse synth` anew"
        ) from None
    first = {"measured": facts.pop("measured")} if "measured" in facts else {}
    return dict(flattened(first | facts))


def read_quality(quality: Path) -> list[dict[str, Any]]:
    """The checks that hit a row of the source, by table."""
    checks = tables.read(quality / "quality", schemas.QUALITY)
    return checks.filter(pc.greater(checks["count"], 0)).to_pylist()


def flattened(value: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    """Pairs of a dotted name and a plain value.

    >>> list(flattened({"a": {"b": 1}, "c": [2, 3], "d": [{"e": 4}]}))
    [('a.b', 1), ('c', '2, 3'), ('d.0.e', 4)]
    """
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = {str(index): item for index, item in enumerate(value)}
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from flattened(inside, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        yield name, ", ".join(str(item) for item in value)
    else:
        yield name, value


def _rejected_admissions(cohort: Path) -> int:
    """How many rows of the admissions table could not be read."""
    if not table_of(cohort, "rejects").exists():
        return 0
    files = tables.read(table_of(cohort, "rejects"), schemas.REJECTS, ["file", "line"])
    named = files.filter(pc.starts_with(files["file"], "admissions", ignore_case=True))
    return len(pc.unique(named["line"]))


def _arm(stage: str, name: str, title: str, rows: list[dict[str, Any]], *, predicts: bool) -> Arm:
    last = max(rows, key=lambda row: row["tokens"])
    return Arm(
        stage=stage,
        name=name,
        title=title,
        predicts=predicts,
        steps=max(row["step"] for row in rows),
        tokens=last["tokens"],
        examples=last["examples"],
        seconds=max(row["seconds"] for row in rows),
        peak_mib=max(row["peak_mib"] for row in rows),
        loss=_thinned([(row["tokens"], row["loss"]) for row in rows if row["loss"] is not None]),
        validation=tuple(
            (row["tokens"], row["validation"]) for row in rows if row["validation"] is not None
        ),
    )


def _thinned(points: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Average neighboring points until at most CURVE_POINTS are left."""
    size = -(-len(points) // CURVE_POINTS) or 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return tuple((group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups)
