"""AUROC of 1,266 labels x 9,829 admissions, the paper's diagnoses, against scikit-learn."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tasks.evaluate.measures.auroc import label_aurocs, micro
from tasks.evaluate.measures.intervals import interval
from tasks.ranking import auroc_by_label

ADMISSIONS, LABELS, PATIENTS = 9_829, 1_266, 7_000
BOOTSTRAP_DRAWS, DRAWS_TIMED = 1_000, 5


def rows() -> list[dict[str, Any]]:
    """Time each on the same arrays, best of three; the bootstrap is extrapolated from 5 draws."""
    from sklearn.metrics import roc_auc_score

    scores, cases, patients = _made_up()
    observed = np.ones_like(cases)

    def bootstrap() -> None:
        random = np.random.default_rng(0)
        for _ in range(DRAWS_TIMED):
            drawn = random.integers(0, ADMISSIONS, ADMISSIONS)
            roc_auc_score(cases[drawn], scores[drawn], average=None)

    def with_intervals() -> None:
        interval(label_aurocs(scores, cases, observed, patients).macro(), patients)

    before = _peak_mib()
    ours = {
        "AUROC of every label": _seconds(lambda: auroc_by_label(scores, cases, observed)),
        "macro AUROC with its interval": _seconds(with_intervals),
        "micro AUROC with its influences": _seconds(lambda: micro(scores, cases, observed)),
    }
    peak = _peak_mib() - before  # above the arrays themselves, before the peer runs
    sklearn = "scikit-learn roc_auc_score"
    peers = {
        "AUROC of every label": (
            _seconds(lambda: roc_auc_score(cases, scores, average=None)),
            f"{sklearn}(average=None)",
            10.0,
        ),
        "macro AUROC with its interval": (
            _seconds(bootstrap, 1) / DRAWS_TIMED * BOOTSTRAP_DRAWS,
            f"{BOOTSTRAP_DRAWS} bootstrap draws of {sklearn}, extrapolated from {DRAWS_TIMED}",
            1000.0,
        ),
        "micro AUROC with its influences": (
            _seconds(lambda: roc_auc_score(cases, scores, average="micro"), 1),
            f"{sklearn}(average='micro'), the value alone",
            None,
        ),
    }
    return [
        {
            "what": f"{what}, {LABELS} labels x {ADMISSIONS} admissions",
            "unit": "s",
            "ours": ours[what],
            "peer": seconds,
            "peer_name": name,
            "ratio": seconds / ours[what],
            "goal": goal,
            "peak_mib": peak,
        }
        for what, (seconds, name, goal) in peers.items()
    ]


def _made_up() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, long-tailed cases, patients; C-contiguous arrays, the peer's fast case."""
    random = np.random.default_rng(0)
    prevalence = np.clip(0.002 + 0.004 * random.pareto(1.2, LABELS), 0, 0.5)
    cases = random.random((ADMISSIONS, LABELS)) < prevalence
    cases[0], cases[1] = True, False  # every label has a case and a control
    scores = random.standard_normal((ADMISSIONS, LABELS), np.float32) + cases
    patients = np.unique(random.integers(0, PATIENTS, ADMISSIONS), return_inverse=True)[1]
    return scores.astype(np.float32), cases, patients


def _seconds(work: Callable[[], object], times: int = 3) -> float:
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
