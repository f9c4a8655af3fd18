"""A trained member as it is scored with: what it reads, what it adds to the base, what it says.

Without torch; `scorer.py` loads the weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.config import Config
from tasks.export.job import ExportJob
from tasks.export.member import Member
from tasks.ingest.config import View
from tasks.ingest.views import NoteView
from tasks.keys import Artifact
from tasks.score.calibration import Calibration, Predicted, cohort_of
from tasks.store import Store
from tasks.training.config import TrainingConfig

_ADAPTER = "adapter_config.json"
_NAME_CHARACTERS = 16


class TextView(Config):
    """How the text that a member reads is made of an admission's notes."""

    view: View
    exclude_admission_types: tuple[str, ...] = ()

    def text(self, note: str) -> str:
        """The text of an admission that has this one note; "" if it says nothing."""
        view = NoteView(self.view)
        return view.join([view.read(note)])


@dataclass(frozen=True)
class Part:
    """A LoRA of a sum W + ... + w dW, by a name that tells it from all others on its base."""

    name: str
    path: Path  # its PEFT directory
    weight: float = 1.0
    gated: tuple[Path, str] | None = None  # the member with its learned scales, their name in it


@dataclass(frozen=True)
class ScoredMember:
    """A member of the store, ready to be loaded."""

    key: str  # of the task-adapter artifact
    digest: str
    name: str
    job: ExportJob  # where its parts are, and how it reads
    training: TrainingConfig  # in what precision it computes
    text_view: TextView
    cohort: Artifact  # what it learned from, and that as token ids
    encoded: Artifact
    predictions: Path  # of its validation patients: <outcome>/validation.parquet
    outcomes: Mapping[str, Calibration]
    parts: tuple[Part, ...] | None  # None: it is no sum of LoRAs, and has a base of its own

    @classmethod
    def read(cls, store: Store, key: str, base: Path | None = None) -> ScoredMember:
        """Read a member's record, and fit its probabilities to its validation predictions.

        Args:
            key: of a task-adapter artifact, or its first characters.
            base: where the base lies, if that is not known.

        Raises StoreError or ConfigError where it, or a part of it, is gone.
        """
        member = Member.find(store, key)
        job = member.job(member.outcomes[0], base, "float32")
        cohort, encoded = cohort_of(member)
        predicted = Predicted.of(member)
        return cls(
            key=member.manifest.key,
            digest=member.manifest.digest,
            name=member.name,
            job=job,
            training=TrainingConfig.model_validate({"precision": member.precision}),
            text_view=TextView.model_validate(
                {name: cohort.config[name] for name in TextView.model_fields}
            ),
            cohort=cohort.artifact,
            encoded=encoded.artifact,
            predictions=predicted.folder,
            outcomes={name: predicted.calibration(name) for name in member.outcomes},
            parts=_parts(job),
        )


def _parts(job: ExportJob) -> tuple[Part, ...] | None:
    """The sum of LoRAs that the member adds to its base, in its order; None: it adds others, too.

    One that was merged into the base's weights is added beside them here, which is the same sum:
    but not with DoRA, which goes by the norm of those weights.
    """
    parts = tuple(_added(job))
    configs = [_config(part.path) for part in parts]
    lora = all(config.get("peft_type") == "LORA" for config in configs)
    merged = "merged" in job.fusions.values() and any(config.get("use_dora") for config in configs)
    return parts if lora and not merged else None


def _added(job: ExportJob) -> Iterator[Part]:
    for name in job.summands:
        fusion, path, weight = job.fusions.get(name, "frozen"), job.adapter(name), job.weights
        if fusion == "gated":
            yield Part(_named(name, path, job.member), path, gated=(job.member, name))
        elif fusion != "continued":  # that is part of the task adapter
            added = weight.get(name, 1.0)
            yield Part(_named(name, path, added), path, added)
    if not job.frozen:
        yield Part(_named("task", job.member), job.member)


def _named(name: str, *told: object) -> str:
    """A name that PEFT takes for an adapter: the same for the same parts, whoever adds them."""
    digest = hashlib.sha256(repr(list(map(str, told))).encode()).hexdigest()
    return f"{name}_{digest[:_NAME_CHARACTERS]}"


def _config(adapter: Path) -> dict[str, Any]:
    """Of a PEFT directory; empty where it is none."""
    path = adapter / _ADAPTER
    described: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return described
