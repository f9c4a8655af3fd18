"""The finetune stage: from notes and outcomes to trained members and their predictions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import ConfigError
from tasks.finetune.config import FinetuneConfig, MemberTraining, StatesConfig
from tasks.finetune.jobs import EmbedJob, EvidenceJob, MemberJob, PredictJob
from tasks.finetune.long_notes import HeadAndTail, InChunks
from tasks.finetune.members import MemberConfig
from tasks.finetune.steps import (
    embed_notes,
    embed_titles,
    encode_notes,
    gather_evidence,
    predict,
    train_member,
)
from tasks.flow_run import current_store
from tasks.keys import Artifact
from tasks.launch import LaunchConfig
from tasks.model.adapters.allows import check_freezing, check_task_method
from tasks.model.adapters.methods import TASK, targets_of
from tasks.model.bases.files import check_targets, is_causal, positions_of


@dataclass(frozen=True)
class Finetuned:
    """What the stage made."""

    adapters: tuple[Artifact, ...]  # kind "task-adapter": one a member, or one a member and outcome
    predictions: tuple[Artifact, ...]  # of each of them


def finetune(
    members: Sequence[Trained], launch: LaunchConfig, ordered: Collection[str] = ()
) -> Finetuned:
    """From trained members to their predictions, which the evaluate stage measures.

    Args:
        ordered: the names of the members whose sum would be another one in another order.
    """
    predictions = [
        predict(
            job=_predicting(
                trained.member,
                trained.job,
                trained.adapter,
                trained.weights,
                trained.chosen,
                ordered=trained.member.name in ordered,
            ),
            name=trained.job.name,
            launch=launch,
        )
        for trained in members
    ]
    return Finetuned(tuple(trained.adapter for trained in members), tuple(predictions))


def gather(
    config: FinetuneConfig,
    launch: LaunchConfig,
    *,
    members: Sequence[Trained],
    finetuned: Finetuned,
    cohort: Artifact,
) -> tuple[Artifact, ...]:
    """The evidence for predictions of the first member, one artifact a training of it.

    Args:
        members, finetuned: all that were trained, and their predictions in the same order.
    """
    assert config.evidence is not None
    return tuple(
        gather_evidence(
            job=EvidenceJob(
                member=trained.job,
                adapter=trained.adapter,
                predictions=predictions,
                variant=trained.member.name,
                cohort=cohort,
                tail_tokens=_tail_tokens(config),
                config=config.evidence,
            ),
            name=trained.job.name,
            launch=launch,
        )
        for trained, predictions in zip(members, finetuned.predictions, strict=True)
        if trained.member == config.members[0]
    )


def train_members(
    config: FinetuneConfig,
    launch: LaunchConfig,
    *,
    base: Artifact | Path,
    known_as: tuple[str, str] | None,
    summands: Mapping[str, Artifact],
    tokenizer: Artifact | Path,
    cohort: Artifact,
    outcomes: Mapping[str, Artifact],
) -> tuple[Trained, ...]:
    """From admission notes and outcomes to every member, by training and validation patients alone.

    Args:
        known_as: the base's id and revision, where it is of the hub.
        summands: the adapters beside which a member may learn, by name.

    Raises TrainingError where a member collapses, RanksDied where a new run would resume.
    """
    folder = current_store().path(base.kind, base.key) if isinstance(base, Artifact) else base
    if config.adapter is not None:
        check_task_method(config.adapter, config.training, causal=is_causal(folder))
        if config.training.freezing:
            check_freezing(config.training)
        check_targets(folder, targets_of(config.adapter), "finetune.adapter.targets")
    encoded = encode_notes(
        cohort=cohort,
        tokenizer=tokenizer,
        max_tokens=config.max_tokens,
        tail_tokens=_tail_tokens(config),
    )
    chunk = _chunk(config, folder)
    training = Training(config, launch, base, known_as, summands, tokenizer, encoded, chunk)
    groups = [dict(outcomes)] if config.joint else [{name: outcomes[name]} for name in outcomes]
    return tuple(training.member(member, group) for member in config.members for group in groups)


@dataclass(frozen=True)
class Trained:
    """A trained member."""

    member: MemberConfig
    job: MemberJob
    adapter: Artifact
    weights: Mapping[str, float]  # of its summands
    chosen: tuple[str, ...]  # those whose weight validation chose among several


@dataclass(frozen=True)
class Training:
    """Trains members, each at the weights of its summands that validation prefers."""

    config: FinetuneConfig
    launch: LaunchConfig
    base: Artifact | Path
    known_as: tuple[str, str] | None
    summands: Mapping[str, Artifact]
    tokenizer: Artifact | Path
    encoded: Artifact
    chunk: int | None = None  # tokens that the base reads at once; None: what it can

    def member(self, member: MemberConfig, outcomes: Mapping[str, Artifact]) -> Trained:
        """Choose the weights of a member's summands, and train it."""
        frozen = self.config.adapter is None
        weights = self._weights(member, outcomes)
        chosen = (s.adapter for s in member.summands if len(s.weights(frozen_trunk=frozen)) > 1)
        job = self._job(member, outcomes, weights, frozen=frozen)
        adapter = self._train(job)
        learned = {
            name: float(adapter.counts[f"{name}_added_mean"])
            for name, fusion in job.fusions.items()
            if fusion == "gated"
        }
        return Trained(member, job, adapter, {**weights, **learned}, tuple(chosen))

    def _weights(self, member: MemberConfig, outcomes: Mapping[str, Artifact]) -> dict[str, float]:
        """The weight of each summand: the best by validation, of heads on the frozen trunk.

        One after another as the configuration names them, those that follow left out: trying each
        combination would take a power of the time.
        """
        chosen: dict[str, float] = {}
        # the member at weights of 0, which is trained anyway
        alone = next((other for other in self.config.members if not other.summands), member)
        for summand in member.summands:
            weights = summand.weights(frozen_trunk=self.config.adapter is None)
            if len(weights) == 1:
                chosen[summand.adapter] = weights[0]
                continue
            values = {}
            for weight in weights:
                tried = {**chosen, summand.adapter: weight}
                job = self._job(
                    member if any(tried.values()) else alone, outcomes, tried, frozen=True
                )
                values[weight] = float(self._train(job).counts["validation"])
            chosen[summand.adapter] = max(values, key=values.__getitem__)
        return chosen

    def _job(
        self,
        member: MemberConfig,
        outcomes: Mapping[str, Artifact],
        weights: Mapping[str, float],
        *,
        frozen: bool,
    ) -> MemberJob:
        """The member's training; frozen: of heads alone, on the states of its trunk."""
        taking_part = [s for s in member.in_order if weights.get(s.adapter)]  # not at a weight of 0
        config = self.config.of_members
        job = MemberJob(
            name=member.name if self.config.joint else f"{member.name}-{next(iter(outcomes))}",
            member=member.name,
            trained=tuple(s.adapter for s in taking_part if s.fusion == "trained"),
            fusions={
                s.adapter: s.fusion for s in taking_part if s.fusion not in ("frozen", "trained")
            },
            config=config.model_copy(update={"adapter": None}) if frozen else config,
            base=self.base,
            summands={s.adapter: self.summands[s.adapter] for s in taking_part},
            weights={s.adapter: weights[s.adapter] for s in taking_part if weights[s.adapter] != 1},
            layer=self.config.layer,
            words=self.config.words,
            chunk=self.chunk,
            tokenizer=self.tokenizer,
            encoded=self.encoded,
            outcomes=outcomes,
        )
        if frozen:
            return self._with_states(job)
        return self._with_lower(job) if _keeps_lower(config, job, self.config.states) else job

    def _with_states(self, job: MemberJob) -> MemberJob:
        """The same training on what the frozen trunk makes of notes and titles, computed once."""
        trunk = job.trunk
        of_titles = trunk.model_copy(update={"outcomes": job.outcomes})
        states = self._embed_notes(job, trunk)
        titles = embed_titles(job=of_titles, launch=self.launch)
        return job.model_copy(update={"states": states, "titles": titles})

    def _with_lower(self, job: MemberJob) -> MemberJob:
        """The same training on what leaves the layers that learn nothing, computed once."""
        lower = job.embedding(below=job.config.freeze_below)
        return job.model_copy(update={"lower": self._embed_notes(job, lower)})

    def _embed_notes(self, job: MemberJob, trunk: EmbedJob) -> Artifact:
        of_notes = trunk.model_copy(update={"encoded": job.encoded})
        return embed_notes(job=of_notes, states=self.config.states, launch=self.launch)

    def _train(self, job: MemberJob) -> Artifact:
        return train_member(job=job, known_as=self.known_as, launch=self.launch)


def _tail_tokens(config: FinetuneConfig) -> int:
    """How many of a long note's last tokens are read."""
    match config.long_notes:
        case HeadAndTail(tail_share=share):
            return round(share * config.max_tokens)
        case _:
            return 0


def _chunk(config: FinetuneConfig, base: Path) -> int | None:
    """How many tokens a base reads at once where it is told; None: it is not.

    Raises ConfigError where neither the configuration nor the base says how many.
    """
    match config.long_notes:
        case InChunks(tokens=tokens):
            sizes = [size for size in (tokens, positions_of(base)) if size is not None]
            if not sizes:
                raise ConfigError(
                    f"{base} does not say how many tokens it reads at once; set "
                    "finetune.long_notes.tokens"
                )
            return min(sizes)
        case _:
            return None


def _keeps_lower(config: MemberTraining, job: MemberJob, states: StatesConfig) -> bool:
    """Whether what leaves the lower layers is one and the same all through the training."""
    still = {"frozen", "merged"}.issuperset(job.fusion_of.values())
    return config.freeze_below > 0 and still and states.max_gib > 0


def _predicting(
    member: MemberConfig,
    job: MemberJob,
    adapter: Artifact,
    weights: Mapping[str, float] | None = None,
    chosen: Collection[str] = (),
    *,
    ordered: bool = False,
) -> PredictJob:
    """The member, and, where it is a sum, the member without each of the summands.

    Args:
        weights: of the summands.
        chosen: those of them whose weight validation chose.
        ordered: whether another order of the sum would change it.
    """
    beside = [name for name in member.beside if name in job.summands]
    added = (*beside, *((TASK,) if job.states is None else ()))
    ablated = added if job.summands and job.states is None else ()
    in_order = added if ordered and len(added) > 1 else ()
    return PredictJob(
        member=job,
        adapter=adapter,
        variants=(
            member.variant(weights=weights, chosen=chosen, ordered=in_order),
            *(member.variant(ablates) for ablates in ablated),
            *(member.variant(merged_by=by) for by in (member.merges if beside else ())),
        ),
    )
