"""Counts, while the population passes by, what the report prints of the generator's difficulty."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.synth.evidence import Said
from tasks.synth.population import Chunk, World

_MIN_COUNT = 10  # ingest's default: a label needs so many training admissions
_NOT_OF_NOW = (Said.NEGATED, Said.HISTORICAL, Said.RELATIVE)


class Tally:
    """Running counts over chunks; `facts` gives them as the report prints them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._said_present = np.zeros(len(Said), np.int64)
        self._said_absent = np.zeros(len(Said), np.int64)
        self._train = [np.zeros(len(space.labels), np.int64) for space in world.spaces]
        self._counts: dict[str, int] = dict.fromkeys(
            ("patients", "admissions", "admissions_noted", "admissions_icd10_noted", "deaths"), 0
        )
        self._counts |= dict.fromkeys(
            ("admissions_usable_train", "deaths_test_noted", "admissions_ventilated"), 0
        )
        self._conditions = 0

    def add(self, chunk: Chunk) -> None:
        """Count a chunk."""
        said, present = chunk.evidence.said, chunk.admissions.present
        self._said_present += np.bincount(said[present], minlength=len(Said))
        self._said_absent += np.bincount(said[~present], minlength=len(Said))
        self._conditions += int(present.sum())
        split = np.array(chunk.split)[chunk.admissions.patient]
        stays = chunk.stays
        for place, labels in enumerate(chunk.labels):
            training = (split[labels.rows] == "train") & stays.noted[labels.rows]
            self._train[place] += labels.drawn[training].sum(0)
        added = {
            "patients": len(chunk.split),
            "admissions": len(split),
            "admissions_noted": stays.noted.sum(),
            "admissions_icd10_noted": (stays.noted & (stays.version == 10)).sum(),
            "deaths": stays.died.sum(),
            "admissions_usable_train": (chunk.usable & (split == "train")).sum(),
            "deaths_test_noted": (stays.died & stays.noted & (split == "test")).sum(),
            "admissions_ventilated": stays.ventilated.sum(),
        }
        for name, value in added.items():
            self._counts[name] += int(value)

    def facts(self) -> dict[str, Any]:
        """The measured facts, by name."""
        mentions = (self._said_present + self._said_absent)[1:].sum()
        elsewhere = sum(self._said_present[s] + self._said_absent[s] for s in _NOT_OF_NOW)
        conditions = self._world.catalog.conditions
        forms = [len(c.forms) + len(c.held_out) + 1 for c in conditions]
        labels = {
            f"labels_{space.outcome}_{space.system}": int((count >= _MIN_COUNT).sum())
            for space, count in zip(self._world.spaces, self._train, strict=True)
        }
        return {
            **self._counts,
            **labels,
            "labels_diagnoses": labels["labels_diagnoses_icd9cm"]
            + labels["labels_diagnoses_icd10cm"],
            "conditions": len(conditions),
            "conditions_an_admission": _rounded(self._conditions, self._counts["admissions"]),
            "unmentioned_share": _rounded(self._said_present[0], self._said_present.sum()),
            "not_of_now_share": _rounded(elsewhere, mentions),
            "forms_a_condition_least": min(forms),
            "held_out_forms_share": _rounded(sum(len(c.held_out) for c in conditions), sum(forms)),
        }


def _rounded(part: float, whole: float) -> float:
    return round(float(part) / float(whole), 4) if whole else 0.0
