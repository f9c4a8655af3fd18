"""What the ingest stage reads, how it splits the patients, and which outcomes it makes."""

import math
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from tasks.config import KIND_ALONE, Config
from tasks.ingest.outcomes.config import (
    DiagnosesConfig,
    MortalityConfig,
    OutcomeConfig,
    ProceduresConfig,
)
from tasks.ingest.source_config import SourceConfig, TableSource


class SplitConfig(Config):
    """Which patients train, which choose between models, and which are only tested on."""

    method: Literal["hash", "stratified", "temporal", "file", "column"] = "hash"
    """hash: by a keyed hash of subject_id, so that a patient never changes split when others are
    added; stratified: so that each code category has about its share in each split (patients may
    change split when others are added); temporal: the latest groups of anchor_year_group, the only
    calendar time in MIMIC, are the test split (of other sources the latest years); file: read from
    a file; column: from the source's own column of splits (ingest.source.split)"""
    key: str = Field(default="clinfuse", min_length=1)
    """Key of the hash; another key gives another split (hash and stratified)"""
    # 70/10/20 by patient, as CORE's lists have it
    validation: float = Field(default=0.1, ge=0, lt=1)
    """Share of patients for validation; temporal: the whole groups that come nearest to it"""
    test: float = Field(default=0.2, ge=0, lt=1)
    """Share of patients for the test; temporal: the whole groups that come nearest to it"""
    min_patients: int = Field(default=5, ge=1)  # fewer, and a share of 0.2 is less than one patient
    """A label with fewer patients than this is too rare to be split: they all go to train (method
    stratified)"""
    test_groups: tuple[str, ...] = ()
    """Groups in the test split, such as '2017 - 2019', or of other sources than MIMIC years, such
    as '2024'; empty: chosen by share (method temporal)"""
    validation_groups: tuple[str, ...] = ()
    """Groups in the validation split; needs test_groups (temporal)"""
    file: Path | None = None
    """CSV, Parquet or Feather file with the columns split (train, test, and validation, val or dev)
    and subject_id, or hadm_id or _id for a list of admissions; other columns are not read. Or a
    folder with one file for each split, named after it (method file)"""

    @model_validator(mode="after")
    def _fits_together(self) -> "SplitConfig":
        if self.method == "file" and self.file is None:
            raise ValueError("method 'file' needs the key 'file'")
        if self.method != "file" and self.file is not None:
            raise ValueError("a file is given; set method to 'file', or leave the file out")
        if self.method != "temporal" and (self.test_groups or self.validation_groups):
            raise ValueError("groups are given; set method to 'temporal', or leave the groups out")
        if self.validation_groups and not self.test_groups:
            raise ValueError("validation_groups needs test_groups")
        if both := set(self.test_groups) & set(self.validation_groups):
            raise ValueError(f"the group {min(both)!r} is of the test and of validation")
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave no patient to train on")
        return self


class GuardConfig(Config):
    """Which notes are kept out of pretraining because they nearly equal a held-out patient's."""

    mode: Literal["off", "report", "drop"] = "drop"
    """drop: notes of training patients, and of releases without splits, that are nearly the same as
    a validation or test patient's discharge note are left out of pretraining; report: they are only
    counted; off: nothing is compared"""
    threshold: float = Field(default=0.8, ge=0.5, le=1)
    """Notes count as nearly the same if the Jaccard similarity of their shingles is at least
    this"""
    shingle_words: int = Field(default=5, ge=1, le=20)
    """Words in a shingle, the unit that is compared"""
    permutations: int = Field(default=128, ge=16, le=1024)
    """Length of a MinHash signature; four times the length halves the error of the similarity,
    which is 0.035 at a similarity of 0.8 with 128"""
    count_radiology: bool = False
    """Compare radiology reports too, and count them; they are never dropped, since templates make
    the reports of unrelated patients alike"""

    @field_validator("mode", mode="before")
    @classmethod
    def _yaml_off(cls, given: object) -> object:
        return "off" if given is False else given  # YAML 1.1 reads a bare off as false


class AdmissionView(Config):
    """The eight sections of the discharge summary that are known at admission."""

    known_after_hours: ClassVar[float] = 0.0  # after admission, all of the text
    kind: Literal["admission"] = "admission"


class FullView(Config):
    """The whole discharge summary, for coding."""

    known_after_hours: ClassVar[float] = math.inf
    kind: Literal["full"] = "full"


class RadiologyView(Config):
    """The radiology reports of the admission's first hours."""

    kind: Literal["radiology"] = "radiology"
    before_hours: float = Field(default=24, gt=0)
    """Take the reports stored at most this many hours after admission; where the time of storing is
    not known, the time of the exam counts"""

    @property
    def known_after_hours(self) -> float:
        return self.before_hours


class EarlyView(Config):
    """The notes of the admission's first hours, whole."""

    kind: Literal["early"] = "early"
    before_hours: float = Field(default=24, gt=0)
    """Take the notes written at most this many hours after admission; one with a date alone counts
    as written when that day ends"""

    @property
    def known_after_hours(self) -> float:
        return self.before_hours


View = Annotated[
    AdmissionView | FullView | RadiologyView | EarlyView, Field(discriminator="kind"), KIND_ALONE
]


class IngestConfig(Config):
    """How a source's files become notes, patient splits, admissions and outcomes."""

    source: SourceConfig
    """Folder of .csv.gz or .csv files: MIMIC-IV's note/, hosp/ and icu/, or MIMIC-III's tables,
    recognized by NOTEEVENTS. Or a source of a kind: table, one table of texts; omop, OMOP's"""
    note_source: Path | None = None
    """Folder that holds note/, if MIMIC-IV-Note is not in the same folder as MIMIC-IV"""
    include_radiology: bool = True
    """Also read the radiology reports, for pretraining"""
    pretraining_sources: tuple[Path, ...] = ()
    """Folders of other releases whose notes are read for pretraining only; their patients cannot be
    linked with the source's, so that only ingest.guard keeps the notes of held-out patients out"""
    max_reject_share: float = Field(default=0.01, ge=0, le=1)
    """Stop if more than this share of a table's rows cannot be used"""
    split: SplitConfig = Field(default_factory=SplitConfig)
    """How patients are split; all stages use this split"""
    guard: GuardConfig = Field(default_factory=GuardConfig)
    """What to do with notes that nearly equal a held-out patient's"""
    view: View = Field(default_factory=AdmissionView)
    """The text of an admission from which outcomes are predicted"""
    allow_leak: bool = False
    """Allow a view that holds more than is known when an outcome is predicted; the report then says
    so at its top"""
    # CORE leaves newborns out of MIMIC-III; MIMIC-IV has none
    exclude_admission_types: tuple[str, ...] = ("NEWBORN",)
    """Admission types to leave out of the cohort, whatever their case; * matches anything, as in
    *OBSERVATION*"""
    outcomes: tuple[OutcomeConfig, ...] = Field(
        default=(DiagnosesConfig(), ProceduresConfig(), MortalityConfig()), min_length=1
    )
    """What to predict from an admission's note"""

    @model_validator(mode="after")
    def _names_differ(self) -> "IngestConfig":
        names = [outcome.name for outcome in self.outcomes]
        if len(set(names)) < len(names):
            raise ValueError("two outcomes have the same name; give one of them another 'name'")
        return self

    @model_validator(mode="after")
    def _fits_its_source(self) -> "IngestConfig":
        column = self.source.split if isinstance(self.source, TableSource) else None
        if (self.split.method == "column") != (column is not None):
            raise ValueError(
                "split.method 'column' and source.split, which names the column of splits, go "
                "together; give both, or neither"
            )
        if isinstance(self.source, TableSource) and isinstance(
            self.view, RadiologyView | EarlyView
        ):
            raise ValueError(
                f"a source of kind 'table' says nothing of admissions, which the view "
                f"'{self.view.kind}' counts hours from; take 'full'"
            )
        return self

    @model_validator(mode="after")
    def _view_does_not_leak(self) -> "IngestConfig":
        if self.leaks and not self.allow_leak:
            raise ValueError(
                f"{self.leaks[0]}; set the outcome's predict_at, take another view, or set "
                "allow_leak"
            )
        return self

    @property
    def leaks(self) -> tuple[str, ...]:
        """One phrase for each outcome that is predicted before all of the view is known."""
        known_after_hours = self.view.known_after_hours
        return tuple(
            f"the view '{self.view.kind}' is known {_time(known_after_hours)}, outcome "
            f"'{outcome.name}' is predicted {_time(outcome.predicted_after_hours)}"
            for outcome in self.outcomes
            if known_after_hours > outcome.predicted_after_hours
        )


def _time(hours: float) -> str:
    if not hours:
        return "at admission"
    return "at discharge" if math.isinf(hours) else f"{hours:g} hours after admission"
