"""How members are trained: their task adapters, their heads, and beside which adapters."""

from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tasks.config import Config, Unkeyed
from tasks.finetune.evidence import EvidenceConfig
from tasks.finetune.long_notes import Head, LongNotes
from tasks.finetune.losses import CrossEntropy, LogitAdjusted, Loss
from tasks.finetune.members import FUSED, UNFUSED, Member
from tasks.model.adapters.allows import allows
from tasks.model.adapters.methods import (
    Bottleneck,
    Full,
    Ia3,
    Lora,
    Pissa,
    TaskMethod,
    VirtualTokens,
)
from tasks.model.heads.config import HeadConfig, LabelAttentionConfig, LinearConfig
from tasks.training.config import FreezingConfig, TrainingConfig, without_null_rate


class FinetuneTraining(TrainingConfig):
    """How a member is trained."""

    # two cores, hidden 64: 2e-3 learns in minutes; 3e-3 with a trainable clinical adapter collapsed
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak learning rate of the adapters (AdamW)"""
    layer_decay: float | None = Field(default=None, gt=0, le=1)
    """The rate of a layer is this many times that of the layer above it; the last one's is
    learning_rate, and the embedding counts as the layer below the first (Tinn et al. 2021). Empty:
    all layers learn at one rate"""
    lora_plus: float | None = Field(default=None, ge=1)
    """LoRA+ (Hayou et al. 2024): of an update B A, B learns at this many times the rate of A, which
    is learning_rate; 16 in the paper. Empty: at the same one"""
    freezing: FreezingConfig | None = None
    """SlimFit (Ardakani et al. 2023): most matrices of the adapter, or of the base by full, are
    still in a step, for less memory; not under ZeRO-3. Empty: all learn in each step"""
    budget_minutes: float | None = Field(default=None, gt=0)
    """Wall clock that a training may take: it ends after the first validation that comes later, at
    the end of an epoch, and leaves the best state so far. Empty: as long as its epochs take"""


class MemberTraining(Config):
    """What holds for every member, and decides what it learns."""

    adapter: TaskMethod | None = Lora()
    """The task adapter; full or bitfit: weights of the base itself; null: none, and only heads are
    trained, on the states of a frozen trunk, which are computed once"""
    head: HeadConfig = LabelAttentionConfig()
    """The heads"""
    training: FinetuneTraining = Field(default=FinetuneTraining(), validate_default=True)
    """How a member is trained; where learning_rate is left out or null, at the rate of its method,
    or 2e-3 by lora and dora"""
    freeze_below: int = Field(default=0, ge=0)
    """So many of the base's lower layers, and its embedding, learn nothing: there is no adapter in
    them (Tinn et al. 2021), and what leaves them is computed once and kept, where no gate learns in
    them (states.max_gib). 0: all learn"""
    reinit_top: int = Field(default=0, ge=0)
    """So many of the base's upper layers are drawn anew before training, as the architecture does
    for a new model; for adapter: full (Zhang et al. 2020)"""
    epochs: int = Field(default=4, ge=1)
    """Passes over the training admissions"""
    min_steps: int = Field(default=0, ge=0)
    """More passes, until there are so many steps, where admissions are few"""
    class_weight: Literal["none", "balanced"] = "none"
    """balanced: in the loss a label's cases weigh as much as its controls, and of classes each as
    much as any other; the weight is taken off the saved head again, so that probabilities stay
    those of the data"""
    loss: Loss = CrossEntropy()
    """What is minimized: cross_entropy, focal or logit_adjusted"""
    max_labelled_admissions: int | None = Field(default=None, ge=1)
    """Learn from at most this many training admissions, chosen by a hash; empty: all"""
    cases_per_label: int | None = Field(default=None, ge=1)
    """Few shots: of each label learn from this many admissions that have it, and as many that lack
    it, chosen by a hash; a label with fewer keeps all of them. One admission may serve several
    labels, and a common label comes to more cases. Empty: all"""
    collapse_below: float = Field(default=0.55, ge=0, le=1)
    """Fail when the best validation macro AUROC stays below this, or the last one falls back
    towards chance, by more than chance explains with so few admissions (else warn); 0 publishes
    whatever comes out"""

    @field_validator("training", mode="before")
    @classmethod
    def _null_is_no_rate(cls, given: Any) -> Any:
        return without_null_rate(given)

    @field_validator("training")
    @classmethod
    def _at_the_methods_rate(
        cls, training: FinetuneTraining, info: ValidationInfo
    ) -> FinetuneTraining:
        method = info.data.get("adapter")
        given = "learning_rate" in training.model_fields_set
        if method is None or given or isinstance(method, Lora):
            return training
        return training.model_copy(update={"learning_rate": allows(method).learning_rate})

    @model_validator(mode="after")
    def _few_in_one_way(self) -> Self:
        if self.cases_per_label is not None and self.max_labelled_admissions is not None:
            raise ValueError(
                "max_labelled_admissions and cases_per_label both say from how few admissions to "
                "learn; set one of them"
            )
        return self

    @model_validator(mode="after")
    def _weight_can_be_taken_off(self) -> Self:
        without = isinstance(self.head, LinearConfig) and not self.head.bias
        if without and self.class_weight == "balanced":
            raise ValueError(
                "class_weight is balanced, which is taken off a head's bias again, and the head "
                "has none; set class_weight to none, or head.bias to true"
            )
        adjusted = isinstance(self.loss, LogitAdjusted) and self.loss.probabilities == "data"
        if without and adjusted:
            raise ValueError(
                "loss is logit_adjusted, which is added to a head's bias again, and the head has "
                "none; set loss.probabilities to balanced, or head.bias to true"
            )
        return self


class StatesConfig(Unkeyed):
    """What the states of a frozen trunk may take. Not part of any artifact's key."""

    max_gib: float = Field(default=16.0, ge=0)
    """Refuse to write states that are larger than this, in GiB on disk and in memory, for one
    weight of each summand. 0: keep none of lower layers, which each epoch computes anew"""


class FinetuneConfig(MemberTraining):
    """From admission notes, outcomes and adapters to members and their predictions."""

    members: tuple[Member, ...] = Field(default=(FUSED, UNFUSED), min_length=1)
    """What is trained, each for itself. fused: W + dW(clinical) + dW(task); unfused: the same
    without the clinical adapter, to see what that is worth; or a mapping of a name and summands"""
    joint: bool = True
    """One task adapter for all outcomes with a head each: one forward pass serves all. Off: an
    adapter for each outcome, as in the paper"""
    max_tokens: int = Field(default=512, ge=8)
    """A note's tokens beyond this many are not read; an encoder reads long notes in chunks"""
    long_notes: LongNotes = Head()
    """Which of a long note's tokens are read, and how. head: the first; head_tail: the first and
    the last; chunks: the first, by a decoder, too, in overlapping chunks"""
    layer: int | None = Field(default=None, ge=1)
    """Whose states the heads read, counted from 1; the layers above it are left out. Empty: the
    last one's"""
    words: bool = False
    """Join to each token's state its own embedding, so that heads see the word as it is beside what
    it means where it stands"""
    states: StatesConfig = StatesConfig()
    """The states of a frozen trunk, and those that leave the lower layers of freeze_below"""
    evidence: EvidenceConfig | None = None
    """Tell of some test admissions which words the first member's heads attend to, and what taking
    them out does to the prediction; evaluate measures that beside random words, the texts stay in
    the store (`clinfuse view`). Empty: not"""

    @model_validator(mode="after")
    def _members_differ(self) -> Self:
        if len({member.name for member in self.members}) < len(self.members):
            raise ValueError("two members have the same name; give each a name of its own")
        fusions = {s.fusion for member in self.members for s in member.summands}
        if self.adapter is None and fusions - {"frozen", "merged"}:
            raise ValueError(
                f"a summand's fusion is {sorted(fusions - {'frozen', 'merged'})[0]}, but adapter "
                "is null, which freezes the trunk; set one of them otherwise"
            )
        if self.adapter is None and any(member.merges for member in self.members):
            raise ValueError("a member has merges, but adapter is null; leave out one of them")
        return self

    @model_validator(mode="after")
    def _rates_fit_the_adapter(self) -> Self:
        method, training = self.adapter, self.training
        kind = "null" if method is None else method.kind
        if training.layer_decay is not None and (not method or isinstance(method, VirtualTokens)):
            raise ValueError(
                f"training.layer_decay is about layers that learn, but adapter is {kind}, which "
                "has none; remove one of them"
            )
        of_matrices = Lora | Pissa | Full | Bottleneck
        if training.freezing is not None and not isinstance(method, of_matrices):
            raise ValueError(
                f"training.freezing is about matrices, but adapter is {kind}; set that to full, "
                "bottleneck, lora, dora or pissa, or remove it"
            )
        if training.lora_plus is not None and not isinstance(method, Lora | Pissa):
            raise ValueError(
                f"training.lora_plus is about B and A of an update, but adapter is {kind}; set "
                "that to lora, dora or pissa, or remove it"
            )
        return self

    @model_validator(mode="after")
    def _stabilizers_fit_the_adapter(self) -> Self:
        method = self.adapter
        kind = "null" if method is None else method.kind
        summands = [summand for member in self.members for summand in member.summands]
        without_layers = method is None or isinstance(method, VirtualTokens)
        if self.freeze_below and without_layers:
            raise ValueError(
                f"freeze_below is {self.freeze_below}, but adapter is {kind}, which changes no "
                "layers; remove one of them"
            )
        if self.freeze_below and isinstance(method, Ia3) and method.targets is None:
            raise ValueError("freeze_below is about adapter.targets; name them for ia3")
        if self.freeze_below and any(s.fusion in ("trained", "continued") for s in summands):
            raise ValueError(
                "freeze_below is set, but a summand learns on, and that in all layers; set one of "
                "them otherwise"
            )
        if self.reinit_top and not isinstance(method, Full):
            raise ValueError(
                f"reinit_top is {self.reinit_top}, but adapter is {kind}, which leaves the base as "
                "it is; set adapter to full, or remove reinit_top"
            )
        if self.reinit_top and summands:
            raise ValueError(
                "reinit_top draws layers anew that a summand was made for; set it to 0, or leave "
                "summands out (finetune.members=[unfused])"
            )
        return self

    @model_validator(mode="after")
    def _evidence_of_attention(self) -> Self:
        if self.evidence and not isinstance(self.head, LabelAttentionConfig):
            raise ValueError(
                f"evidence is what label-wise attention reads, but head is {self.head.kind}, which "
                "has none; set head to label_attention, or remove evidence"
            )
        return self

    @property
    def of_members(self) -> MemberTraining:
        """The part that decides what a member learns, whichever others there are."""
        names = MemberTraining.model_fields
        return MemberTraining(**{name: getattr(self, name) for name in names})
