"""What is evaluated: a record that is written beside predictions and says what made them.

Nobody asks a name what it is: what evaluation and reports need to know of a variant stands here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from tasks.config import Config
from tasks.errors import EvaluationError

FILE = "variant.json"
RECORDS = "variants.json"  # beside a metrics table: what its rows are of
Merge = Literal["cat", "svd", "linear", "ties"]
"""How a trained member's adapters are made into one. cat: the exact sum, its rank that of all
together; svd: the best of the task adapter's rank; linear: sums of their factors; ties: of their
factors' largest entries, those whose signs agree (Yadav et al. 2023)"""
TASK = "task"  # the summand that is trained with a member; the others are shared by members


class Variant(Config):
    """A trained member, one without one of its summands, a baseline, or a stack of both."""

    name: str  # of its folder, and in tables
    title: str  # in a heading or a legend
    short_title: str = ""  # in a narrow column; the title where there is none
    phrase: str = ""  # within a sentence, e.g. "the fused model"; the title where there is none
    member: str | None = None  # what was trained; None: nothing with a history
    summands: tuple[str, ...] = ()  # adapters in the forward pass, in their order
    weights: Mapping[str, float] = {}  # how often each summand but the task's is added
    chosen: tuple[str, ...] = ()  # those of them whose weight validation chose
    learned: tuple[str, ...] = ()  # those whose weight was learned, one a layer; it is their mean
    ordered: tuple[str, ...] = ()  # its sum, where another order would change it: DoRA in it
    ablates: str | None = None  # the summand of the member that is left out
    merged_by: Merge | None = None  # how the member's adapters were made into one after training
    baseline: bool = False  # what members are compared with
    stacked_with: str | None = None  # the baseline whose predictions the member's are added to

    @model_validator(mode="before")
    @classmethod
    def _fill_in_titles(cls, given: dict[str, object]) -> dict[str, object]:
        title = given.get("title", given.get("name", ""))
        return {
            **given,
            "title": title,
            "short_title": given.get("short_title") or title,
            "phrase": given.get("phrase") or title,
        }

    def __hash__(self) -> int:
        return hash(self.name)  # a mapping among the fields has no hash

    @property
    def trained(self) -> tuple[str, ...]:
        """What was trained for it: its member, shared adapters, the baseline of a stack."""
        shared = (name for name in self.summands if name != TASK)
        baselines = () if self.stacked_with is None else (self.stacked_with,)
        return () if self.member is None else (self.member, *shared, *baselines)

    @property
    def is_member(self) -> bool:
        """Whether it is a trained member as it is: whole, and nothing beside it."""
        return self.member is not None and not self.is_altered and self.stacked_with is None

    @property
    def is_altered(self) -> bool:
        """Whether it is a member of which something was left out or merged after training."""
        return self.ablates is not None or self.merged_by is not None

    @property
    def is_model(self) -> bool:
        """Whether it takes part in comparisons: not the best reachable, no ablation."""
        return not self.is_altered and self.name != BEST.name


BEST = Variant(name="p_best", title="Best reachable")  # the generator's own probabilities


def comparisons(models: Sequence[Variant]) -> list[tuple[Variant, Variant]]:
    """Which models are compared: the first with the others, a stack with what it is made of."""
    stacks = [model for model in models if model.stacked_with]
    others = [model for model in models[1:] if not model.stacked_with]
    return [(models[0], other) for other in others] + [
        (stack, part)
        for stack in stacks
        for part in models
        if part.name == stack.stacked_with or (part.is_member and part.member == stack.member)
    ]


def write_variant(folder: Path, variant: Variant) -> None:
    """Write the record into the folder that holds the variant's predictions."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(variant.model_dump_json(indent=1) + "\n")


def write_records(folder: Path, variants: Iterable[Variant]) -> None:
    """Write the records of a metrics table's variants, in their order, beside it."""
    records = [variant.model_dump() for variant in variants]
    (folder / RECORDS).write_text(json.dumps(records, indent=1) + "\n")


def read_records(folder: Path) -> tuple[Variant, ...]:
    """The records that `write_records` wrote."""
    return tuple(map(Variant.model_validate, json.loads((folder / RECORDS).read_text())))


def read_variants(predictions: Iterable[Path]) -> dict[str, tuple[Variant, list[Path]]]:
    """The variants of some artifacts of predictions: name -> record, and the folders that hold it.

    Members first, as they come, then their ablations, then baselines, then stacks. Several
    artifacts may hold one variant, for different outcomes. Raises EvaluationError where a record
    cannot be read.
    """
    variants: dict[str, tuple[Variant, list[Path]]] = {}
    for artifact in predictions:
        for path in sorted(artifact.glob(f"*/{FILE}")):
            try:
                variant = Variant.model_validate(json.loads(path.read_text()))
            except ValueError:
                raise EvaluationError(
                    f"{path.parent.name}/{FILE} in the predictions {artifact.name} cannot be read; "
                    "run finetune anew"
                ) from None
            variants.setdefault(variant.name, (variant, []))[1].append(path.parent)
    order = sorted(variants.values(), key=lambda item: _rank(item[0]))
    return {variant.name: (variant, folders) for variant, folders in order}


def _rank(variant: Variant) -> tuple[bool, bool, bool]:
    return bool(variant.stacked_with), variant.baseline, variant.is_altered
