"""Admissions whose notes tell their labels, a base and a clinical adapter to start from.

Two code systems: even admissions are coded in ICD-10, odd ones in ICD-9. A label's word stands in
the note of who has it, so that a working training learns it in seconds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks import schemas, tables
from tasks.finetune.config import FinetuneTraining, MemberTraining
from tasks.finetune.encode import encode
from tasks.finetune.jobs import MemberJob
from tasks.finetune.members import FUSED, MemberConfig
from tasks.model.adapters.methods import Lora
from tests.pretrain.conftest import sentence, write_base, write_text

LABELS = (  # code_system, code, title, the word that tells it
    ("icd9cm", "428", "Heart failure", "heart"),
    ("icd9cm", "592", None, "stone"),
    ("icd10cm", "I50", "Heart failure", "heart"),
    ("icd10cm", "N20", "Calculus of kidney", "stone"),
)
CLASSES = (  # of which every admission has the first that its words tell
    ("triage", "cardiac", None, "heart"),
    ("triage", "renal", None, "stone"),
    ("triage", "other", None, ""),
)
DIED = ("mortality", "died", None, "collapse")
HADM_IDS = range(9000, 9400)
UNCODED = HADM_IDS[5]  # no diagnosis rows: nothing is known of it


def split_of(hadm_id: int) -> str:
    return {0: "validation", 1: "test"}.get((hadm_id // 2) % 5, "train")


@dataclass(frozen=True)
class Inputs:
    """The folders of the artifacts that the stage starts from."""

    root: Path

    def __getattr__(self, name: str) -> Path:
        return self.root / name

    def job(self, member: MemberConfig = FUSED, **settings: Any) -> MemberJob:
        """A training of two outcomes, or of those in `outcomes`."""
        outcomes = settings.pop("outcomes", ("diagnoses", "mortality"))
        return MemberJob(
            name=member.name,
            member=member.name,
            trained=tuple(s.adapter for s in member.summands if s.fusion == "trained"),
            fusions={
                s.adapter: s.fusion
                for s in member.summands
                if s.fusion not in ("frozen", "trained")
            },
            config=config(**settings),
            base=self.base,
            summands={each.adapter: self.clinical for each in member.summands},
            tokenizer=self.tokenizer,
            encoded=self.encoded,
            outcomes={name: getattr(self, name) for name in outcomes},
        )


def config(**settings: Any) -> MemberTraining:
    """Settings that learn the words in a few seconds; those of the training by their own names."""
    training = {"learning_rate": 5e-3, "batch_size": 8}
    for name in FinetuneTraining.model_fields:
        if name in settings:
            training[name] = settings.pop(name)
    given: dict[str, Any] = {
        "adapter": Lora(rank=4, targets=("q_proj", "v_proj", "embed_tokens")),
        "head": {"learning_rate": 3e-2},
        "training": training,
        "epochs": 6,
    }
    return MemberTraining.model_validate(given | settings)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A base, a clinical adapter, the encoded notes and two outcomes."""
    found = Inputs(tmp_path_factory.mktemp("finetune"))
    positives = _write_cohort(found.cohort)
    write_outcome(found.diagnoses, LABELS, positives)
    write_outcome(found.mortality, (DIED,), positives)
    write_outcome(found.triage, CLASSES, positives)
    _write_models(found)
    encode(found.encoded, found.cohort, found.tokenizer, max_tokens=64)
    return found


def system_of(hadm_id: int) -> str | None:
    if hadm_id == UNCODED:
        return None
    return "icd9cm" if hadm_id % 2 else "icd10cm"


def _write_cohort(place: Path) -> dict[int, set[str]]:
    """Write the admissions; which telling words each one's note has."""
    draw = random.Random(3)
    telling = ("heart", "stone", "collapse")
    words: dict[int, set[str]] = {}
    rows = []
    for hadm_id in HADM_IDS:
        words[hadm_id] = {word for word in telling if draw.random() < 0.4}
        note = sentence(draw, 8).replace("heart", "home").replace("stone", "home")
        rows.append(
            {
                "hadm_id": hadm_id,
                "subject_id": hadm_id + 1000,
                "split": split_of(hadm_id),
                "note": " ".join([note, *sorted(words[hadm_id]), note]),
            }
        )
    table = pa.Table.from_pylist(rows, schemas.ADMISSIONS)
    tables.write(place / "admissions" / "part-0.parquet", schemas.ADMISSIONS, table)
    return words


def write_outcome(
    place: Path,
    labels: tuple[tuple[str, str, str | None, str], ...],
    words: dict[int, set[str]],
) -> None:
    """Write an outcome of these labels; which telling words each admission has says who has it."""
    rows = []
    for hadm_id, said in words.items():
        of_labels = labels[0][0] if labels in ((DIED,), CLASSES) else system_of(hadm_id)
        has = [
            index
            for index, (of_system, _, _, word) in enumerate(labels)
            if (word in said or not word) and of_system == of_labels
        ]
        has = has[:1] if labels == CLASSES else has
        rows.append(
            {
                "hadm_id": hadm_id,
                "observed": of_labels is not None,
                "code_system": of_labels,
                "labels": has,
            }
        )
    described = [
        {
            "index": index,
            "code_system": system,
            "code": code,
            "title": title,
            "one_of": labels == CLASSES,
            "train": 1,
            "validation": 1,
            "test": 1,
        }
        for index, (system, code, title, _) in enumerate(labels)
    ]
    for name, schema, values in (
        ("outcomes", schemas.OUTCOMES, rows),
        ("labels", schemas.LABELS, described),
    ):
        table = pa.Table.from_pylist(values, schema)
        tables.write(place / name / "part-0.parquet", schema, table)


def _write_models(inputs: Inputs) -> None:
    """A tokenizer, a base with random weights, and a clinical adapter that changes its states."""
    import torch
    from transformers import AutoModelForCausalLM

    from tasks.model.adapters.build import add_new_adapter
    from tasks.model.adapters.files import write_adapter
    from tasks.pretrain.tokenizer import train_bpe

    train_bpe(write_text(inputs.root / "general.txt"), 300, inputs.tokenizer)
    causal = AutoModelForCausalLM.from_pretrained(write_base(inputs.base))
    torch.manual_seed(0)
    adapted = add_new_adapter(causal, Lora(rank=4), "default")
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    write_adapter(inputs.clinical, adapted, "default")
