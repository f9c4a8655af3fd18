"""OMOP's tables (CDM 5.3 and 5.4), in the columns of MIMIC-IV's.

A visit is an admission. How it ended is in its discharged_to_concept_id, or follows from DEATH; the
codes are those of the source, not the standard concepts that they were mapped to. Codes that the
mapping moved to OBSERVATION or MEASUREMENT (many Z codes of ICD-10) are not read. A visit of one
day whose times are not known has no length, and is left out of the cohort.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks.ingest.concepts import Concepts
from tasks.ingest.demands import Rule
from tasks.ingest.layout import Layout, OpenTable, columns, filled
from tasks.ingest.lookup import look_up
from tasks.ingest.outcomes.codes import Kind, clean
from tasks.ingest.source_config import NoteRules, OmopRules
from tasks.schemas import DATE_TIME

_DIED = 4216643  # Patient died: the convention for discharge_to_concept_id
_SEXES = {8507: "M", 8532: "F"}
_RACES = {
    8657: "AMERICAN INDIAN OR ALASKA NATIVE",
    8515: "ASIAN",
    8516: "BLACK OR AFRICAN AMERICAN",
    8557: "NATIVE HAWAIIAN OR OTHER PACIFIC ISLANDER",
    8527: "WHITE",
}
_Read = Callable[[str], pa.Table | None]
_PREFIX: Mapping[Kind, str] = {"diagnoses": "condition", "procedures": "procedure"}
_PERSON = {"person_id": pa.int64()}
_VISIT = {"visit_occurrence_id": pa.int64()}
_MOMENTS = ("date", "datetime")


def layouts(rules: OmopRules, beside: Mapping[str, Path], share: float) -> Mapping[str, Layout]:
    """The tables by name.

    Args:
        beside: the files of other tables that rows are made from, too; see Layout.beside.
        share: of the rows of those that may be unusable.
    """

    @cache
    def read(name: str) -> pa.Table | None:
        """A table of which rows of others are made, as it is; None where there is none."""
        if name not in beside:
            return None
        [layout] = [layout for layout in made if layout.name == name]
        return OpenTable(layout, beside[name], share).table()

    made = [
        _notes("discharge", rules.notes, "DS"),
        _patients(),
        _races(),
        _death_rows(),
        _deaths(read),
        _visits(rules, read),
        _years(rules),
        Layout("concepts", ("concept",), columns({}, {}), aside=True),
        *(_codes(kind, rules, beside) for kind in _PREFIX),
    ]
    if rules.radiology:
        made.append(_notes("radiology", rules.radiology, "RR"))
    return {layout.name: layout for layout in made}


def _notes(name: str, rules: NoteRules, note_type: str) -> Layout:
    chosen = {"note_class_concept_id": rules.classes, "note_type_concept_id": rules.types}

    def shape(table: pa.Table) -> pa.Table:
        masks = [
            pc.is_in(table[column], pa.array(ids, pa.int64()))
            for column, ids in chosen.items()
            if ids
        ]
        if rules.titles:
            masks.append(
                pc.fill_null(
                    pc.match_substring_regex(table["note_title"], _pattern(rules.titles)), False
                )
            )
        kept = table.filter(reduce(pc.and_, masks))
        given = {
            "note_id": kept["note_id"],
            "subject_id": kept["person_id"],
            "hadm_id": kept["visit_occurrence_id"],
            "note_type": pa.repeat(note_type, kept.num_rows),
            "charttime": _moment(kept, "note"),
            "text": kept["note_text"],
        }
        return filled("discharge", kept.num_rows, given)

    schema = columns(
        {"note_id": pa.string(), **_PERSON, "note_text": pa.large_string()},
        {
            **_VISIT,
            **_moments("note"),
            "note_title": pa.string(),
            **dict.fromkeys(chosen, pa.int64()),
        },
    )
    titled = ("note_title",) if rules.titles else ()
    present = (*titled, *(column for column, ids in chosen.items() if ids), "visit_occurrence_id")
    return Layout(
        name,
        ("note",),
        schema,
        present=present,
        unknown=("storetime",),
        unique="note_id",
        shape=shape,
    )


def _patients() -> Layout:
    def shape(table: pa.Table) -> pa.Table:
        given = {
            "subject_id": table["person_id"],
            "gender": _words(table["gender_concept_id"], _SEXES),
            "born": _born(table),
        }
        return filled("patients", table.num_rows, given)

    numbers = ("gender_concept_id", "year_of_birth", "month_of_birth", "day_of_birth")
    schema = columns(_PERSON, {**dict.fromkeys(numbers, pa.int64()), "birth_datetime": DATE_TIME})
    return Layout("patients", ("person",), schema, unique="person_id", shape=shape)


def _races() -> Layout:
    schema = columns(_PERSON, {"race_concept_id": pa.int64()})
    return Layout("races", ("person",), schema, aside=True, unique="person_id")


def _death_rows() -> Layout:
    return Layout("death_rows", ("death",), columns(_PERSON, _moments("death")), aside=True)


def _deaths(read: _Read) -> Layout:
    """Each person, with a date of death if DEATH has one: who is not in it counts as alive."""

    def shape(table: pa.Table) -> pa.Table:
        given = {"subject_id": table["person_id"], "dod": _dod(table, read("death_rows"))}
        return filled("deaths", table.num_rows, given)

    of_death = ("death_rows",)
    schema = columns(_PERSON, {})
    return Layout("deaths", ("person",), schema, beside=of_death, needs=of_death, shape=shape)


def _visits(rules: OmopRules, read: _Read) -> Layout:
    def shape(table: pa.Table) -> pa.Table:
        table = _of_types(table, rules.visits)
        started, ended = _moment(table, "visit_start"), _moment(table, "visit_end")
        flag, died = _ends(table, started, ended, read("death_rows"))
        given = {
            "subject_id": table["person_id"],
            "hadm_id": table["visit_occurrence_id"],
            "admittime": started,
            "dischtime": ended,
            "hospital_expire_flag": flag,
            "deathtime": died,
        }
        if (races := read("races")) is not None:
            of_patient = look_up(races, "person_id", table["person_id"].to_numpy())
            given["race"] = _words(of_patient["race_concept_id"], _RACES)
        return filled("admissions", table.num_rows, given)

    started = Rule(
        "visit_start_date", "is empty", lambda table: _moment(table, "visit_start").is_null()
    )
    return Layout(
        "admissions",
        ("visit_occurrence",),
        columns(
            _PERSON | _VISIT,
            {
                "visit_concept_id": pa.int64(),
                **_moments("visit_start"),
                **_moments("visit_end"),
                "discharged_to_concept_id": pa.int64(),
            },
        ),
        {"discharged_to_concept_id": ("discharge_to_concept_id",)},  # its name in 5.3
        present=("visit_concept_id",) if rules.visits else (),
        unknown=("insurance", "language", "admission_type"),
        beside=("death_rows", "races"),
        unique="visit_occurrence_id",
        rules=(started,),
        shape=shape,
    )


def _years(rules: OmopRules) -> Layout:
    """The year of each visit as its patient's group of years."""

    def shape(table: pa.Table) -> pa.Table:
        table = _of_types(table, rules.visits)
        years = pc.cast(pc.year(_moment(table, "visit_start")), pa.string())
        given = {"subject_id": table["person_id"], "anchor_year_group": years}
        return filled("anchor_years", table.num_rows, given)

    schema = columns(_PERSON, {"visit_concept_id": pa.int64(), **_moments("visit_start")})
    return Layout("anchor_years", ("visit_occurrence",), schema, shape=shape)


def _codes(kind: Kind, rules: OmopRules, beside: Mapping[str, Path]) -> Layout:
    value, source = (f"{_PREFIX[kind]}_source_{end}" for end in ("value", "concept_id"))

    @cache
    def concepts() -> Concepts | None:
        return Concepts.read(beside["concepts"], kind) if "concepts" in beside else None

    def shape(table: pa.Table) -> pa.Table:
        version = pa.repeat(pa.scalar(rules.icd_version, pa.int32()), table.num_rows)
        code = clean(table[value])
        if known := concepts():
            row = pc.index_in(table[source], known.ids)
            is_mapped = pc.greater(pc.fill_null(table[source], 0), 0)
            code = pc.if_else(is_mapped, clean(pc.take(known.codes, row)), code)
            version = pc.if_else(is_mapped, pc.take(known.versions, row), version)
        given = {
            "subject_id": table["person_id"],
            "hadm_id": table["visit_occurrence_id"],
            "icd_code": code,
            "icd_version": version,
        }
        coded = filled("codes", table.num_rows, given)
        return coded.filter(pc.not_equal(coded["icd_code"], "")).drop_null()

    schema = columns(_PERSON, {**_VISIT, value: pa.string(), source: pa.int64()})
    present = ("visit_occurrence_id", value)
    file = f"{_PREFIX[kind]}_occurrence"
    return Layout(kind, (file,), schema, present=present, beside=("concepts",), shape=shape)


def _ends(
    table: pa.Table, started: pa.ChunkedArray, ended: pa.ChunkedArray, deaths: pa.Table | None
) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Whether each visit ended in death (1, 0, or null: not known), and when, if a time is known.

    What discharged_to_concept_id says counts. Where it says nothing, a death between the days on
    which the visit began and ended was in it; a visit that goes on has no known end.
    """
    to = pc.fill_null(table["discharged_to_concept_id"], 0)
    dod = _dod(table, deaths)
    first_day, last_day, death_day = (
        pc.floor_temporal(when, unit="day") for when in (started, ended, dod)
    )
    within = pc.and_(pc.greater_equal(death_day, first_day), pc.less_equal(death_day, last_day))
    inferred = pc.cast(pc.fill_null(within, False), pa.int32())
    if deaths is None:
        inferred = pa.nulls(table.num_rows, pa.int32())
    flag = pc.if_else(pc.equal(to, 0), inferred, pc.cast(pc.equal(to, _DIED), pa.int32()))
    flag = pc.if_else(ended.is_valid(), flag, None)
    timed = pc.and_(pc.equal(flag, 1), pc.not_equal(dod, death_day))
    return flag, pc.if_else(pc.fill_null(timed, False), dod, None)


def _dod(table: pa.Table, deaths: pa.Table | None) -> pa.ChunkedArray:
    """When each row's person died, by the first date in DEATH; null where there is none."""
    if deaths is None:
        return pa.chunked_array([pa.nulls(table.num_rows, DATE_TIME)])
    when = pa.table({"person_id": deaths["person_id"], "dod": _moment(deaths, "death")})
    first = when.group_by("person_id").aggregate([("dod", "min")])
    return look_up(first, "person_id", table["person_id"].to_numpy())["dod_min"]


def _moments(prefix: str) -> dict[str, pa.DataType]:
    return {f"{prefix}_{part}": DATE_TIME for part in _MOMENTS}


def _moment(table: pa.Table, prefix: str) -> pa.ChunkedArray:
    """The time of something, or its date where there is no time."""
    day, time = (table[f"{prefix}_{part}"] for part in _MOMENTS)
    return pc.coalesce(time, day)


def _of_types(table: pa.Table, types: Sequence[int]) -> pa.Table:
    if not types:
        return table
    return table.filter(pc.is_in(table["visit_concept_id"], pa.array(types, pa.int64())))


def _words(ids: pa.ChunkedArray, words: Mapping[int, str]) -> pa.ChunkedArray:
    """The word for each concept; null where there is none."""
    return pc.take(pa.array(list(words.values())), pc.index_in(ids, pa.array(list(words))))


def _born(table: pa.Table) -> pa.ChunkedArray:
    """The date of birth; the first of the month or year where no more is known."""
    year, month, day = (table[f"{unit}_of_birth"] for unit in ("year", "month", "day"))
    parts = [pc.cast(year, pa.string())] + [
        pc.cast(pc.fill_null(part, 1), pa.string()) for part in (month, day)
    ]
    text = pc.binary_join_element_wise(*parts, "-")
    parsed = pc.strptime(text, "%Y-%m-%d", "us", error_is_null=True)
    return pc.cast(pc.coalesce(table["birth_datetime"], parsed), pa.date32(), safe=False)


def _pattern(titles: Sequence[str]) -> str:
    """A regular expression of the titles that match one of the patterns, whatever their case."""
    starred = ("[\\s\\S]*".join(map(_escaped, title.strip().split("*"))) for title in titles)
    return rf"(?i)^\s*(?:{'|'.join(starred)})\s*$"


def _escaped(text: str) -> str:
    return "".join(letter if letter.isalnum() else rf"\x{{{ord(letter):x}}}" for letter in text)
