"""The metrics table as the report asks it: one number, one interval, one row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks import schemas, tables
from tasks.measures.intervals import holm
from tasks.metrics_table import FITTED_OUTPUT, NEXT_TOKEN, OWN_OUTPUT
from tasks.variants import BEST, Variant, read_records

BAND = "cases="  # a group of labels begins with it
ERROR_RATE = 0.05  # of any false finding among comparisons whose p-values are adjusted together

OUTCOMES = {
    "diagnoses": "Diagnoses",
    "procedures": "Procedures",
    "mortality": "In-hospital mortality",
    "length_of_stay": "Length of stay",
    "ventilation": "Prolonged ventilation",
    "death_after_discharge": "Death after discharge",
    "readmission": "Readmission",
}
SYSTEMS = {
    "icd9cm": "ICD-9-CM",
    "icd10cm": "ICD-10-CM",
    "icd9pcs": "ICD-9-CM vol. 3",
    "icd10pcs": "ICD-10-PCS",
    "mortality": "one label",
    "ventilation": "one label",
    "death_after_discharge": "one label",
    "readmission": "one label",
    "length_of_stay": "four classes",
    None: "all codes",
}
# which output layer says what masked words were
ANSWERED_BY = {
    NEXT_TOKEN: "",
    OWN_OUTPUT: "The base's own output layer says what the words were, with the adapter as "
    "without.",
    FITTED_OUTPUT: "The base came without an output layer to say what the words were: one was "
    "fitted to the base alone, and another together with the adapter, from the same start, on the "
    "same training notes with the same words masked, in the same steps and at the same rates; what "
    "the adapter adds is the difference.",
}
_Row = dict[str, Any]


@dataclass(frozen=True)
class Space:
    """A label space that a row of the report is about."""

    outcome: str
    code_system: str | None

    @property
    def title(self) -> str:
        return outcome_title(self.outcome)

    @property
    def system(self) -> str:
        own = "own labels" if self.code_system == self.outcome else str(self.code_system)
        return SYSTEMS.get(self.code_system, own)


@dataclass(frozen=True)
class Pair:
    """Two variants that were compared on the same admissions: first minus second."""

    first: Variant
    second: Variant

    @property
    def title(self) -> str:
        return f"{self.first.short_title} minus {self.second.short_title}"


class Findings:
    """Every metric of a run, by variant, outcome, code system, code, group and name."""

    def __init__(self, rows: Sequence[_Row], variants: Sequence[Variant]) -> None:
        self.rows = [_without_nan(row) for row in rows]
        self.records = tuple(variants)  # scored or not
        self._by_name = {_name(row): row for row in self.rows}
        self._by_metric: dict[str, list[_Row]] = {}
        for row in self.rows:
            self._by_metric.setdefault(row["metric"], []).append(row)
        scored = self.of("auroc_macro")
        self.outcomes = tuple(dict.fromkeys(row["outcome"] for row in scored))
        names = {row["variant"] for row in scored}
        self.variants = tuple(variant for variant in variants if variant.name in names)
        self.seeds = tuple(dict.fromkeys(row["seed"] for row in scored))  # None: over several

    @classmethod
    def read(cls, folder: Path) -> Findings:
        """The metrics of an artifact, and the records of the variants that they are of."""
        table = tables.read(folder / "metrics.parquet", schemas.METRICS)
        columns = [column.to_pylist() for column in table.columns]
        names = table.column_names  # a row at a time from Arrow takes five times as long
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        return cls(rows, read_records(folder))

    def raw(
        self,
        metric: str,
        variant: str,
        outcome: str,
        code_system: str | None = None,
        code: str | None = None,
        group: str = "all",
        against: str | None = None,
    ) -> _Row | None:
        """The metric's row, whose value is None where it is undefined; None: not measured."""
        return self._by_name.get((metric, variant, against, outcome, code_system, code, group))

    def get(
        self,
        metric: str,
        variant: str,
        outcome: str,
        code_system: str | None = None,
        code: str | None = None,
    ) -> _Row | None:
        """The metric's row, or None where it was not measured or is undefined."""
        return _if_valued(self.raw(metric, variant, outcome, code_system, code))

    def over(
        self, metric: str, of: Variant | Pair, space: Space, group: str = "all"
    ) -> _Row | None:
        """The metric's row over the labels of a space, as `raw` gives it."""
        first, second = (of.first, of.second) if isinstance(of, Pair) else (of, None)
        against = second.name if second else None
        return self.raw(
            metric, first.name, space.outcome, space.code_system, group=group, against=against
        )

    def within(
        self, metric: str, of: Variant | Pair, space: Space, group: str = "all"
    ) -> _Row | None:
        """The metric's row over the labels of a space, or None where it has no value."""
        return _if_valued(self.over(metric, of, space, group))

    @property
    def models(self) -> tuple[Variant, ...]:
        """The variants that are compared: not the best reachable, none that leaves a part out."""
        return tuple(variant for variant in self.variants if variant.is_model)

    @property
    def stacks(self) -> tuple[Variant, ...]:
        """The models that are a member with a baseline added to it."""
        return tuple(model for model in self.models if model.stacked_with)

    @property
    def best(self) -> Variant | None:
        """The best reachable predictions, where they are known."""
        return next((variant for variant in self.variants if variant.name == BEST.name), None)

    @cached_property
    def pairs(self) -> list[Pair]:
        """The paired comparisons that were made."""
        made = {(row["variant"], row["against"]) for row in self.of("auroc_macro_difference")}
        pairs = [Pair(first, second) for first in self.models for second in self.models]
        return [pair for pair in pairs if (pair.first.name, pair.second.name) in made]

    @cached_property
    def holm(self) -> dict[tuple[Pair, Space], float]:
        """The p-values of the main table of differences, by pair and space, adjusted together."""
        p_values = {
            (pair, space): row["value"]
            for pair in self.pairs
            for space in self.all_spaces
            if (row := self.within("auroc_macro_difference_p", pair, space))
        }
        return dict(zip(p_values, holm(list(p_values.values())), strict=True))

    @cached_property
    def all_spaces(self) -> list[Space]:
        """Every label space of every outcome."""
        return [space for outcome in self.outcomes for space in self.spaces(outcome)]

    def spaces(self, outcome: str) -> list[Space]:
        """The outcome's code systems, then pooled; pooled alone where there is one system."""
        scored = self.of("auroc_macro")
        every = dict.fromkeys(row["code_system"] for row in scored if row["outcome"] == outcome)
        systems = [system for system in every if system is not None]
        if len(systems) == 1:
            return [Space(outcome, systems[0])]
        return [*(Space(outcome, system) for system in systems), Space(outcome, None)]

    def overall(self, outcome: str) -> Space:
        """The space of an outcome's headline number."""
        return self.spaces(outcome)[-1]

    @cached_property
    def headline_spaces(self) -> list[Space]:
        return [self.overall(outcome) for outcome in self.outcomes]

    def of(self, metric: str, *, aggregates: bool = True) -> list[_Row]:
        """All rows of a metric over all patients; with `aggregates` false, the single labels'."""
        return [
            row
            for row in self._by_metric.get(metric, ())
            if row["group"] == "all" and (row["code"] is None) == aggregates
        ]

    def groups(self, metric: str, variant: Variant, space: Space) -> dict[str, _Row]:
        """The metric's rows over parts of the patients or of the labels, by group."""
        return {
            row["group"]: row
            for row in self.by_group(metric)
            if (row["variant"], row["outcome"]) == (variant.name, space.outcome)
            and row["code_system"] in (None, space.code_system)
        }

    def patients(self, space: Space) -> dict[tuple[str, str], _Row]:
        """The first model's macro AUROC in groups of patients, by column and group."""
        groups = self.groups("auroc_macro", self.models[0], space)
        return {
            (column, name): row
            for group, row in groups.items()
            for column, equals, name in [group.partition("=")]
            if equals and not group.startswith(BAND)
        }

    @property
    def likelihood(self) -> dict[str, _Row | None]:
        """How likely unseen notes are to the base ("before") and with the clinical adapter."""
        return {
            name: self.get(f"{self.likelihood_metric}_{name}", "clinical", self.likelihood_of)
            for name in ("before", "after")
        }

    @property
    def likelihood_metric(self) -> str:
        """What it is told in: masked words have no perplexity."""
        return "loss" if self.masked_words else "perplexity"

    @property
    def likelihood_of(self) -> str:
        """What that is measured over: an encoder's is no next token's."""
        masked = (OWN_OUTPUT, FITTED_OUTPUT)
        measured = (of for of in masked if self.raw("loss_before", "clinical", of) is not None)
        return next(measured, NEXT_TOKEN)

    @property
    def masked_words(self) -> bool:
        """Whether an encoder was asked for these."""
        return self.likelihood_of != NEXT_TOKEN

    @property
    def answered_by(self) -> str:
        """A sentence on the output layer that says what masked words were."""
        return ANSWERED_BY[self.likelihood_of]

    def by_group(self, metric: str) -> list[_Row]:
        """All rows of a metric over a part of the patients or of the labels."""
        return [
            row
            for row in self._by_metric.get(metric, ())
            if row["group"] != "all" and row["code"] is None
        ]


def outcome_title(name: str) -> str:
    return OUTCOMES.get(name, name)


def _if_valued(row: _Row | None) -> _Row | None:
    return row if row and row["value"] is not None else None


def _without_nan(row: _Row) -> _Row:
    """What is no number has no value: the rest of the report asks for None alone."""
    ends = {name: row[name] for name in ("value", "low", "high")}
    return row | {name: None if end is None or end != end else end for name, end in ends.items()}


def _name(row: _Row) -> tuple[str | None, ...]:
    columns = ("metric", "variant", "against", "outcome", "code_system", "code", "group")
    return tuple(row[column] for column in columns)
