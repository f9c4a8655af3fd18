"""The metrics table as the report asks it: one number, one interval, one row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks import schemas, tables
from tasks.evaluate.rows import BEST, WITHOUT
from tasks.measures.comparisons import holm

ERROR_RATE = 0.05  # of any false finding among comparisons whose p-values are adjusted together

VARIANTS = {
    "fused": "Fused (clinical + task adapter)",
    "unfused": "Task adapter only",
    "tfidf": "TF-IDF + logistic regression",
    BEST: "Best reachable",
    "fused-without-clinical": "Fused, clinical adapter zeroed",
    "fused-without-task": "Fused, task adapter zeroed",
    "clinical": "Clinical adapter",
    "base": "Base",
}
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
_Row = dict[str, Any]


@dataclass(frozen=True)
class Space:
    """A label space that a row of the report is about."""

    outcome: str
    code_system: str | None

    @property
    def title(self) -> str:
        return OUTCOMES.get(self.outcome, self.outcome)

    @property
    def system(self) -> str:
        return SYSTEMS.get(self.code_system, str(self.code_system))


@dataclass(frozen=True)
class Pair:
    """Two variants that were compared on the same admissions: first minus second."""

    name: str
    first: str
    second: str


class Findings:
    """Every metric of a run, found by variant, outcome, code system, code, group and name."""

    def __init__(self, rows: Sequence[_Row]) -> None:
        self.rows = [_without_nan(row) for row in rows]
        self._found = {_name(row): row for row in self.rows}
        self._by_metric: dict[str, list[_Row]] = {}
        for row in self.rows:
            self._by_metric.setdefault(row["metric"], []).append(row)
        scored = self.of("auroc_macro")
        self.outcomes = tuple(dict.fromkeys(row["outcome"] for row in scored))
        self.variants = tuple(dict.fromkeys(row["variant"] for row in scored))
        self.seeds = tuple(dict.fromkeys(row["seed"] for row in scored))  # None: over several

    @classmethod
    def read(cls, path: Path) -> Findings:
        table = tables.read(path, schemas.METRICS)
        columns = [column.to_pylist() for column in table.columns]
        names = table.column_names  # a row at a time from Arrow takes five times as long
        return cls([dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)])

    def raw(
        self,
        metric: str,
        variant: str,
        outcome: str,
        code_system: str | None = None,
        code: str | None = None,
        group: str = "all",
    ) -> _Row | None:
        """The metric's row, whose value is None where it is undefined; None: not measured."""
        return self._found.get((metric, variant, outcome, code_system, code, group))

    def get(
        self,
        metric: str,
        variant: str,
        outcome: str,
        code_system: str | None = None,
        code: str | None = None,
    ) -> _Row | None:
        """The metric's row, or None where it was not measured or is undefined."""
        row = self.raw(metric, variant, outcome, code_system, code)
        return row if row and row["value"] is not None else None

    def over(self, metric: str, variant: str, space: Space, group: str = "all") -> _Row | None:
        """The metric's row over the labels of a space, as `raw` gives it."""
        return self.raw(metric, variant, space.outcome, space.code_system, group=group)

    def within(self, metric: str, variant: str, space: Space, group: str = "all") -> _Row | None:
        """The metric's row over the labels of a space, or None where it has no value."""
        row = self.over(metric, variant, space, group)
        return row if row and row["value"] is not None else None

    @property
    def models(self) -> tuple[str, ...]:
        """The variants that are trained models: not the best reachable, none with a part zeroed."""
        return tuple(name for name in self.variants if name != BEST and WITHOUT not in name)

    @cached_property
    def pairs(self) -> list[Pair]:
        """The paired comparisons that were made."""
        made = {row["variant"] for row in self.of("auroc_macro_difference")}
        pairs = [Pair(f"{one}-{two}", one, two) for one in self.models for two in self.models]
        return [pair for pair in pairs if pair.name in made]

    @cached_property
    def holm(self) -> dict[tuple[str, Space], float]:
        """The p-values of the main table of differences, by pair and space, adjusted together."""
        found = {
            (pair.name, space): row["value"]
            for pair in self.pairs
            for space in self.all_spaces
            if (row := self.within("auroc_macro_difference_p", pair.name, space))
        }
        return dict(zip(found, holm(list(found.values())), strict=True))

    @cached_property
    def all_spaces(self) -> list[Space]:
        """Every label space of every outcome."""
        return [space for outcome in self.outcomes for space in self.spaces(outcome)]

    def spaces(self, outcome: str) -> list[Space]:
        """The outcome's code systems, then pooled; pooled alone where there is one system."""
        scored = self.of("auroc_macro")
        found = dict.fromkeys(row["code_system"] for row in scored if row["outcome"] == outcome)
        systems = [system for system in found if system is not None]
        if len(systems) == 1:
            return [Space(outcome, systems[0])]
        return [*(Space(outcome, system) for system in systems), Space(outcome, None)]

    def overall(self, outcome: str) -> Space:
        """The space of an outcome's headline number."""
        return self.spaces(outcome)[-1]

    def of(self, metric: str, *, aggregates: bool = True) -> list[_Row]:
        """All rows of a metric over all patients; with `aggregates` false, the single labels'."""
        return [
            row
            for row in self._by_metric.get(metric, ())
            if row["group"] == "all" and (row["code"] is None) == aggregates
        ]

    def by_group(self, metric: str) -> list[_Row]:
        """All rows of a metric over a part of the patients or of the labels."""
        return [
            row
            for row in self._by_metric.get(metric, ())
            if row["group"] != "all" and row["code"] is None
        ]


def variant_title(variant: str) -> str:
    return VARIANTS.get(variant, variant)


def _without_nan(row: _Row) -> _Row:
    """What is no number has no value: the rest of the report asks for None alone."""
    ends = {name: row[name] for name in ("value", "low", "high")}
    return row | {name: None if end is None or end != end else end for name, end in ends.items()}


def _name(row: _Row) -> tuple[str, str, str, str | None, str | None, str]:
    return (
        row["metric"],
        row["variant"],
        row["outcome"],
        row["code_system"],
        row["code"],
        row["group"],
    )
