"""AUROC of 1,266 labels x 9,829 admissions, the paper's diagnoses, against its peers."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tasks.measures.auroc import label_aurocs
from tasks.measures.intervals import interval
from tasks.measures.pool import micro
from tasks.measures.ranking import auroc_by_label
from tasks.measures.sample import Sample
from tests.bench._memory import high_water_mib

ADMISSIONS, LABELS, PATIENTS = 9_829, 1_266, 7_000
BOOTSTRAP_DRAWS, DRAWS_TIMED = 1_000, 5
ROUNDS = 5  # ours and the peer by turns, the medians compared
SKLEARN = "scikit-learn roc_auc_score"


def rows() -> list[dict[str, Any]]:
    """Time each beside its peer on the same arrays; the bootstrap is extrapolated from 5 draws."""
    scores, cases, patients = _made_up()
    observed = np.ones_like(cases)

    def with_interval() -> object:
        return interval(
            label_aurocs(Sample.of(scores, cases, observed, patients)).macro(), patients
        )

    size = f"{LABELS} labels x {ADMISSIONS} admissions"
    return [
        _row(
            f"AUROC of every label, {size}",
            lambda: auroc_by_label(scores, cases, observed),
            lambda: _sklearn(scores, cases, average=None),
            f"{SKLEARN}(average=None)",
            goal=10.0,
        ),
        _row(
            "the same",
            lambda: auroc_by_label(scores, cases, observed),
            lambda: _torchmetrics(scores, cases),
            "torchmetrics MultilabelAUROC(average=None)",
            rounds=1,
        ),
        _row(
            "macro AUROC with its 95% interval",
            with_interval,
            lambda: _bootstrap(scores, cases),
            f"{BOOTSTRAP_DRAWS} bootstrap draws of {SKLEARN}, extrapolated from {DRAWS_TIMED}",
            goal=1000.0,
            rounds=1,
            times=BOOTSTRAP_DRAWS / DRAWS_TIMED,
        ),
        _row(
            "micro AUROC with its influences",
            lambda: micro(Sample.of(scores, cases, observed, patients)),
            lambda: _sklearn(scores, cases, average="micro"),
            f"{SKLEARN}(average='micro'), the value alone",
            rounds=3,
        ),
        _memory_row(),
    ]


def _row(
    what: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    peer: str,
    *,
    goal: float | None = None,
    rounds: int = ROUNDS,
    times: float = 1.0,
) -> dict[str, Any]:
    ours()  # once unmeasured: pages and threads are there
    spent = [(_seconds(ours), _seconds(theirs)) for _ in range(rounds)]
    more = [_seconds(ours) for _ in range(ROUNDS - rounds)]  # the peer is slow: ours alone
    own = statistics.median([*(mine for mine, _ in spent), *more])
    other = times * statistics.median(its for _, its in spent)
    return {
        "what": what,
        "unit": "s",
        "ours": own,
        "peer": other,
        "peer_name": peer,
        "ratio": other / own,
        "goal": goal,
        "peak_mib": None,
    }


def _memory_row() -> dict[str, Any]:
    """In a process of its own: what the arrays and the work on them add, over the logits' size."""
    program = "from tests.bench.auroc import measure_memory; measure_memory()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, peak = map(float, done.stdout.split())
    logits = ADMISSIONS * LABELS * 4 / 2**20
    return {
        "what": "memory of AUROC, interval and micro, with logits and labels",
        "unit": "x logits",
        "ours": (peak - before) / logits,
        "peer": None,
        "peer_name": "at most",
        "ratio": None,
        "goal": 3.0,
        "peak_mib": round(peak),
    }


def measure_memory() -> None:
    """Print the process's peak in MiB before the arrays are made, and after the work on them."""
    import scipy.special  # noqa: F401 - what intervals need is loaded before we begin

    small = np.zeros((4, 2), np.float32), np.eye(4, 2, dtype=bool), np.ones((4, 2), bool)
    label_aurocs(Sample.of(*small))
    before = high_water_mib()
    random = np.random.default_rng(0)
    scores = random.standard_normal((ADMISSIONS, LABELS), np.float32)
    cases = scores > 2.5  # made without a larger array beside them
    observed = np.ones_like(cases)
    patients = np.unique(random.integers(0, PATIENTS, ADMISSIONS), return_inverse=True)[1]
    interval(label_aurocs(Sample.of(scores, cases, observed, patients)).macro(), patients)
    interval(micro(Sample.of(scores, cases, observed, patients)), patients)
    print(before, high_water_mib())


def _made_up() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, long-tailed cases, patients; C-contiguous arrays, the peer's fast case."""
    random = np.random.default_rng(0)
    prevalence = np.clip(0.002 + 0.004 * random.pareto(1.2, LABELS), 0, 0.5)
    cases = random.random((ADMISSIONS, LABELS)) < prevalence
    cases[0], cases[1] = True, False  # every label has a case and a control
    scores = random.standard_normal((ADMISSIONS, LABELS), np.float32) + cases
    patients = np.unique(random.integers(0, PATIENTS, ADMISSIONS), return_inverse=True)[1]
    return scores.astype(np.float32), cases, patients


def _sklearn(scores: np.ndarray, cases: np.ndarray, average: str | None) -> object:
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(cases, scores, average=average)


def _bootstrap(scores: np.ndarray, cases: np.ndarray) -> None:
    random = np.random.default_rng(0)
    for _ in range(DRAWS_TIMED):
        drawn = random.integers(0, ADMISSIONS, ADMISSIONS)
        _sklearn(scores[drawn], cases[drawn], average=None)


def _torchmetrics(scores: np.ndarray, cases: np.ndarray) -> object:
    import torch
    from torchmetrics.functional.classification import multilabel_auroc

    likely = torch.sigmoid(torch.from_numpy(scores))
    return multilabel_auroc(likely, torch.from_numpy(cases).int(), LABELS, average=None)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
