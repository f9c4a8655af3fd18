"""How members are trained: their task adapters, their heads, and beside which adapters."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tasks.config import Config, Unkeyed
from tasks.model.adapters.methods import TASK, Lora, Method
from tasks.model.heads.config import HeadConfig, LabelAttentionConfig, LinearConfig
from tasks.training.config import TrainingConfig
from tasks.variants import Variant

WEIGHTS = (0.0, 0.25, 0.5, 1.0)
# validation macro AUROC of the demo's members with a task adapter: .764 without the clinical
# adapter; with it at a quarter, half and all of its strength .763, .770 and .755
WEIGHT = 0.5


class SummandConfig(Config):
    """An adapter that was made before, beside which a task adapter learns."""

    adapter: Literal["clinical", "ontology"] = "clinical"
    """What the pretrain stage makes. clinical: it has learned to read notes; ontology: to find
    titles of ICD's codes in them"""
    trained: bool = False
    """Whether finetuning may change it (a copy); off: it is frozen"""
    weight: float | tuple[float, ...] | None = None
    """How many times its update is added. Several: the one with the best macro AUROC on validation,
    by heads on the frozen trunk. Empty: one of 0, 0.25, 0.5 and 1 where nothing but heads is
    trained; beside a task adapter 0.5, and 1 where the adapter goes on learning"""

    @field_validator("weight")
    @classmethod
    def _some(cls, given: float | tuple[float, ...] | None) -> float | tuple[float, ...] | None:
        if given == () or (isinstance(given, tuple) and len(set(given)) < len(given)):
            raise ValueError("name each weight once, and at least one")
        return given

    def weights(self, *, frozen_trunk: bool) -> tuple[float, ...]:
        """Those among which one is chosen; one alone is taken as it is."""
        if self.weight is None and self.trained:
            return (1.0,)
        if self.weight is None:
            return WEIGHTS if frozen_trunk else (WEIGHT,)
        return self.weight if isinstance(self.weight, tuple) else (self.weight,)


class MemberConfig(Config):
    """A task adapter and its heads, trained by itself: W + dW of each summand + dW(task)."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Its name in tables"""
    title: str = ""
    """In headings and legends; empty: the name"""
    short_title: str = ""
    """In narrow columns; empty: the title"""
    phrase: str = ""
    """Within a sentence; empty: the title"""
    summands: tuple[SummandConfig, ...] = ()
    """The adapters beside the task adapter, in the order of the sum"""

    @model_validator(mode="after")
    def _summands_differ(self) -> Self:
        if len({summand.adapter for summand in self.summands}) < len(self.summands):
            raise ValueError("an adapter is named twice among the summands; name each once")
        return self

    def variant(
        self,
        ablates: str | None = None,
        weights: Mapping[str, float] | None = None,
        chosen: Collection[str] = (),
    ) -> Variant:
        """The record of what the member predicts, or predicts without one of its adapters.

        Args:
            weights: of the summands.
            chosen: those of them whose weight was chosen among several.
        """
        adapters = (*(summand.adapter for summand in self.summands), TASK)
        title, short = self.title or self.name, self.short_title or self.title or self.name
        if ablates is None:
            return Variant(
                name=self.name,
                title=title,
                short_title=short,
                phrase=self.phrase,
                member=self.name,
                summands=adapters,
                weights=dict(weights or {}),
                chosen=tuple(chosen),
            )
        return Variant(
            name=f"{self.name}-without-{ablates}",
            title=f"{short}, {ablates} adapter zeroed",
            member=self.name,
            summands=tuple(adapter for adapter in adapters if adapter != ablates),
            ablates=ablates,
        )


FUSED = MemberConfig(
    name="fused",
    title="Fused (clinical + task adapter)",
    short_title="Fused",
    phrase="the fused model",
    summands=(SummandConfig(),),
)
UNFUSED = MemberConfig(
    name="unfused", title="Task adapter only", phrase="the task adapter alone", summands=()
)
_KNOWN = {member.name: member for member in (FUSED, UNFUSED)}


def _member_of_that_name(given: Any) -> Any:
    if isinstance(given, str) and given not in _KNOWN:
        raise ValueError(
            f"there is no member '{given}'; write {' or '.join(_KNOWN)}, or a mapping with name "
            "and summands"
        )
    return _KNOWN[given] if isinstance(given, str) else given


class FinetuneTraining(TrainingConfig):
    """How a member is trained."""

    # two cores, hidden 64: 2e-3 learns in minutes; 3e-3 with a trainable clinical adapter collapsed
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak learning rate of the adapters (AdamW)"""


class MemberTraining(Config):
    """What holds for every member, and decides what it learns."""

    adapter: Method | None = Lora()
    """The task adapter; null: none, and only heads are trained, on the states of a frozen trunk,
    which are computed once"""
    head: HeadConfig = LabelAttentionConfig()
    """The heads"""
    training: FinetuneTraining = FinetuneTraining()
    """How a member is trained"""
    epochs: int = Field(default=4, ge=1)
    """Passes over the training admissions"""
    min_steps: int = Field(default=0, ge=0)
    """More passes, until there are so many steps, where admissions are few"""
    positive_weight: Literal["none", "balanced"] = "none"
    """balanced: in the loss a label's cases weigh as much as its controls; the weight is taken off
    the saved head again, so that probabilities stay those of the data"""
    max_labelled_admissions: int | None = Field(default=None, ge=1)
    """Learn from at most this many training admissions, chosen by a hash; empty: all"""
    collapse_below: float = Field(default=0.55, ge=0, le=1)
    """Fail when the best validation macro AUROC stays below this, or the last one falls back
    towards chance, by more than chance explains with so few admissions (else warn); 0 publishes
    whatever comes out"""

    @model_validator(mode="after")
    def _weight_can_be_taken_off(self) -> Self:
        without = isinstance(self.head, LinearConfig) and not self.head.bias
        if without and self.positive_weight == "balanced":
            raise ValueError(
                "positive_weight is balanced, which is taken off a head's bias again, and the head "
                "has none; set positive_weight to none, or head.bias to true"
            )
        return self


class StatesConfig(Unkeyed):
    """What the states of a frozen trunk may take. Not part of any artifact's key."""

    max_gib: float = Field(default=16.0, gt=0)
    """Refuse to write states that are larger than this, in GiB on disk and in memory, for one
    weight of each summand"""


class FinetuneConfig(MemberTraining):
    """From admission notes, outcomes and adapters to members and their predictions."""

    members: tuple[Annotated[MemberConfig, BeforeValidator(_member_of_that_name)], ...] = Field(
        default=(FUSED, UNFUSED), min_length=1
    )
    """What is trained, each for itself. fused: W + dW(clinical) + dW(task); unfused: the same
    without the clinical adapter, to see what that is worth; or a mapping of a name and summands"""
    joint: bool = True
    """One task adapter for all outcomes with a head each: one forward pass serves all. Off: an
    adapter for each outcome, as in the paper"""
    max_tokens: int = Field(default=512, ge=8)
    """A note's tokens beyond this many are not read; an encoder reads long notes in chunks"""
    layer: int | None = Field(default=None, ge=1)
    """Whose states the heads read, counted from 1; the layers above it are left out. Empty: the
    last one's"""
    words: bool = False
    """Join to each token's state its own embedding, so that heads see the word as it is beside what
    it means where it stands"""
    states: StatesConfig = StatesConfig()
    """The states of a frozen trunk"""

    @model_validator(mode="after")
    def _members_differ(self) -> Self:
        if len({member.name for member in self.members}) < len(self.members):
            raise ValueError("two members have the same name; give each a name of its own")
        trained = (s.trained for member in self.members for s in member.summands)
        if self.adapter is None and any(trained):
            raise ValueError(
                "a summand is trained, but adapter is null, which freezes the trunk; set one of "
                "them otherwise"
            )
        return self

    @property
    def of_members(self) -> MemberTraining:
        """The part that decides what a member learns, whichever others there are."""
        names = MemberTraining.model_fields
        return MemberTraining(**{name: getattr(self, name) for name in names})
