"""The outcomes that can be asked for: what is predicted for an admission, and when.

Each is defined, with its source, in the module of its kind.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from tasks.config import KIND_ALONE, Config

OutcomeName = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="The outcome's name in reports")
]
Hours = Annotated[float, Field(gt=0)]
ExcludedReturn = Literal["elective", "same_day", "observation"]
PredictionTime = Literal["admission", "discharge"] | Hours
Columns = dict[str, tuple[str, ...]]  # by table
_FLAG = "hospital_expire_flag"


class _OutcomeConfig(Config):
    tables: ClassVar[tuple[str, ...]] = ()  # of the source, without which it cannot be made
    titles: ClassVar[tuple[str, ...]] = ()  # tables of titles that it uses if they exist

    predict_at: PredictionTime = "admission"
    """When the prediction is made: at admission, this many hours after it, or at discharge; a note
    view that holds more than is known then is refused. With hours, admissions that ended earlier
    are left out"""
    optional: bool = False
    """Leave the outcome out, with a warning, where the source lacks its tables, or no label has
    enough training admissions; another outcome must remain"""

    @property
    def predicted_after_hours(self) -> float:
        """Hours after admission: 0 at it, infinite at discharge."""
        match self.predict_at:
            case "admission":
                return 0.0
            case "discharge":
                return math.inf
            case hours:
                return hours

    @property
    def columns(self) -> Columns:
        """The columns that it needs, although they may be missing for other outcomes."""
        return {}


class _CodesConfig(_OutcomeConfig):
    # Edin et al. drop codes that occur fewer than 10 times
    min_count: int = Field(default=10, ge=1)
    """A code becomes a label if at least this many training admissions have it"""
    grouping: Literal["category", "full", "ccs", "file"] = "category"
    """category: the first characters of a code (diagnoses 3, ICD-9 V and E codes 4; ICD-9
    procedures 3, ICD-10 procedures 4); full: the whole code; ccs: HCUP's Clinical Classifications
    Software for ICD-9 diagnoses; file: any other table of groups"""
    grouping_file: Path | None = None
    """With ccs: HCUP's $dxref file. With file: a CSV file with the columns code and group, and
    optionally version (9 or 10) and title, or HCUP's CCSR file"""

    @model_validator(mode="after")
    def _has_its_file(self) -> _CodesConfig:
        if (self.grouping in ("ccs", "file")) != (self.grouping_file is not None):
            raise ValueError(
                "grouping 'ccs' or 'file' needs the key 'grouping_file', and no other has it"
            )
        return self


class DiagnosesConfig(_CodesConfig):
    """All diagnoses that the admission was coded with."""

    tables = ("diagnoses",)
    titles = ("diagnosis_titles",)
    kind: Literal["diagnoses"] = "diagnoses"
    name: OutcomeName = "diagnoses"
    icd_versions: Literal["both", "9", "10", "mapped"] = "both"
    """both: labels of both versions, each admission observed only in the version that it was coded
    in; 9 or 10: admissions coded in the other version are unobserved; mapped: ICD-9 codes become
    ICD-10 codes by the general equivalence map"""
    equivalence_map: Path | None = None
    """With mapped: the general equivalence map, as a CSV file with the columns icd_9, icd_10 and
    flags, or CMS's file 2018_I9gem.txt"""

    @model_validator(mode="after")
    def _has_its_map(self) -> DiagnosesConfig:
        if (self.icd_versions == "mapped") != (self.equivalence_map is not None):
            raise ValueError("icd_versions 'mapped' needs 'equivalence_map', and no other has it")
        if self.grouping == "ccs" and self.icd_versions != "9":
            raise ValueError("grouping 'ccs' groups ICD-9 diagnoses; set icd_versions to '9'")
        return self


class ProceduresConfig(_CodesConfig):
    """All procedures that the admission was coded with."""

    tables = ("procedures", "diagnoses")
    titles = ("procedure_titles",)
    kind: Literal["procedures"] = "procedures"
    name: OutcomeName = "procedures"
    icd_versions: Literal["both", "9", "10"] = "both"
    """As for diagnoses; procedures cannot be mapped, because two thirds of their ICD-9 codes become
    several categories of ICD-10"""
    no_codes: Literal["negative", "exclude"] = "negative"
    """negative: an admission without procedures is negative for every label; exclude: it is left
    out, as in the paper"""

    @model_validator(mode="after")
    def _is_not_ccs(self) -> ProceduresConfig:
        if self.grouping == "ccs":
            raise ValueError("grouping 'ccs' is for diagnoses; use 'file' for procedures")
        return self


class _OfStays(_OutcomeConfig):
    tables: ClassVar[tuple[str, ...]] = ("admissions", "deaths")  # they say how a stay ended

    @property
    def columns(self) -> Columns:
        return {"admissions": (_FLAG,)}


class _OfTheStay(_OfStays):
    predict_at: Literal["admission"] | Hours = "admission"
    """When the prediction is made: at admission, or this many hours after it"""


class _AfterDischarge(_OfStays):
    predict_at: PredictionTime = "discharge"
    """When the prediction is made, as for the other outcomes"""


class MortalityConfig(_OfTheStay):
    """Death in the hospital."""

    kind: Literal["mortality"] = "mortality"
    name: OutcomeName = "mortality"


class LengthOfStayConfig(_OfTheStay):
    """The length of the stay, in four classes."""

    kind: Literal["length_of_stay"] = "length_of_stay"
    name: OutcomeName = Field(default="length_of_stay", description="The name in reports")


class VentilationConfig(_OfTheStay):
    """Prolonged invasive ventilation, among patients ventilated for at least two days."""

    tables = ("icu_stays", "ventilation", "diagnoses", *_OfStays.tables)
    kind: Literal["ventilation"] = "ventilation"
    name: OutcomeName = "ventilation"
    rule: Literal["span", "episode"] = "span"
    """span: the last end + 0.25 days is at least 7 days after the first start, whatever the gaps
    (the published rule); episode: intervals with gaps under 14 hours are merged, and the longest
    lasts at least 7 days"""
    death_on_ventilator: Literal["exclude", "negative"] = "negative"
    """exclude: a death on the ventilator before day 7 is left out; negative: it counts as not
    prolonged"""

    @property
    def columns(self) -> Columns:
        return {"ventilation": ("starttime", "endtime"), **super().columns}


class DeathAfterDischargeConfig(_AfterDischarge):
    """Death within days of leaving the hospital alive."""

    kind: Literal["death_after_discharge"] = "death_after_discharge"
    name: OutcomeName = Field(default="death_after_discharge", description="The name in reports")
    days: int = Field(default=30, ge=1, le=365)
    """Days after discharge; MIMIC-IV records 365"""

    @property
    def columns(self) -> Columns:
        return {"deaths": ("dod",), **super().columns}


class ReadmissionConfig(_AfterDischarge):
    """Another admission within days of leaving the hospital alive."""

    kind: Literal["readmission"] = "readmission"
    name: OutcomeName = "readmission"
    days: int = Field(default=30, ge=1)
    """Days after discharge"""
    exclude: tuple[ExcludedReturn, ...] = ("elective", "same_day", "observation")
    """Returns that do not count as readmissions: planned ones, those on the day of discharge, and
    observation stays"""

    @property
    def columns(self) -> Columns:
        by_type = {"elective", "observation"} & set(self.exclude)
        return {"admissions": (_FLAG, "admission_type")} if by_type else super().columns


class OwnOutcomeConfig(_OutcomeConfig):
    """An outcome that the user defines, from a Parquet file."""

    kind: Literal["own"] = "own"
    name: OutcomeName
    file: Path
    """Parquet file with one row for each admission: hadm_id, and labels, a string or a list of
    strings; null: not observed"""
    one_of: bool = False
    """Each admission has exactly one of the labels (classes)"""
    min_count: int = Field(default=10, ge=1)
    """A label needs at least this many training admissions: reports name it, and what only one
    patient's row says should not be in them"""


class LabelsConfig(_OutcomeConfig):
    """Labels that stand beside the texts, in the table of a source of kind `table`."""

    tables = ("labels",)
    kind: Literal["labels"] = "labels"
    name: OutcomeName = Field(default="labels", description="The outcome's name in reports")
    column: str | None = None
    """A column that holds a row's labels: a list, or a text with separators between them; empty:
    not observed (a separator alone: observed, with none of them)"""
    separator: str = Field(default=";", min_length=1)
    """What stands between the labels in a text of `column`; with one_of nothing is cut"""
    flags: tuple[str, ...] = ()
    """Columns that are labels themselves: 1 where a row has the label, 0 where it does not; a row
    in which one is empty is not observed, so that columns known of different rows should be
    outcomes of their own"""
    predict_at: Literal["admission", "discharge"] = "discharge"
    """discharge: once the whole text is written; admission: before, for which the view 'full' is
    refused"""
    one_of: bool = False
    """Each row has exactly one of the labels (classes)"""
    min_count: int = Field(default=10, ge=1)
    """A label needs at least this many training rows: reports name it, and what only one patient's
    row says (a column of remarks, say, taken for labels) should not be in them"""

    @model_validator(mode="after")
    def _is_of_columns(self) -> LabelsConfig:
        if (self.column is None) == (not self.flags):
            raise ValueError("labels are in one 'column' of lists, or in columns 'flags': give one")
        folded = [flag.casefold() for flag in self.flags]
        if len(set(folded)) < len(folded):
            raise ValueError("a column is named twice in 'flags'; name each once")
        return self

    @property
    def columns(self) -> Columns:
        return {"labels": self.flags or (self.column or "",)}


OutcomeConfig = Annotated[
    DiagnosesConfig
    | ProceduresConfig
    | MortalityConfig
    | LengthOfStayConfig
    | VentilationConfig
    | DeathAfterDischargeConfig
    | ReadmissionConfig
    | OwnOutcomeConfig
    | LabelsConfig,
    Field(discriminator="kind"),
    KIND_ALONE,
]
