"""Members: what is trained, each for itself, and beside which adapters."""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tasks.config import Config
from tasks.model.adapters.fusions import Fusion
from tasks.model.adapters.methods import (
    TASK,
)
from tasks.variants import Merge, Variant

WEIGHTS = (0.0, 0.25, 0.5, 1.0)
# validation macro AUROC of the demo's members with a task adapter: .764 without the clinical
# adapter; with it at a quarter, half and all of its strength .763, .770 and .755
WEIGHT = 0.5


class SummandConfig(Config):
    """An adapter that was made before, beside which a task adapter learns."""

    adapter: Literal["clinical", "ontology"] = "clinical"
    """What the pretrain stage makes. clinical: it has learned to read notes; ontology: to find
    titles of ICD's codes in them"""
    fusion: Fusion = "frozen"
    """How it takes part. frozen: its update is a fixed part of the sum; trained: a copy of it
    learns on beside the task adapter; gated: it is frozen, and how many times it is added is
    learned, for each layer; merged: it is added into the base's weights first, beside which any
    method can learn; continued: there is no other task adapter, a copy of it learns on"""
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
        if self.weight is None and self.fusion in ("trained", "continued"):
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
    """The adapters beside the task adapter. They are added in the order of their names, and it
    last; only beside or by DoRA does the order make a difference"""
    merges: tuple[Merge, ...] = ()
    """After training also predict with its adapters made into one. cat: the exact sum; svd: the
    best of the task adapter's rank; linear, ties: of the adapters' factors, all of one rank"""

    @model_validator(mode="after")
    def _summands_differ(self) -> Self:
        if len({summand.adapter for summand in self.summands}) < len(self.summands):
            raise ValueError("an adapter is named twice among the summands; name each once")
        if sum(summand.fusion == "continued" for summand in self.summands) > 1:
            raise ValueError("two summands are continued; the task adapter can start as one only")
        fused = {summand.fusion for summand in self.summands} - {"merged", "continued"}
        if self.merges and not fused:
            raise ValueError("merges need a summand beside the task adapter; leave them out")
        if self.merges and "gated" in fused:
            raise ValueError("a gated summand cannot be merged after training; leave out merges")
        return self

    @property
    def in_order(self) -> tuple[SummandConfig, ...]:
        """The summands as they are added: in the one order that keys and manifests know."""
        return tuple(sorted(self.summands, key=lambda summand: summand.adapter))

    @property
    def beside(self) -> tuple[str, ...]:
        """The summands that act beside the task adapter, and can be left out of what is trained."""
        apart = ("merged", "continued")
        return tuple(s.adapter for s in self.in_order if s.fusion not in apart)

    def variant(
        self,
        ablates: str | None = None,
        weights: Mapping[str, float] | None = None,
        chosen: Collection[str] = (),
        merged_by: Merge | None = None,
        ordered: Sequence[str] = (),
    ) -> Variant:
        """The record of what the member predicts, or predicts otherwise.

        Args:
            ablates: the adapter that is left out.
            weights: of the summands.
            chosen: those of them whose weight was chosen among several.
            merged_by: how its adapters are made into one.
            ordered: the adapters of its sum, where another order would change it.
        """
        adapters = (*(summand.adapter for summand in self.in_order), TASK)
        title, short = self.title or self.name, self.short_title or self.title or self.name
        if merged_by is not None:
            return Variant(
                name=f"{self.name}-{merged_by}",
                title=f"{short}, its adapters as one ({merged_by})",
                member=self.name,
                summands=adapters,
                merged_by=merged_by,
            )
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
                learned=tuple(s.adapter for s in self.summands if s.fusion == "gated"),
                ordered=tuple(ordered),
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


Member = Annotated[MemberConfig, BeforeValidator(_member_of_that_name)]
