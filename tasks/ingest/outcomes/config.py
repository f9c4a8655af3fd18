"""The outcomes that can be asked for: what is predicted of an admission, and from when on.

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
Early = Literal["admission"] | Hours  # of what is decided before discharge


class _OutcomeConfig(Config):
    predict_at: PredictionTime = Field(
        default="admission",
        description="When the prediction is made: at admission, so many hours after it, or at "
        "discharge; a note view that knows more is refused. With hours, admissions that ended "
        "before are left out",
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
        default=10,  # Edin et al. drop codes seen fewer than 10 times
        ge=1,
        description="A code becomes a label if at least so many training admissions have it",
    )
    grouping: Literal["category", "full", "ccs", "file"] = Field(
        default="category",
        description="category: the first characters of a code (diagnoses 3, ICD-9 V and E codes 4; "
        "ICD-9 procedures 3, ICD-10 procedures 4); full: the code as it stands; ccs: HCUP's "
        "Clinical Classifications Software for ICD-9 diagnoses; file: any other table of groups",
    )
    grouping_file: Path | None = Field(
        default=None,
        description="With ccs: HCUP's $dxref file. With file: a CSV with the columns code and "
        "group, and if it has them version (9 or 10) and title, or HCUP's CCSR file",
    )

    @model_validator(mode="after")
    def _has_its_file(self) -> _CodesConfig:
        if (self.grouping in ("ccs", "file")) != (self.grouping_file is not None):
            raise ValueError(
                "grouping 'ccs' or 'file' needs the key 'grouping_file', and no other has it"
            )
        return self


class DiagnosesConfig(_CodesConfig):
    """Every diagnosis that the admission was coded with."""

    kind: Literal["diagnoses"] = "diagnoses"
    name: OutcomeName = Field(default="diagnoses", description="The outcome's name in reports")
    icd_versions: Literal["both", "9", "10", "mapped"] = Field(
        default="both",
        description="both: one label space of both versions, an admission being observed only in "
        "the one that it was coded in; 9 or 10: the other version's admissions are unobserved; "
        "mapped: ICD-9 codes become ICD-10 codes by the general equivalence map",
    )
    equivalence_map: Path | None = Field(
        default=None,
        description="With mapped: the general equivalence map as a CSV with the columns icd_9, "
        "icd_10 and flags, or the file 2018_I9gem.txt of CMS",
    )

    @model_validator(mode="after")
    def _has_its_map(self) -> DiagnosesConfig:
        if (self.icd_versions == "mapped") != (self.equivalence_map is not None):
            raise ValueError("icd_versions 'mapped' needs 'equivalence_map', and no other has it")
        if self.grouping == "ccs" and self.icd_versions != "9":
            raise ValueError("grouping 'ccs' groups ICD-9 diagnoses; set icd_versions to '9'")
        return self


class ProceduresConfig(_CodesConfig):
    """Every procedure that the admission was coded with."""

    kind: Literal["procedures"] = "procedures"
    name: OutcomeName = Field(default="procedures", description="The outcome's name in reports")
    icd_versions: Literal["both", "9", "10"] = Field(
        default="both",
        description="As of diagnoses; procedures are not mapped, because two thirds of their "
        "ICD-9 codes become several categories of ICD-10",
    )
    no_codes: Literal["negative", "exclude"] = Field(
        default="negative",
        description="An admission without procedure rows is negative for every label, or is left "
        "out as in the paper",
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
        description="When the prediction is made: at admission, or so many hours after it",
    )


class LengthOfStayConfig(_OutcomeConfig):
    """How long the stay lasts, in four classes."""

    kind: Literal["length_of_stay"] = "length_of_stay"
    name: OutcomeName = Field(default="length_of_stay", description="The name in reports")
    predict_at: Early = Field(
        default="admission",
        description="When the prediction is made: at admission, or so many hours after it",
    )


class VentilationConfig(_OutcomeConfig):
    """Prolonged invasive ventilation, among those ventilated at least two days."""

    kind: Literal["ventilation"] = "ventilation"
    name: OutcomeName = Field(default="ventilation", description="The outcome's name in reports")
    predict_at: Early = Field(
        default="admission",
        description="When the prediction is made: at admission, or so many hours after it",
    )
    rule: Literal["span", "episode"] = Field(
        default="span",
        description="span: the last end + 0.25 days lies 7 days or more after the first start, "
        "gaps ignored (the published rule); episode: intervals merged over gaps under 14 hours, "
        "the longest lasting 7 days or more",
    )
    death_on_ventilator: Literal["exclude", "negative"] = Field(
        default="negative",
        description="A death on the ventilator before day 7: left out, or not prolonged",
    )


class DeathAfterDischargeConfig(_OutcomeConfig):
    """Death within days of leaving the hospital alive."""

    kind: Literal["death_after_discharge"] = "death_after_discharge"
    name: OutcomeName = Field(default="death_after_discharge", description="The name in reports")
    days: int = Field(
        default=30, ge=1, le=365, description="Days after discharge; MIMIC-IV knows of 365"
    )
    predict_at: PredictionTime = Field(
        default="discharge", description="When the prediction is made; see the other outcomes"
    )


class ReadmissionConfig(_OutcomeConfig):
    """Another admission within days of leaving the hospital alive."""

    kind: Literal["readmission"] = "readmission"
    name: OutcomeName = Field(default="readmission", description="The outcome's name in reports")
    days: int = Field(default=30, ge=1, description="Days after discharge")
    exclude: tuple[Literal["elective", "same_day", "observation"], ...] = Field(
        default=("elective", "same_day", "observation"),
        description="Returns that are no readmission: planned ones, those on the day of "
        "discharge, and observation stays",
    )
    predict_at: PredictionTime = Field(
        default="discharge", description="When the prediction is made; see the other outcomes"
    )


class OwnOutcomeConfig(_OutcomeConfig):
    """An outcome of the user's own, from a Parquet file."""

    kind: Literal["own"] = "own"
    name: OutcomeName = Field(description="The outcome's name in reports")
    file: Path = Field(
        description="Parquet with a row an admission: hadm_id, and labels, a text or a list of "
        "texts; null: not observed"
    )
    one_of: bool = Field(
        default=False, description="Each admission has exactly one of the labels: classes"
    )
    min_count: int = Field(
        default=1, ge=1, description="A label needs at least so many training admissions"
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
