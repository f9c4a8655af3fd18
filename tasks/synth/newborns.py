"""The newborns among MIMIC-III's patients: admissions that studies leave out."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import numpy as np

from tasks.synth import draws
from tasks.synth.hospital import Row
from tasks.synth.latent import MOST_ADMISSIONS
from tasks.synth.release import MIMIC_III

NEWBORN_CODE = ("V3000", "Single liveborn, born in hospital, delivered without cesarean section")
_EVERY = 12  # patients
_TEXT = (
    "HISTORY OF PRESENT ILLNESS:  Term infant born to a [**Name (NI) **] mother, Apgars 8, 9.\n\n"
    "PHYSICAL EXAMINATION:  Pink, active.\n\nDISCHARGE DIAGNOSIS:  Healthy newborn."
)


class Newborns:
    """Counts the patients, and adds a newborn after every twelfth."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._patients = 0

    def after(self, patients: int) -> Iterator[tuple[str, list[Row]]]:
        """Rows of each table (no ROW_ID) for the newborns due after that many more patients."""
        first, self._patients = self._patients // _EVERY, self._patients + patients
        for number in range(first, self._patients // _EVERY):
            yield from self._rows(number)

    def _rows(self, number: int) -> Iterator[tuple[str, list[Row]]]:
        draw = Random(f"{self._seed}/iii newborn/{number}")
        # their ids begin where those of the other patients end
        position = np.array([MIMIC_III.most_patients + number])
        subject = int(MIMIC_III.subject_ids(self._seed, position)[0])
        hadm = int(MIMIC_III.admission_id(self._seed, position * MOST_ADMISSIONS)[0])
        born = np.datetime64("2110-01-01T00:00:00") + int(draw.random() * 80 * 365 * 86_400)
        gone = born + np.timedelta64(60, "h")
        day, start, end = (
            str(time).replace("T", " ") for time in (gone.astype("<M8[D]"), born, gone)
        )
        ids = (subject, hadm)
        places = ("PHYS REFERRAL/NORMAL DELI", "HOME", "Private", None, "NOT SPECIFIED", None)
        yield (
            "ADMISSIONS",
            [(*ids, start, end, None, "NEWBORN", *places, "WHITE", None, None, "NEWBORN", 0, 1)],
        )
        sex = draws.pick("FM", draw.random())
        yield "PATIENTS", [(subject, sex, f"{start[:10]} 00:00:00", None, None, None, 0)]
        yield "DIAGNOSES_ICD", [(*ids, 1, NEWBORN_CODE[0])]
        for category in ("Nursing/other", "Discharge summary"):
            yield "NOTEEVENTS", [(*ids, day, None, None, category, "Report", None, None, _TEXT)]
