"""The clinical world of the generator, from catalog.yaml: conditions, procedures, labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from tasks.config import Config
from tasks.synth.phrases import from_yaml

PROFILES = (
    *("cardiac", "pulmonary", "digestive", "liver", "renal", "neurologic", "trauma", "oncologic"),
    *("infectious", "psychiatric", "vascular", "hematologic"),
)
SEXES = ("F", "M")
VENTILATION = "mechanical ventilation"  # the procedure that the ICU tables show too
CODE_SYSTEMS = {
    "diagnoses": {9: "icd9cm", 10: "icd10cm"},
    "procedures": {9: "icd9pcs", 10: "icd10pcs"},
}


@dataclass(frozen=True)
class Code:
    """A full ICD code as it stands in the tables, without a dot."""

    code: str
    title: str
    category: str  # what counts as one label


class Condition(Config):
    """A disease or state that a patient may have, and all the ways to write it."""

    name: str
    chronic: bool  # the same in all of a patient's admissions; else drawn for each
    prevalence: float  # share of admissions
    profiles: tuple[str, ...]  # the kinds of patient in whom it is common
    sex: str | None = None  # only in this sex
    death: float = 0.0  # chance that it alone ends the admission
    groups: dict[int, tuple[tuple[Code, ...], ...]]  # ICD version -> categories -> full codes
    forms: tuple[str, ...]  # title-like, abbreviation, lay words
    held_out: tuple[str, ...]  # never in the admission note of a training patient
    drug: str


@dataclass(frozen=True)
class Procedure:
    """Something done to a patient, and the conditions that lead to it."""

    name: str
    codes: dict[int, tuple[Code, ...]]  # ICD version -> full codes, one category
    causes: tuple[tuple[int, float], ...]  # (condition, chance)


@dataclass(frozen=True)
class Label:
    """A category of one code system, and which conditions cause it with what chance."""

    code: str
    causes: tuple[tuple[int, float], ...]  # (condition, chance that it is coded)
    codes: tuple[tuple[Code, ...], ...]  # the full codes that each cause may get
    stream: str | None = None  # name of the draws that it shares with other events


@dataclass(frozen=True)
class Catalog:
    """All conditions and procedures."""

    conditions: tuple[Condition, ...]
    procedures: tuple[Procedure, ...]
    icd10_categories: dict[str, str]  # titles of the three-character headings

    def names(self) -> dict[str, int]:
        """The index of each condition by its name."""
        return {condition.name: index for index, condition in enumerate(self.conditions)}


@cache
def load() -> Catalog:
    """Read catalog.yaml, which lies beside this module."""
    raw = from_yaml("catalog.yaml")
    conditions = tuple(_condition(entry) for entry in raw["conditions"])
    index = {condition.name: number for number, condition in enumerate(conditions)}
    procedures = tuple(_procedure(entry, index) for entry in raw["procedures"])
    return Catalog(conditions, procedures, dict(raw["icd10_categories"]))


def diagnosis_labels(
    catalog: Catalog, version: int, coded: float, coded_further: float
) -> tuple[Label, ...]:
    """The diagnosis categories of an ICD version, in order of their code.

    A condition is coded in its first category with a chance of about `coded`, in each further one
    with about `coded_further`; conditions may share a category (noisy-or).
    """
    causes: dict[str, list[tuple[int, float]]] = {}
    codes: dict[str, list[tuple[Code, ...]]] = {}
    for index, condition in enumerate(catalog.conditions):
        for rank, group in enumerate(condition.groups[version]):
            category = group[0].category
            if rank:
                chance = coded_further * (1.0 + 0.4 * _wobble(index + rank))
            else:
                chance = coded * (1.0 + 0.1 * _wobble(index))
            causes.setdefault(category, []).append((index, min(chance, 0.98)))
            codes.setdefault(category, []).append(group)
    return tuple(Label(code, tuple(causes[code]), tuple(codes[code])) for code in sorted(causes))


def procedure_labels(catalog: Catalog, version: int) -> tuple[Label, ...]:
    """The procedure categories of an ICD version; two procedures may share one."""
    causes: dict[str, list[tuple[int, float]]] = {}
    codes: dict[str, list[tuple[Code, ...]]] = {}
    streams: dict[str, str] = {}
    for procedure in catalog.procedures:
        group = procedure.codes[version]
        category = group[0].category
        causes.setdefault(category, []).extend(procedure.causes)
        codes.setdefault(category, []).extend([group] * len(procedure.causes))
        if procedure.name == VENTILATION:
            streams[category] = VENTILATION
    return tuple(
        Label(code, tuple(causes[code]), tuple(codes[code]), streams.get(code))
        for code in sorted(causes)
    )


def diagnosis_category(code: str, version: int) -> str:
    """The category of a diagnosis code: three characters, four for ICD-9 V and E codes.

    >>> diagnosis_category("V4501", 9), diagnosis_category("I5022", 10)
    ('V450', 'I50')
    """
    return code[:4] if version == 9 and code[0] in "VE" else code[:3]


def procedure_category(code: str, version: int) -> str:
    """The category of a procedure code: three characters in ICD-9, four in ICD-10-PCS."""
    return code[:3] if version == 9 else code[:4]


def _condition(entry: dict[str, Any]) -> Condition:
    groups = {
        version: tuple(
            tuple(_code(text, version, "diagnoses") for text in group)
            for group in entry[f"icd{version}"]
        )
        for version in (9, 10)
    }
    others = {name: value for name, value in entry.items() if name not in ("icd9", "icd10")}
    return Condition(groups=groups, **others)


def _procedure(entry: dict[str, Any], index: dict[str, int]) -> Procedure:
    codes = {
        version: tuple(_code(text, version, "procedures") for text in entry[f"icd{version}"])
        for version in (9, 10)
    }
    causes = tuple((index[name], float(chance)) for name, chance in entry["causes"].items())
    return Procedure(entry["name"], codes, causes)


def _code(text: str, version: int, kind: str) -> Code:
    code, title = text.split(" ", 1)
    category = diagnosis_category if kind == "diagnoses" else procedure_category
    return Code(code, title, category(code, version))


def _wobble(index: int) -> float:
    """A fixed spread in [-1, 1], so that conditions differ in how well they are coded."""
    return (index * 37 % 21) / 10 - 1
