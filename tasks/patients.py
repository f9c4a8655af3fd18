"""A patient's split: a keyed hash of subject_id, stable when a release adds patients."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tasks.sampling import keyed_uniforms

OWN_RELEASE = "source"  # the release whose patients are split; others go by their own names
SPLITS = ("train", "validation", "test")


def split_of(subject_ids: Iterable[int], *, key: str, validation: float, test: float) -> list[str]:
    """Return each patient's split.

    Patients are ranked by a number in [0, 1) that the key and subject_id alone decide. The test
    split takes the lowest share, validation the next, train the rest, so that a patient never
    changes split when others are added.

    >>> split_of([10000032, 10000980], key="clinfuse", validation=0.1, test=0.2)
    ['validation', 'train']
    """
    uniform = keyed_uniforms(subject_ids, key)
    below = [uniform < test, uniform < test + validation]
    splits: list[str] = np.select(below, ["test", "validation"], "train").tolist()
    return splits
