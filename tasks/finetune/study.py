"""What a member learns from: its notes or their states, its outcomes, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from tasks.data.notes import Notes
from tasks.data.outcomes import Outcome, Rows, read_outcome, split_rows, training_rows
from tasks.data.states import Inputs, NotesAndLower, States
from tasks.data.tokenizer import LoadedTokenizer
from tasks.finetune.jobs import MemberJob
from tasks.finetune.losses import Focal
from tasks.finetune.reweighting import class_weights, corrections, logit_shifts


@dataclass(frozen=True)
class Study:
    """What the member learns from."""

    job: MemberJob
    inputs: Inputs
    outcomes: tuple[Outcome, ...]
    train_rows: Rows
    validation_rows: Rows
    class_weights: Mapping[str, Tensor]  # outcome -> [labels], of cases; empty: all count the same
    shifts: Mapping[str, Tensor]  # outcome -> [labels], what the loss adds to the logits

    @classmethod
    def read(cls, job: MemberJob) -> Study:
        inputs = read_inputs(job)
        outcomes = tuple(
            read_outcome(name, path, inputs.hadm_ids) for name, path in job.outcomes.items()
        )
        rows = training_rows(
            inputs.hadm_ids,
            inputs.splits,
            outcomes,
            job.config.max_labelled_admissions,
            job.config.training.seed,
            cases_per_label=job.config.cases_per_label,
        )
        return cls(
            job=job,
            inputs=inputs,
            outcomes=outcomes,
            train_rows=rows,
            validation_rows=split_rows(inputs.splits, "validation"),
            class_weights=class_weights(job.config, outcomes, rows),
            shifts=logit_shifts(job.config, outcomes, rows),
        )

    @property
    def corrections(self) -> Mapping[str, Tensor]:
        """What is added to the trained biases of each outcome's head before it is saved."""
        return corrections(self.job.config, self.class_weights, self.shifts)

    @property
    def gamma(self) -> float:
        """How much less the loss counts what is told already."""
        match self.job.config.loss:
            case Focal(gamma=gamma):
                return gamma
            case _:
                return 0.0


def read_inputs(job: MemberJob) -> Inputs:
    """What the member's model reads: token ids, the states of its frozen trunk, or ids beside the
    states that leave its lower layers."""
    if job.states is not None:
        return States.read(job.states)
    notes = Notes.read(job.encoded, LoadedTokenizer.load(job.tokenizer).pad)
    return notes if job.lower is None else NotesAndLower(notes, States.read(job.lower))
