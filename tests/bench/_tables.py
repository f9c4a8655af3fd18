"""The tables of a MIMIC-IV of full size, or a share of it: counts, keys and times, by columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.synth.hospital import COLUMNS

COUNTS = {  # MIMIC-IV 2.2 and MIMIC-IV-Note 2.2
    "patients": 299_712,
    "admissions": 431_231,
    "discharge": 331_794,
    "radiology": 2_321_355,
    "diagnoses": 4_756_326,
    "procedures": 669_186,
    "icustays": 73_181,
    "procedureevents": 696_092,
}
# distinct full codes (a run of Edin et al.'s preparation on 3.0), by table and ICD version
_CODES = {"diagnoses": {9: 8_837, 10: 16_155}, "procedures": {9: 2_494, 10: 9_943}}
_TENTH_SHARE = 0.37
_INSIDE_SHARE = 0.6  # of the radiology reports, within an admission
_INVASIVE_SHARE = 0.045  # of the events of procedureevents, as in the open demo
_DAY = 1440  # minutes
Ints = NDArray[np.int64]
_KINDS = ("EW EMER.", "EU OBSERVATION", "OBSERVATION ADMIT", "URGENT", "ELECTIVE")
_YEARS = ("2008 - 2010", "2011 - 2013", "2014 - 2016", "2017 - 2019")


@dataclass(frozen=True)
class Keys:
    """The columns of some notes but for their text."""

    subject: list[int]
    hadm: list[int]  # 0: outside any admission
    number: list[int]
    chart: list[bytes]
    store: list[bytes]

    def rows(self) -> Iterator[tuple[int, int, int, bytes, bytes]]:
        """One note after the other."""
        return zip(self.subject, self.hadm, self.number, self.chart, self.store, strict=True)


@dataclass(frozen=True)
class Hospital:
    """Who was admitted when; all else is drawn as it is written."""

    share: float
    seed: int
    subject: Ints  # [patients], ascending
    patient: Ints  # [admissions], row of the patient, ascending
    hadm: Ints  # [admissions]
    admitted: Ints  # [admissions], minutes since 1970
    discharged: Ints  # [admissions]
    died: NDArray[np.bool_]  # [admissions]

    @classmethod
    def of(cls, share: float, seed: int) -> Hospital:
        random = np.random.default_rng(seed)
        patients, admissions = (_count(share, name) for name in ("patients", "admissions"))
        patient = np.sort(random.integers(0, patients, admissions))
        place = _place(patient)
        # years 2110 to 2190; 150 days between a patient's admissions hold the longest stay
        first = (140 * 365 + random.integers(0, 80 * 365, patients)) * _DAY
        admitted = first[patient] + place * 150 * _DAY + random.integers(0, 60 * _DAY, admissions)
        days = np.minimum(np.exp(1.1 + 0.9 * random.standard_normal(admissions)), 80)
        subject = 10_000_000 + np.sort(random.choice(9_999_999, patients, replace=False))
        return cls(
            share=share,
            seed=seed,
            subject=subject,
            patient=patient,
            hadm=20_000_000 + random.permutation(9_999_999)[:admissions],
            admitted=admitted,
            discharged=admitted + (days * _DAY).astype(np.int64),
            died=(random.random(admissions) < 0.02) & _is_last(patient),
        )

    def tables(self) -> Iterator[tuple[str, pa.Table]]:
        """The tables without text, by their place in the source."""
        random = np.random.default_rng(self.seed + 3)
        yield "hosp/patients", self._patients(random)
        yield "hosp/admissions", self._admissions(random)
        tenth = (random.random(len(self.subject)) < _TENTH_SHARE)[self.patient]
        for kind in ("diagnoses", "procedures"):
            codes = {version: _codes(version, count) for version, count in _CODES[kind].items()}
            yield f"hosp/{kind}_icd", self._coded(kind, codes, tenth, random)
            yield f"hosp/d_icd_{kind}", _titles(codes)
        chosen = np.sort(random.choice(len(self.hadm), self._of("icustays"), replace=False))
        ids = {"subject_id": self.subject[self.patient], "hadm_id": self.hadm}
        ids = {name: column[chosen] for name, column in ids.items()}
        ids["stay_id"] = ids["hadm_id"] + 10_000_000
        yield "icu/icustays", self._icustays(chosen, ids)
        yield "icu/procedureevents", self._events(chosen, ids, random)

    def noted(self, size: int) -> Iterator[Keys]:
        """The keys of the discharge notes, one an admission, in batches."""
        random = np.random.default_rng(self.seed + 4)
        rows = np.sort(random.choice(len(self.hadm), self._of("discharge"), replace=False))
        number = _place(self.patient[rows]) + 1
        for start in range(0, len(rows), size):
            here, of_patient = rows[start : start + size], number[start : start + size]
            out = self.discharged[here]
            patient, hadm, day = self.patient[here], self.hadm[here], out // _DAY * _DAY
            yield self._keys(patient, hadm, of_patient, day, out)

    def imaged(self, size: int) -> Iterator[Keys]:
        """The keys of the radiology reports, in batches, some outside any admission."""
        random = np.random.default_rng(self.seed + 5)
        rows = np.sort(random.integers(0, len(self.hadm), self._of("radiology")))
        number = _place(self.patient[rows]) + 1
        for start in range(0, len(rows), size):
            here, of_patient = rows[start : start + size], number[start : start + size]
            inside = random.random(len(here)) < _INSIDE_SHARE
            taken = self.admitted[here] + np.where(inside, 60, -9 * _DAY)
            hadm = np.where(inside, self.hadm[here], 0)
            yield self._keys(self.patient[here], hadm, of_patient, taken, taken + 45)

    def _of(self, name: str) -> int:
        return _count(self.share, name)

    def _keys(self, patient: Ints, hadm: Ints, number: Ints, chart: Ints, stored: Ints) -> Keys:
        columns = (self.subject[patient].tolist(), hadm.tolist(), number.tolist())
        return Keys(*columns, _clock(chart), _clock(stored))

    def _patients(self, random: np.random.Generator) -> pa.Table:
        count = len(self.subject)
        age, year = random.integers(18, 90, count), random.integers(2110, 2190, count)
        dead = random.random(count) < 0.08
        day = pa.array((year - 1970) * 365 + age, pa.int32(), mask=~dead).cast(pa.date32())
        sex, years = _any_of("FM", count, random), _any_of(_YEARS, count, random)
        return _table("hosp/patients", [self.subject, sex, age, year, years, day])

    def _admissions(self, random: np.random.Generator) -> pa.Table:
        count, out = len(self.hadm), self.discharged
        times = (_time(self.admitted), _time(out), _time(out, ~self.died))
        kind, race = _any_of(_KINDS, count, random), _any_of(("WHITE", "ASIAN"), count, random)
        left = pa.array(np.where(self.died, "DIED", "HOME"))
        person = [_all(text, count) for text in ("Medicare", "ENGLISH", "MARRIED")]
        columns = [self.subject[self.patient], self.hadm, *times, kind, _all("P0001A", count)]
        columns += [_all("EMERGENCY ROOM", count), left, *person, race, *[_none(count)] * 2]
        return _table("hosp/admissions", [*columns, self.died.astype(np.int64)])

    def _coded(
        self,
        kind: str,
        codes: dict[int, pa.Array],
        tenth: NDArray[np.bool_],
        random: np.random.Generator,
    ) -> pa.Table:
        rows = np.sort(random.integers(0, len(self.hadm), self._of(kind)))
        # frequency falls with the rank, as in Zipf's law
        rank = random.random(len(rows)) ** 5
        nine = codes[9].take(pa.array((rank * len(codes[9])).astype(np.int64)))
        ten = codes[10].take(pa.array((rank * len(codes[10])).astype(np.int64)))
        code = pc.if_else(pa.array(tenth[rows]), ten, nine)
        columns: list[Any] = [self.subject[self.patient[rows]], self.hadm[rows], _place(rows) + 1]
        if kind == "procedures":
            columns.append(pa.array((self.admitted[rows] // _DAY).astype(np.int32), pa.date32()))
        return _table(f"hosp/{kind}_icd", [*columns, code, np.where(tenth[rows], 10, 9)])

    def _icustays(self, chosen: Ints, ids: dict[str, Ints]) -> pa.Table:
        length = self.discharged[chosen] - self.admitted[chosen]
        start = self.admitted[chosen] + length // 10
        unit = _all("Medical Intensive Care Unit (MICU)", len(chosen))
        times = (_time(start), _time(start + length // 2), np.round(length / 2 / _DAY, 6))
        return _table("icu/icustays", [*ids.values(), unit, unit, *times])

    def _events(self, chosen: Ints, ids: dict[str, Ints], random: np.random.Generator) -> pa.Table:
        rows = np.sort(random.integers(0, len(chosen), self._of("procedureevents")))
        of = chosen[rows]
        length = self.discharged[of] - self.admitted[of]
        start = self.admitted[of] + length // 10 + random.integers(1, 30, len(of))
        minutes = (length * 0.4 * random.random(len(of))).astype(np.int64)
        invasive = random.random(len(of)) < _INVASIVE_SHARE
        end, one = _time(start + minutes), np.ones(len(of), np.int64)
        unit, kind, task = (_all(text, len(of)) for text in ("min", "Ventilation", "Task"))
        columns = [*(column[rows] for column in ids.values()), one * 40_000, _time(start), end, end]
        columns += [np.where(invasive, 225792, 225459), minutes, unit, *[_none(len(of))] * 2]
        columns += [one, one, kind, task, one * 70, one, one, task, minutes, one]
        return _table("icu/procedureevents", columns)


def _count(share: float, name: str) -> int:
    return max(round(COUNTS[name] * share), 1)


def _table(name: str, columns: list[Any]) -> pa.Table:
    return pa.table([pa.array(column) for column in columns], COLUMNS[name].split())


def _place(sorted_rows: Ints) -> Ints:
    """Each row's place among equal ones: [3, 3, 5] -> [0, 1, 0]."""
    return np.arange(len(sorted_rows)) - np.searchsorted(sorted_rows, sorted_rows)


def _is_last(patient: Ints) -> NDArray[np.bool_]:
    return np.append(patient[1:] != patient[:-1], True)


def _codes(version: int, count: int) -> pa.Array:
    """Distinct codes that look like ICD's, leading zeros and all."""
    if version == 9:
        return pa.array([f"{place * 7 % 10_000:04d}" for place in range(count)])
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return pa.array([f"{letters[n % 26]}{n // 26:03d}{n % 9}" for n in range(count)])


def _titles(codes: dict[int, pa.Array]) -> pa.Table:
    version = np.concatenate([np.full(len(listed), version) for version, listed in codes.items()])
    code = pa.concat_arrays(list(codes.values()))
    title = pc.binary_join_element_wise("Condition, unspecified, code", code, " ")
    return _table("hosp/d_icd_diagnoses", [code, version, title])


def _any_of(options: str | tuple[str, ...], count: int, random: np.random.Generator) -> pa.Array:
    return pa.array(list(options)).take(pa.array(random.integers(0, len(options), count)))


def _none(count: int) -> pa.Array:
    return pa.nulls(count, pa.string())


def _all(text: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(text), count)


def _time(minutes: Ints, missing: NDArray[np.bool_] | None = None) -> pa.Array:
    return pa.array(minutes * 60, pa.int64(), mask=missing).cast(pa.timestamp("s"))


def _clock(minutes: Ints) -> list[bytes]:
    texts = _time(minutes).cast(pa.string()).to_pylist()
    return [text.encode() for text in texts]
