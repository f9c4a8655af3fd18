"""A member's training, step by step, and by what it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tasks.data.outcomes import Outcome, Rows
from tasks.errors import TrainingError
from tasks.finetune.plan import Plan
from tasks.finetune.study import Study
from tasks.measures.ranking import macro_auroc
from tasks.model.heads.losses import masked_bce, masked_cross_entropy
from tasks.model.score import Logits
from tasks.training.lesson import Batch, with_penalty


@dataclass(frozen=True)
class MemberLesson:
    """A member's training, step by step."""

    study: Study
    plan: Plan
    device: torch.device
    penalty: Callable[[], Tensor] | None = None  # of an observed cell, as its loss is

    @property
    def name(self) -> str:
        return self.study.job.name

    @property
    def steps(self) -> int:
        return self.plan.steps

    def batch(self, step: int) -> Batch:
        return self.plan.batch(step)

    def prepared(self, micro: Rows) -> Examples:
        inputs = tuple(torch.from_numpy(array) for array in self.study.inputs.padded(micro))
        cells = {
            outcome.name: (
                torch.from_numpy(outcome.positives(micro)),
                torch.from_numpy(outcome.observed(micro)),
            )
            for outcome in self.study.outcomes
        }
        count = sum(outcome.observed_cells(micro) for outcome in self.study.outcomes)
        return Examples(inputs, cells, count)

    def loss(self, model: nn.Module, prepared: Examples) -> Tensor:
        """The cross-entropy summed over the observed cells of all outcomes.

        So every (admission, label) pair that is known counts the same, whichever the outcome;
        classes, of which an admission has exactly one, count once together. With
        `class_weight: balanced` a case counts as its label's weight, and `loss` may count the
        cells, or read the logits, otherwise.
        """
        device, study = self.device, self.study
        logits = model(*(tensor.to(device) for tensor in prepared.inputs))
        losses = []
        for outcome in study.outcomes:
            positives, observed = (cells.to(device) for cells in prepared.cells[outcome.name])
            of_outcome = logits[outcome.name]
            if outcome.name in study.shifts:
                of_outcome = of_outcome + study.shifts[outcome.name].to(device)
            weight = study.class_weights.get(outcome.name)
            weight = None if weight is None else weight.to(device)
            loss = masked_cross_entropy if outcome.one_of else masked_bce
            losses.append(loss(of_outcome, positives, observed, weight, study.gamma))
        return with_penalty(torch.stack(losses).sum(), prepared.observed, self.penalty)


@dataclass(frozen=True)
class Examples:
    """Some admissions' notes, and what is known of their outcomes."""

    inputs: tuple[Tensor, ...]  # ids or states, where there is a note, ...: a model's arguments
    cells: Mapping[str, tuple[Tensor, Tensor]]  # outcome -> positives, observed; [rows, labels]
    observed: int  # cells of these, a choice among classes counting once


def mean_macro_auroc(logits: Logits, outcomes: tuple[Outcome, ...], rows: Rows) -> float:
    """The macro AUROC of each outcome, averaged over the outcomes where it is defined.

    Raises TrainingError where it is defined for none.
    """
    values = [
        macro_auroc(
            outcome.rankable(logits[outcome.name]),
            outcome.positives(rows),
            outcome.observed(rows),
        )
        for outcome in outcomes
        if len(rows)
    ]
    defined = [value for value in values if not np.isnan(value)]
    if not defined:
        raise TrainingError(
            f"among {len(rows)} validation admissions no label has both a case and a control; "
            "raise ingest.split.validation"
        )
    return float(np.mean(defined))
