"""What the training and prediction programs are told, without torch: what their steps take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tasks.config import Config
from tasks.finetune.config import MemberTraining
from tasks.finetune.evidence import EvidenceConfig
from tasks.keys import Input
from tasks.model.adapters.fusions import Fusion
from tasks.model.adapters.methods import UNNAMED, BaseName
from tasks.training.config import TrainingConfig
from tasks.variants import Variant

STOPPED = "stopped_by_budget_after_steps"  # among a member's counts: it came not to its end


class EmbedJob(Config):
    """A frozen trunk or its lower layers, and whose states: the notes', or the titles'."""

    base: Input
    layer: int | None = None
    words: bool = False
    chunk: int | None = None
    below: int = 0  # so many lower layers: of every chunk what leaves them, as training has it
    summands: Mapping[str, Input] = {}  # the adapters on the base, in order
    weights: Mapping[str, float] = {}  # of the summands; absent: 1
    fusions: Mapping[str, Fusion] = {}  # of the summands; absent: frozen
    tokenizer: Input
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    deepspeed: Path | None = None
    encoded: Input | None = None  # the notes
    outcomes: Mapping[str, Input] = {}

    @property
    def training(self) -> TrainingConfig:
        """How the engine that runs the model is set up."""
        return TrainingConfig(precision=self.precision, deepspeed=self.deepspeed)


class MemberJob(Config):
    """A member to train, and from what."""

    name: str  # of the training: the member's, and its outcome's where it learns one alone
    member: str
    trained: tuple[str, ...]  # which of the summands learn on beside the task adapter
    config: MemberTraining
    base: Input
    base_name: BaseName = UNNAMED  # for the adapters' configs
    summands: Mapping[str, Input]  # the adapters beside the task adapter, in order
    tokenizer: Input
    encoded: Input
    outcomes: Mapping[str, Input]
    layer: int | None = None  # whose states the heads read
    words: bool = False  # joined with the tokens' own embeddings
    chunk: int | None = None  # tokens that the base reads at once; None: what it can
    weights: Mapping[str, float] = {}  # of the summands; absent: 1
    fusions: Mapping[str, Fusion] = {}  # of those that are neither frozen nor trained
    states: Input | None = None  # of the frozen trunk: then only heads are trained, on these
    titles: Input | None = None  # the states of the labels' titles, of the same trunk
    lower: Input | None = None  # what leaves the frozen lower layers, which are passed over then

    @property
    def fusion_of(self) -> dict[str, Fusion]:
        """How each summand takes part that is not frozen."""
        return {**self.fusions, **dict.fromkeys(self.trained, "trained")}

    def embedding(self, **more: Any) -> EmbedJob:
        """What is computed once for the training: of its base, or of a part of that, with summands.

        Args:
            more: which part, as keys of EmbedJob.
        """
        return EmbedJob(
            base=self.base,
            chunk=self.chunk,
            summands=self.summands,
            weights=self.weights,
            fusions=self.fusions,
            tokenizer=self.tokenizer,
            precision=self.config.training.precision,
            deepspeed=self.config.training.deepspeed,
            **more,
        )

    @property
    def trunk(self) -> EmbedJob:
        """The trunk whose states the heads read where it is frozen."""
        return self.embedding(layer=self.layer, words=self.words)

    @property
    def passed_over(self) -> int:
        """So many lower layers are not computed, since what leaves them was kept."""
        return 0 if self.lower is None else self.config.freeze_below


class PredictJob(Config):
    """A trained member, and the variants of it that predict."""

    member: MemberJob
    adapter: Input  # a task-adapter artifact
    variants: tuple[Variant, ...]


class EvidenceJob(Config):
    """A trained member, and of which of its predictions the evidence is gathered."""

    member: MemberJob
    adapter: Input  # a task-adapter artifact
    predictions: Input  # of the member
    variant: str  # the member's name among them
    cohort: Input  # the notes as text
    tail_tokens: int = 0  # of a long note the last tokens that are read, as `encode_notes` takes it
    config: EvidenceConfig = EvidenceConfig()
