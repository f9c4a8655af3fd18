"""The outcomes that can be asked for: what is predicted for an admission, and when.

Each is defined, with its source, in the module of its kind.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.config import KIND_ALONE, Config

OutcomeName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Hours = Annotated[float, Field(gt=0)]
PredictionTime = Literal["admission", "discharge"] | Hours
Early = Literal["admission"] | Hours  # for what is decided before discharge


class _OutcomeConfig(Config):
    predict_at: PredictionTime = Field(
        default="admission",
        description="When the prediction is made: at admission, this many hours after it, or at "
        "discharge; a note view that holds more than is known then is refused. With hours, "
        "admissions that ended earlier are left out",
    )

    @property
    def predicted_after_hours(self) -> float:
        """Hours after admission; infinite at discharge."""
        return hours_of(self.predict_at)


def hours_of(time: PredictionTime) -> float:
    """Hours after admission: 0 at it, infinite at discharge.

    >>> hours_of("admission"), hours_of(24), hours_of("discharge")
    (0.0, 24.0, inf)
    """
    match time:
        case "admission":
            return 0.0
        case "discharge":
            return math.inf
        case hours:
            return float(hours)


class _CodesConfig(_OutcomeConfig):
    min_count: int = Field(
        default=10,  # Edin et al. drop codes that occur fewer than 10 times
        ge=1,
        description="A code becomes a label if at least this many training admissions have it",
    )
    grouping: Literal["category", "full", "ccs", "file"] = Field(
        default="category",
        description="category: the first characters of a code (diagnoses 3, ICD-9 V and E codes 4; "
        "ICD-9 procedures 3, ICD-10 procedures 4); full: the whole code; ccs: HCUP's Clinical "
        "Classifications Software for ICD-9 diagnoses; file: any other table of groups",
    )
    grouping_file: Path | None = Field(
        default=None,
        description="With ccs: HCUP's $dxref file. With file: a CSV file with the columns code and "
        "group, and optionally version (9 or 10) and title, or HCUP's CCSR file",
    )

    @model_validator(mode="after")
    def _has_its_file(self) -> _CodesConfig:
        if (self.grouping in ("ccs", "file")) != (self.grouping_file is not None):
            raise ValueError(
                "grouping 'ccs' or 'file' needs the key 'grouping_file', and no other has it"
            )
        return self


class DiagnosesConfig(_CodesConfig):
    """All diagnoses that the admission was coded with."""

    kind: Literal["diagnoses"] = "diagnoses"
    name: OutcomeName = Field(default="diagnoses", description="The outcome's name in reports")
    icd_versions: Literal["both", "9", "10", "mapped"] = Field(
        default="both",
        description="both: labels of both versions, each admission observed only in the version "
        "that it was coded in; 9 or 10: admissions coded in the other version are unobserved; "
        "mapped: ICD-9 codes become ICD-10 codes by the general equivalence map",
    )
    equivalence_map: Path | None = Field(
        default=None,
        description="With mapped: the general equivalence map, as a CSV file with the columns "
        "icd_9, icd_10 and flags, or CMS's file 2018_I9gem.txt",
    )

    @model_validator(mode="after")
    def _has_its_map(self) -> DiagnosesConfig:
        if (self.icd_versions == "mapped") != (self.equivalence_map is not None):
            raise ValueError("icd_versions 'mapped' needs 'equivalence_map', and no other has it")
        if self.grouping == "ccs" and self.icd_versions != "9":
            raise ValueError("grouping 'ccs' groups ICD-9 diagnoses; set icd_versions to '9'")
        return self


class ProceduresConfig(_CodesConfig):
    """All procedures that the admission was coded with."""

    kind: Literal["procedures"] = "procedures"
    name: OutcomeName = Field(default="procedures", description="The outcome's name in reports")
    icd_versions: Literal["both", "9", "10"] = Field(
        default="both",
        description="As for diagnoses; procedures cannot be mapped, because two thirds of their "
        "ICD-9 codes become several categories of ICD-10",
    )
    no_codes: Literal["negative", "exclude"] = Field(
        default="negative",
        description="negative: an admission without procedures is negative for every label; "
        "exclude: it is left out, as in the paper",
    )

    @model_validator(mode="after")
    def _is_not_ccs(self) -> ProceduresConfig:
        if self.grouping == "ccs":
            raise ValueError("grouping 'ccs' is for diagnoses; use 'file' for procedures")
        return self


class MortalityConfig(_OutcomeConfig):
    """Death in the hospital."""

    kind: Literal["mortality"] = "mortality"
    name: OutcomeName = Field(default="mortality", description="The outcome's name in reports")
    predict_at: Early = Field(
        default="admission",
        description="When the prediction is made: at admission, or this many hours after it",
    )


class LengthOfStayConfig(_OutcomeConfig):
    """The length of the stay, in four classes."""

    kind: Literal["length_of_stay"] = "length_of_stay"
    name: OutcomeName = Field(default="length_of_stay", description="The name in reports")
    predict_at: Early = Field(
        default="admission",
        description="When the prediction is made: at admission, or this many hours after it",
    )


class VentilationConfig(_OutcomeConfig):
    """Prolonged invasive ventilation, among patients ventilated for at least two days."""

    kind: Literal["ventilation"] = "ventilation"
    name: OutcomeName = Field(default="ventilation", description="The outcome's name in reports")
    predict_at: Early = Field(
        default="admission",
        description="When the prediction is made: at admission, or this many hours after it",
    )
    rule: Literal["span", "episode"] = Field(
        default="span",
        description="span: the last end + 0.25 days is at least 7 days after the first start, "
        "whatever the gaps (the published rule); episode: intervals with gaps under 14 hours are "
        "merged, and the longest lasts at least 7 days",
    )
    death_on_ventilator: Literal["exclude", "negative"] = Field(
        default="negative",
        description="exclude: a death on the ventilator before day 7 is left out; negative: it "
        "counts as not prolonged",
    )


class DeathAfterDischargeConfig(_OutcomeConfig):
    """Death within days of leaving the hospital alive."""

    kind: Literal["death_after_discharge"] = "death_after_discharge"
    name: OutcomeName = Field(default="death_after_discharge", description="The name in reports")
    days: int = Field(
        default=30, ge=1, le=365, description="Days after discharge; MIMIC-IV records 365"
    )
    predict_at: PredictionTime = Field(
        default="discharge", description="When the prediction is made, as for the other outcomes"
    )


class ReadmissionConfig(_OutcomeConfig):
    """Another admission within days of leaving the hospital alive."""

    kind: Literal["readmission"] = "readmission"
    name: OutcomeName = Field(default="readmission", description="The outcome's name in reports")
    days: int = Field(default=30, ge=1, description="Days after discharge")
    exclude: tuple[Literal["elective", "same_day", "observation"], ...] = Field(
        default=("elective", "same_day", "observation"),
        description="Returns that do not count as readmissions: planned ones, those on the day of "
        "discharge, and observation stays",
    )
    predict_at: PredictionTime = Field(
        default="discharge", description="When the prediction is made, as for the other outcomes"
    )


class OwnOutcomeConfig(_OutcomeConfig):
    """An outcome that the user defines, from a Parquet file."""

    kind: Literal["own"] = "own"
    name: OutcomeName = Field(description="The outcome's name in reports")
    file: Path = Field(
        description="Parquet file with one row for each admission: hadm_id, and labels, a string "
        "or a list of strings; null: not observed"
    )
    one_of: bool = Field(
        default=False, description="Each admission has exactly one of the labels (classes)"
    )
    min_count: int = Field(
        default=1, ge=1, description="A label needs at least this many training admissions"
    )


OutcomeConfig = Annotated[
    DiagnosesConfig
    | ProceduresConfig
    | MortalityConfig
    | LengthOfStayConfig
    | VentilationConfig
    | DeathAfterDischargeConfig
    | ReadmissionConfig
    | OwnOutcomeConfig,
    Field(discriminator="kind"),
    KIND_ALONE,
]
