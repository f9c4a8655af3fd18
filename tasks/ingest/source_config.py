"""Where the notes come from: MIMIC's folder, one table of the user's own, or OMOP's tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from tasks.config import Config

ColumnName = Annotated[str, Field(min_length=1)]


class TableColumns(Config):
    """What the columns of a user's own table are called, case aside; a row is a text."""

    kind: Literal["table"] = "table"
    text: ColumnName = "text"
    """Column of the text"""
    id: ColumnName = "id"
    """Column that names the row, each name once: whole numbers, or any words"""
    patient: ColumnName | None = "patient"
    """Column that names the patient, whose rows all go into one split; null: every row is another
    patient's"""
    time: ColumnName | None = None
    """Column of when the text was written, as 2024-05-31 or 2024-05-31 14:30:00; split.method
    'temporal' needs it, with its years as groups; null: not known"""
    split: ColumnName | None = None
    """Column of the row's split (train, validation or test), for split.method 'column'; null: there
    is none"""

    @model_validator(mode="after")
    def _columns_differ(self) -> TableColumns:
        names = [self.text, self.id, self.patient, self.time, self.split]
        folded = [name.casefold() for name in names if name is not None]
        if len(set(folded)) < len(folded):
            raise ValueError(
                "a column is named twice; name each once, and set patient to null where every row "
                "is another patient's"
            )
        return self


class TableSource(TableColumns):
    """One table of texts, with their labels beside them (outcomes of kind 'labels')."""

    path: Path
    """The table: .csv, .csv.gz or .parquet"""

    @property
    def rules(self) -> TableColumns:
        """How it is read, without where it is."""
        return TableColumns(**self.model_dump(exclude={"path"}))


class NoteRules(Config):
    """Which rows of OMOP's NOTE are meant; a row must fit every list that is not empty."""

    titles: tuple[str, ...] = ()
    """Patterns of note_title, whatever their case; * matches anything, as in *discharge summary*"""
    classes: tuple[int, ...] = ()
    """Values of note_class_concept_id"""
    types: tuple[int, ...] = ()
    """Values of note_type_concept_id"""

    @model_validator(mode="after")
    def _chooses(self) -> NoteRules:
        if not (self.titles or self.classes or self.types):
            raise ValueError(
                "name the notes that are read, by titles, classes or types; titles: ['*'] reads all"
            )
        return self


class OmopRules(Config):
    """How OMOP's tables (CDM 5.3 and 5.4) are read."""

    kind: Literal["omop"] = "omop"
    notes: NoteRules
    """The notes from which outcomes are predicted, such as discharge summaries"""
    radiology: NoteRules | None = None
    """The radiology reports; null: none are read"""
    # Inpatient Visit; Emergency Room and Inpatient Visit
    visits: tuple[int, ...] = (9201, 262)
    """Values of visit_concept_id that are admissions; empty: every visit is one"""
    icd_version: Literal[9, 10] | None = None
    """Version of the ICD codes in *_source_value where *_source_concept_id is 0 or empty, or there
    is no CONCEPT table; null: such rows are left out"""


class OmopSource(OmopRules):
    """A folder of OMOP's tables: NOTE, VISIT_OCCURRENCE, PERSON, and those of the outcomes."""

    path: Path
    """The folder of .csv, .csv.gz or .parquet files, named as the tables are"""

    @property
    def rules(self) -> OmopRules:
        """How it is read, without where it is."""
        return OmopRules(**self.model_dump(exclude={"path"}))


Rules = TableColumns | OmopRules


def _without_kind_mimic(given: Any) -> Any:
    match given:
        case {"kind": "mimic", "path": path, **rest} if not rest:
            return path
        case _:
            return given


def _kind_of(given: Any) -> str:
    if isinstance(given, dict):
        return str(given.get("kind", "none"))
    return str(getattr(given, "kind", "mimic"))


SourceConfig = Annotated[
    Annotated[Path, Tag("mimic")]
    | Annotated[TableSource, Tag("table")]
    | Annotated[OmopSource, Tag("omop")],
    Discriminator(
        _kind_of,
        custom_error_type="source_kind",
        custom_error_message="a source is a folder of MIMIC's, or has the kind table or omop",
    ),
    BeforeValidator(_without_kind_mimic),
]
