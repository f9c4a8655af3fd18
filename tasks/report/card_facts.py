"""What a model card and a checklist say of a run: no path, no machine's name, no small count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tasks import schemas, tables
from tasks.metrics_table import NEXT_TOKEN
from tasks.report.config import Origin
from tasks.report.findings import Space, outcome_title
from tasks.report.outcome_words import definition, prediction_time
from tasks.report.story import Story
from tasks.variants import TASK, Variant

CLINICAL = "clinical"  # the summand that learns from notes
MADE_BY_TRAINING = ("base", "clinical-adapter", "ontology-adapter", "task-adapter", "predictions")
CALIBRATION = {  # metric -> words
    "brier_macro": "Brier score, mean over labels",
    "ece_median": "expected calibration error, median over labels",
    "calibration_slope_median": "calibration slope, median over labels",
    "calibration_intercept_median": "calibration intercept, median over labels",
}
SETTINGS = (  # a setting, and where it stands for the clinical and for the task adapter
    ("LoRA rank", "pretrain.adapter.rank", "finetune.adapter.rank"),
    ("LoRA alpha", "pretrain.adapter.alpha", "finetune.adapter.alpha"),
    ("LoRA dropout", "pretrain.adapter.dropout", "finetune.adapter.dropout"),
    ("adapted layers", "pretrain.adapter.targets", "finetune.adapter.targets"),
    ("tokens of a sequence, at most", "pretrain.sequence_length", "finetune.max_tokens"),
    ("epochs", "pretrain.epochs", "finetune.epochs"),
    ("tokens trained on, at most", "pretrain.max_tokens", None),
    ("training admissions, at most", None, "finetune.max_labelled_admissions"),
    ("cases of each label, at most", None, "finetune.cases_per_label"),
    ("peak learning rate", "pretrain.training.learning_rate", "finetune.training.learning_rate"),
    ("peak learning rate of the heads", None, "finetune.head.learning_rate"),
    ("schedule", "pretrain.training.schedule", "finetune.training.schedule"),
    (
        "warmup, share of the steps",
        "pretrain.training.warmup_share",
        "finetune.training.warmup_share",
    ),
    ("weight decay", "pretrain.training.weight_decay", "finetune.training.weight_decay"),
    ("gradient norm, at most", "pretrain.training.clip", "finetune.training.clip"),
    ("batch size", "pretrain.training.batch_size", "finetune.training.batch_size"),
    ("precision", "pretrain.training.precision", "finetune.training.precision"),
    ("seed", "pretrain.training.seed", "finetune.training.seed"),
    ("head", None, "finetune.head.kind"),
    ("fusion of the first summand", None, "finetune.members.0.summands.0.fusion"),
    ("one adapter for all outcomes", None, "finetune.joint"),
    ("weight of classes in the loss", None, "finetune.class_weight"),
    ("loss", None, "finetune.loss.kind"),
    ("long notes", None, "finetune.long_notes.kind"),
)


@dataclass(frozen=True)
class CardFacts:
    """A story, asked as a reviewer would ask."""

    story: Story

    @cached_property
    def model(self) -> Variant:
        """The variant that the card is about first."""
        return self.story.findings.models[0]

    @cached_property
    def members(self) -> tuple[Variant, ...]:
        """The models that are adapters; the others are baselines, or stacked with one."""
        return tuple(model for model in self.story.findings.models if model.is_member)

    @property
    def alone(self) -> Variant | None:
        """The member without the clinical adapter, where there is one."""
        return next((model for model in self.members if CLINICAL not in model.summands), None)

    @property
    def adapter(self) -> Origin | None:
        """The artifact that holds the first member."""
        member = self.members[0].member if self.members else None
        adapters = self.origins("task-adapter")
        return next((origin for origin in adapters if origin.counts.get("member") == member), None)

    @cached_property
    def summands(self) -> list[tuple[str, Origin, float]]:
        """(name, artifact, weight) of the adapters that are added to the first member's base."""
        model = self.members[0]
        found = []
        for name in model.summands:
            origins, weight = self.origins(f"{name}-adapter"), model.weights.get(name, 1.0)
            if name != TASK and origins and weight:
                found.append((name, origins[0], weight))
        return found

    def fusion(self, name: str) -> str:
        """How a summand of the first member takes part."""
        summands = self.setting("finetune.members.0.summands") or []
        fusions = {summand["adapter"]: str(summand["fusion"]) for summand in summands}
        return fusions.get(name, "frozen")

    @property
    def is_plain(self) -> bool:
        """Whether the first member is a sum that PEFT itself can form."""
        return all(self.fusion(name) in ("frozen", "trained") for name, _, _ in self.summands)

    @property
    def frozen(self) -> bool:
        """Whether nothing but heads was trained on the notes and their outcomes."""
        return bool(self.origins("states"))

    @property
    def causal(self) -> bool:
        """Whether the base is known to predict the next token."""
        findings = self.story.findings
        measured = findings.raw("perplexity_before", "clinical", NEXT_TOKEN) is not None
        return measured or self.setting("pretrain.base.kind") == "scratch"

    @property
    def baselines(self) -> tuple[Variant, ...]:
        return tuple(model for model in self.story.findings.models if model.baseline)

    @cached_property
    def spaces(self) -> list[Space]:
        return [self.story.findings.overall(name) for name in self.story.findings.outcomes]

    def setting(self, key: str | None) -> Any:
        """A value of the configuration by its dotted key; None where it is not known."""
        value: Any = self.story.settings
        for name in key.split(".") if key else ("",):
            match value:
                case Mapping():
                    value = value.get(name)
                case list() | tuple() if name.isdecimal() and int(name) < len(value):
                    value = value[int(name)]
                case _:
                    return None
        return value

    @property
    def written_at_discharge(self) -> bool:
        """Whether the text is of real discharge summaries, also where it tells of the admission."""
        view = self.setting("ingest.view.kind")
        is_own_table = self.setting("ingest.source.kind") == "table"
        return not self.story.synthetic and not is_own_table and view in ("admission", "full")

    @property
    def weighted(self) -> bool:
        """Whether what is rare weighed more in the loss."""
        return self.setting("finetune.class_weight") == "balanced"

    @property
    def loss(self) -> str | None:
        """The kind of loss that members were trained with; None: not known."""
        kind: str | None = self.setting("finetune.loss.kind")
        return kind

    @property
    def tail_tokens(self) -> int:
        """How many of a long note's last tokens are read; 0: only the first ones are."""
        share = self.setting("finetune.long_notes.tail_share")
        return round(share * self.setting("finetune.max_tokens")) if share else 0

    @property
    def in_chunks(self) -> bool:
        """Whether long notes were read in chunks by a decoder, too."""
        return self.setting("finetune.long_notes.kind") == "chunks"

    @cached_property
    def hyperparameters(self) -> list[tuple[str, Any, Any]]:
        """(setting, of the clinical adapter, of the task adapter), those that are known."""
        rows = [
            (name, self.setting(clinical), self.setting(task)) for name, clinical, task in SETTINGS
        ]
        return [row for row in rows if row[1] is not None or row[2] is not None]

    def origins(self, kind: str) -> list[Origin]:
        return [origin for origin in self.story.lineage.artifacts if origin.kind == kind]

    def count(self, kind: str, name: str) -> Any:
        """A count of the first artifact of a kind; None where its manifest has none."""
        every = (origin.counts for origin in self.origins(kind))
        return next((counts[name] for counts in every if name in counts), None)

    @cached_property
    def corpus(self) -> Mapping[str, Any] | None:
        """The counts of the clinical corpus: the first that is of patients is the training one."""
        every = (origin.counts for origin in self.origins("corpus"))
        return next((counts for counts in every if counts.get("patients")), None)

    @cached_property
    def trained(self) -> list[Origin]:
        return [origin for kind in MADE_BY_TRAINING for origin in self.origins(kind)]

    @cached_property
    def seconds(self) -> float | None:
        """Spent on all artifacts of the run, by whichever runs made them."""
        seconds = [origin.took_seconds for origin in self.story.lineage.artifacts]
        known = [took for took in seconds if took is not None]
        return sum(known) if known else None

    @cached_property
    def peak_mib(self) -> float | None:
        peaks = (origin.peak_mib or 0 for origin in self.story.lineage.artifacts)
        return max(peaks, default=0) or None

    @cached_property
    def packages(self) -> dict[str, str]:
        """Every version that made an artifact of the run, by package."""
        packages: dict[str, set[str]] = {}
        for origin in self.story.lineage.artifacts:
            for name, version in origin.packages.items():
                packages.setdefault(name, set()).add(version)
        return {name: ", ".join(sorted(versions)) for name, versions in packages.items()}

    @cached_property
    def commits(self) -> list[str]:
        commits = (origin.git_commit for origin in self.story.lineage.artifacts)
        return sorted({commit[:12] for commit in commits if commit})

    @cached_property
    def machines(self) -> list[str]:
        """What the machines were, never what they are called."""
        return list(dict.fromkeys(_machine(origin) for origin in self.trained if origin.cores))

    @cached_property
    def outcomes(self) -> list[tuple[str, str, str]]:
        """(title, how it is defined, when it is predicted) of every configured outcome."""
        given = self.setting("ingest.outcomes")
        rows: Sequence[Any] = given if isinstance(given, list | tuple) else ()
        return [
            (outcome_title(row["name"]), definition(row), prediction_time(row))
            for row in rows
            if isinstance(row, Mapping) and "name" in row and "kind" in row
        ]

    @cached_property
    def labels(self) -> dict[str, int]:
        """How many labels each outcome has."""
        return dict(Counter(label.outcome for label in self.story.labels))

    def value(self, metric: str, space: Space) -> Any:
        """The row of a metric over an outcome, which may have no value; None: not measured."""
        return self.story.findings.over(metric, self.model, space)

    def number(self, metric: str, space: Space) -> float | None:
        """The model's value of a metric over an outcome; None where there is none."""
        row = self.value(metric, space)
        return row["value"] if row else None

    @cached_property
    def curves(self) -> set[str]:
        """The kinds of curves that were measured."""
        column = tables.read(self.story.curves, schemas.CURVES, ["curve"])["curve"]
        return set(column.unique().to_pylist())

    def measured(self, metric: str) -> bool:
        findings = self.story.findings
        return bool(findings.of(metric) or findings.by_group(metric))

    def groups(self, space: Space) -> list[tuple[str, str, Any]]:
        """(column, group, row) of the model's macro AUROC in every group of patients."""
        groups = self.story.findings.patients(space)
        return [(column.replace("_", " "), name, row) for (column, name), row in groups.items()]

    @cached_property
    def grouped(self) -> list[str]:
        """The columns that patients were grouped by."""
        columns = (column for space in self.spaces for column, _, _ in self.groups(space))
        return list(dict.fromkeys(columns))

    def gaps(self, space: Space) -> list[tuple[str, Any]]:
        """(column, row): the largest difference between two of its groups."""
        gaps = self.story.findings.groups("auroc_macro_gap", self.model, space)
        valued = [(column, row) for column, row in gaps.items() if row["value"] is not None]
        return [(column.replace("_", " "), row) for column, row in valued]

    def calibration(self, space: Space) -> list[tuple[str, Any, Any]]:
        """(words, row, row after recalibration) of every measure that there is."""
        rows = [
            (words, self.value(metric, space), self.value(f"{metric}_recalibrated", space))
            for metric, words in CALIBRATION.items()
        ]
        return [row for row in rows if row[1] is not None]


def _machine(origin: Origin) -> str:
    gpus = [f"{origin.gpus.count(name)} x {name}" for name in dict.fromkeys(origin.gpus)]
    return " and ".join([f"{origin.cores} CPU cores", *gpus])
