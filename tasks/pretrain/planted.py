"""A pretraining for the memory audit: notes with canaries among them, and how likely they are then.

Its adapter is an artifact of its own: no other run takes it, since no other corpus holds canaries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.errors import ConfigError
from tasks.keys import Artifact
from tasks.launch import LaunchConfig
from tasks.model.bases.files import is_encoder
from tasks.pretrain.config import PretrainConfig
from tasks.pretrain.jobs import PerplexityJob
from tasks.pretrain.stage import CLINICAL, Texts, pretrain
from tasks.pretrain.steps import measure_perplexity, tokenize_notes


@dataclass(frozen=True)
class Audited:
    """The likelihoods of notes, before and after; each an artifact with a row a note."""

    candidates: Artifact
    members: Artifact  # notes of training patients
    others: Artifact  # notes of validation patients
    epochs: float
    patients: int  # trained on


def pretrain_planted(
    config: PretrainConfig,
    launch: LaunchConfig,
    *,
    notes: Sequence[Artifact],
    splits: Artifact,
    planted: Artifact,
    candidates: Artifact,
    training_patients: int | None,
    scored_patients: int,
) -> Audited:
    """Train a clinical adapter on the notes of some patients and the planted ones; score notes.

    Every note is read in each pass, at least once: max_tokens does not count.

    Raises ConfigError where the base is an encoder, and otherwise as `pretrain` does.
    """
    if is_encoder(config.base):
        raise ConfigError(
            "the memory audit asks how likely a text is, which an encoder does not say; set "
            "pretrain.base to a decoder"
        )
    changed = {"max_tokens": None, "epochs": max(1.0, config.epochs)}
    config = config.model_copy(update=changed | {"perplexity_patients": scored_patients})
    made = pretrain(
        config,
        launch,
        Texts(notes, splits, {"canaries": (planted,)}, None, training_patients),
    )
    assert made.perplexity is not None
    assert made.corpus is not None

    def scored(texts: Sequence[Artifact], patients: int | None, among: Artifact | None) -> Artifact:
        tokenized = tokenize_notes(
            notes=tuple(texts),
            splits=among,
            tokenizer=made.tokenizer,
            split="train",
            patients=patients,
            framed=True,
        )
        job = PerplexityJob(
            base=made.base,
            adapter=made.adapters[CLINICAL],
            notes=tokenized,
            window=config.sequence_length,
            stride=config.stride,
            precision=config.training.precision,
        )
        return measure_perplexity(job=job, launch=launch)

    # those trained on and those scored are the first of one order, so that all of these were read
    scored_members = min(scored_patients, training_patients or scored_patients)
    return Audited(
        candidates=scored([candidates], None, None),
        members=scored(notes, scored_members, splits),
        others=made.perplexity,
        epochs=config.epochs,
        patients=int(made.corpus.counts["patients"]),
    )
