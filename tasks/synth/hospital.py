"""Writes the tables of the hosp and icu modules, row by row, with the columns of MIMIC-IV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip

from tasks.synth import draws
from tasks.synth.catalog import SEXES, Catalog
from tasks.synth.latent import Admissions, Patients
from tasks.synth.phrases import from_yaml
from tasks.synth.stays import Stays

_TABLES = from_yaml("tables.yaml")
COLUMNS: dict[str, str] = _TABLES["mimic_iv"]


def weighted(name: str) -> tuple[str, ...]:
    """The values of a column of tables.yaml, each as often as its weight says."""
    weights: dict[str, int] = _TABLES[name]
    return tuple(value for value, weight in weights.items() for _ in range(weight))


_TYPES, _OBSERVATION = weighted("admission_types"), weighted("observation_types")
_OBSERVED_FOR = np.timedelta64(2 * 1440, "m")
_BY_EMERGENCY = ("EW EMER.", "EU OBSERVATION", "OBSERVATION ADMIT")
_FROM, _HOME = weighted("admission_locations"), weighted("discharge_locations")
_HOSPICE_DAYS, _HOSPICE_SHARE = 30, 0.4  # share of those who die within these days
_INSURANCE, _LANGUAGE = weighted("insurances"), weighted("languages")
_MARRIED, _RACE = weighted("marital_states"), weighted("races")

Row = Sequence[Any]


class Tables:
    """The open source folder: one gzipped CSV for each table, streamed, without a time stamp."""

    def __init__(self, folder: Path, columns: Mapping[str, str] = COLUMNS) -> None:
        self._open = ExitStack()
        self._writers: dict[str, Any] = {}
        self.rows: dict[str, int] = {}
        for name, header in columns.items():
            file = self._file(folder / (name if name.endswith(".csv") else f"{name}.csv.gz"))
            self._writers[name] = csv.writer(file, lineterminator="\n")
            self._writers[name].writerow(header.split())
            self.rows[name] = 0

    def _file(self, path: Path) -> io.TextIOWrapper:
        path.parent.mkdir(parents=True, exist_ok=True)
        raw: Any = self._open.enter_context(path.open("wb"))
        if path.suffix == ".gz":
            raw = igzip.IGzipFile(  # type: ignore[no-untyped-call]
                fileobj=raw, filename="", mode="wb", compresslevel=1, mtime=0
            )
            self._open.callback(raw.close)
        text = io.TextIOWrapper(raw, encoding="utf-8", newline="", write_through=False)
        self._open.callback(text.flush)
        return text

    def add(self, name: str, rows: Iterable[Row]) -> None:
        """Write rows to a table; None is an empty field."""
        listed = list(rows)
        self._writers[name].writerows(listed)
        self.rows[name] += len(listed)

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()


def dictionaries(catalog: Catalog) -> dict[str, list[Row]]:
    """The rows of the tables that explain codes and items."""
    diagnoses: dict[tuple[str, int], str] = {}
    for condition in catalog.conditions:
        for version, groups in condition.groups.items():
            diagnoses |= {(code.code, version): code.title for group in groups for code in group}
    diagnoses |= {(code, 10): title for code, title in catalog.icd10_categories.items()} | diagnoses
    procedures = {
        (code.code, version): code.title
        for procedure in catalog.procedures
        for version, codes in procedure.codes.items()
        for code in codes
    }
    return {
        "hosp/d_icd_diagnoses": [(*key, title) for key, title in sorted(diagnoses.items())],
        "hosp/d_icd_procedures": [(*key, title) for key, title in sorted(procedures.items())],
        "icu/d_items": [
            (item, label, label, "procedureevents", category, "None", "Processes", None, None)
            for item, label, category in _TABLES["items"]
        ],
    }


def patient_rows(patients: Patients, stays: Stays) -> Iterator[Row]:
    """Rows of hosp/patients."""
    columns = (stays.subject_id, patients.sex, stays.anchor_age, stays.anchor_year)
    for row, (subject, sex, age, year) in enumerate(
        zip(*(c.tolist() for c in columns), strict=True)
    ):
        dod = stays.dod[row]
        death = None if np.isnat(dod) else str(dod)
        yield subject, SEXES[sex], age, year, stays.year_group[row], death


def admission_rows(seed: int, admissions: Admissions, stays: Stays) -> Iterator[Row]:
    """Rows of hosp/admissions."""
    uniform = draws.uniforms(seed, "desk", admissions.key, 6)
    # what stays the same for a person is drawn with the key of the first admission
    person = draws.uniforms(seed, "register", admissions.key - admissions.ordinal, 3)
    short = stays.discharged - stays.admitted <= _OBSERVED_FOR
    for row in range(len(admissions)):
        visit, kept = uniform[row], person[row]
        admitted, discharged = stays.admitted[row], stays.discharged[row]
        died = bool(stays.died[row])
        brief = short[row] and not stays.intensive[row] and not died
        types = _OBSERVATION if brief and visit[0] < 0.5 else _TYPES  # half of the brief stays
        kind = pick_or_none(types, visit[0] * 2 % 1)
        emergency = kind in _BY_EMERGENCY
        registered = admitted - np.timedelta64(60 + int(visit[4] * 400), "m")
        if admissions.ordinal[row]:  # back on the day of discharge: registered only after it
            registered = max(registered, stays.discharged[row - 1])
        yield (
            int(stays.subject_id[admissions.patient[row]]),
            int(stays.hadm_id[row]),
            clock(admitted),
            clock(discharged),
            clock(discharged) if died else None,
            kind,
            f"P{int(visit[5] * 36**4) % 10000:04d}A",
            "EMERGENCY ROOM" if emergency else pick_or_none(_FROM, visit[1]),
            "DIED" if died else _goes_to(admissions, stays, row, visit[2]),
            pick_or_none(_INSURANCE, kept[0]),
            pick_or_none(_LANGUAGE, kept[1]),
            pick_or_none(_MARRIED, visit[3]),
            pick_or_none(_RACE, kept[2]),
            clock(registered) if emergency else None,
            clock(admitted + np.timedelta64(45, "m")) if emergency else None,
            int(died),
        )


def clock(minute: np.datetime64) -> str:
    """A minute in MIMIC's format: 2180-05-06 22:23:00."""
    return f"{str(minute).replace('T', ' ')}:00"


def _goes_to(admissions: Admissions, stays: Stays, row: int, uniform: float) -> str | None:
    dod = stays.dod[admissions.patient[row]]
    if admissions.last[row] and not np.isnat(dod) and uniform < _HOSPICE_SHARE:
        days = dod - stays.discharged[row].astype("datetime64[D]")
        if days <= np.timedelta64(_HOSPICE_DAYS, "D"):
            return "HOSPICE"
    return pick_or_none(_HOME, uniform)


def pick_or_none(options: Sequence[str], uniform: float) -> str | None:
    """Pick an option by a number in [0, 1); an empty one is None."""
    return draws.pick(options, uniform) or None
