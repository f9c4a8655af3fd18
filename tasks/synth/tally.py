"""Counts, chunk by chunk, what the report prints about the difficulty of the generated data."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from tasks.synth.evidence import Mention
from tasks.synth.population import Chunk, World

_MIN_COUNT = 10  # ingest's default: a label needs this many training admissions
_NOT_CURRENT = (Mention.NEGATED, Mention.HISTORICAL, Mention.RELATIVE)


class Tally:
    """Running counts over chunks; `facts` gives them as the report prints them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._present = np.zeros(len(Mention), np.int64)
        self._absent = np.zeros(len(Mention), np.int64)
        self._train = [np.zeros(len(space.labels), np.int64) for space in world.spaces]
        self._counts = Counter[str]()
        self._conditions = 0

    def add(self, chunk: Chunk) -> None:
        """Count a chunk."""
        mentions, present = chunk.evidence.mentions, chunk.admissions.present
        self._present += np.bincount(mentions[present], minlength=len(Mention))
        self._absent += np.bincount(mentions[~present], minlength=len(Mention))
        self._conditions += int(present.sum())
        split = np.array(chunk.split)[chunk.admissions.patient]
        stays = chunk.stays
        for number, labels in enumerate(chunk.labels):
            training = (split[labels.rows] == "train") & stays.noted[labels.rows]
            self._train[number] += labels.drawn[training].sum(0)
        counts = {
            "patients": len(chunk.split),
            "admissions": len(split),
            "admissions_noted": stays.noted.sum(),
            "admissions_icd10_noted": (stays.noted & (stays.version == 10)).sum(),
            "deaths": stays.died.sum(),
            "admissions_usable_train": (chunk.usable & (split == "train")).sum(),
            "deaths_test_noted": (stays.died & stays.noted & (split == "test")).sum(),
            "admissions_ventilated": stays.ventilated.sum(),
        }
        self._counts.update({name: int(count) for name, count in counts.items()})

    def facts(self) -> dict[str, Any]:
        """The measured facts, by name."""
        mentions = (self._present + self._absent)[1:].sum()
        elsewhere = sum(self._present[s] + self._absent[s] for s in _NOT_CURRENT)
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
            "unmentioned_share": _rounded(self._present[0], self._present.sum()),
            "not_of_now_share": _rounded(elsewhere, mentions),
            "forms_a_condition_least": min(forms),
            "held_out_forms_share": _rounded(sum(len(c.held_out) for c in conditions), sum(forms)),
        }


def _rounded(part: float, whole: float) -> float:
    return round(float(part) / float(whole), 4) if whole else 0.0
