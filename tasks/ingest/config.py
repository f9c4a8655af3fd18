"""What the ingest stage reads, how it splits the patients, and which outcomes it makes."""

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.config import Config
from tasks.ingest.outcomes.config import (
    DiagnosesConfig,
    MortalityConfig,
    OutcomeConfig,
    ProceduresConfig,
)


class SplitConfig(Config):
    """Which patients train, which choose between models, and which are only tested on."""

    method: Literal["hash", "file"] = Field(
        default="hash",
        description="hash: by a keyed hash of subject_id, so that a patient never changes split "
        "when others are added; file: as a CSV file says",
    )
    key: str = Field(
        default="clinfuse", min_length=1, description="The hash's key; another key, another split"
    )
    # 70/10/20 by patient, as CORE's lists have it
    validation: float = Field(
        default=0.1, ge=0, lt=1, description="Share of patients for validation (method hash)"
    )
    test: float = Field(
        default=0.2, ge=0, lt=1, description="Share of patients for the test (method hash)"
    )
    file: Path | None = Field(
        default=None,
        description="CSV file with the columns subject_id and split (train, validation or val or "
        "dev, test); its other columns are not read (method file)",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "SplitConfig":
        if self.method == "file" and self.file is None:
            raise ValueError("method 'file' needs the key 'file'")
        if self.method == "hash" and self.file is not None:
            raise ValueError("a file is given; set method to 'file', or leave the file out")
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave no patient to train on")
        return self


class AdmissionView(Config):
    """The eight sections of the discharge summary that are known at admission."""

    kind: Literal["admission"] = "admission"

    @property
    def known_after_hours(self) -> float:
        """Hours after admission at which all of the text is known."""
        return 0.0


class FullView(Config):
    """The whole discharge summary, for coding."""

    kind: Literal["full"] = "full"

    @property
    def known_after_hours(self) -> float:
        """Infinite: it is written at discharge."""
        return math.inf


class RadiologyView(Config):
    """The radiology reports of the admission's first hours."""

    kind: Literal["radiology"] = "radiology"
    before_hours: float = Field(
        default=24,
        gt=0,
        description="Reports stored within so many hours after admission (taken, where the time "
        "of storing is not known)",
    )

    @property
    def known_after_hours(self) -> float:
        """Hours after admission at which all of the text is known."""
        return self.before_hours


View = Annotated[AdmissionView | FullView | RadiologyView, Field(discriminator="kind")]


class IngestConfig(Config):
    """From MIMIC's files to notes, patient splits, admissions and outcomes."""

    source: Path = Field(
        description="Folder of .csv.gz or .csv files: MIMIC-IV's note/, hosp/ and icu/, or "
        "MIMIC-III's tables, told by NOTEEVENTS"
    )
    note_source: Path | None = Field(
        default=None,
        description="Folder that holds note/ where MIMIC-IV-Note lies apart from MIMIC-IV; "
        "empty: the same folder",
    )
    include_radiology: bool = Field(
        default=True, description="Read the radiology reports too; only pretraining uses them"
    )
    max_reject_share: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Stop when more than this share of a table's rows cannot be used",
    )
    split: SplitConfig = Field(
        default_factory=SplitConfig, description="How patients are split, for all stages alike"
    )
    view: View = Field(
        default_factory=AdmissionView,
        description="The text of an admission that outcomes are predicted from",
    )
    allow_leak: bool = Field(
        default=False,
        description="Predict from a view that knows more than there is at an outcome's time of "
        "prediction; the report says so at its top",
    )
    exclude_admission_types: tuple[str, ...] = Field(
        default=("NEWBORN",),  # CORE leaves them out of MIMIC-III; MIMIC-IV has none
        description="Types of admission left out of the cohort, case aside; * stands for anything, "
        "as in *OBSERVATION*",
    )
    outcomes: tuple[OutcomeConfig, ...] = Field(
        default=(DiagnosesConfig(), ProceduresConfig(), MortalityConfig()),
        min_length=1,
        description="What is predicted from an admission's note",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> "IngestConfig":
        names = [outcome.name for outcome in self.outcomes]
        if len(set(names)) < len(names):
            raise ValueError("two outcomes have the same name; give one of them another 'name'")
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
        """For each outcome that the view knows too much for: what it knows, and when."""
        view = self.view
        return tuple(
            f"the view '{view.kind}' is known {_time(view.known_after_hours)}, outcome "
            f"'{outcome.name}' is predicted {_time(outcome.predicted_after_hours)}"
            for outcome in self.outcomes
            if view.known_after_hours > outcome.predicted_after_hours
        )


def _time(hours: float) -> str:
    if not hours:
        return "at admission"
    return "at discharge" if math.isinf(hours) else f"{hours:g} hours after admission"
