"""How often 95% intervals hold the truth, in simulations where it is exact, and how long they are.

Peers, on the same samples: the interval that takes admissions for independent, the plain one,
clustered by patient but normal, linear and blind to what labels of one patient hide, and for length
the cluster bootstrap's. The number of samples is the environment variable REPLICATES, 2,000 unless
told; `REPLICATES=200` takes some minutes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from tasks import threads
from tasks.measures.auroc import LabelAurocs, label_aurocs
from tasks.measures.bootstrap import cluster_bootstrap
from tasks.measures.estimates import Estimate
from tasks.measures.intervals import (
    difference,
    interval,
    standard_error,
)
from tasks.measures.pool import micro
from tasks.measures.sample import Sample
from tasks.measures.small_samples import lone_influence
from tasks.measures.wilson import Z
from tests.bench import _hospital
from tests.bench._coverage_rows import REPLICATES, coverage_row, percent, print_table, table_of
from tests.bench._hospital import Hospital
from tests.bench._label_coverage import alone_rows, shape_rows

PROCESSES = 2
MEASURES = ("macro", "weighted by cases", "micro", "macro difference, paired")
SIZES = (("coded", 200), ("rare", 1_000), ("coded", 1_000), ("coded", 10_000))
WORDS = {"coded": "40 labels of 1% to 30%", "rare": "200 labels of 0.05% to 5%"}
DRAWS = 1_000


@dataclass(frozen=True)
class Coverage:
    """What the replicates of one measure say."""

    held: float  # share of the intervals given that hold the truth
    naive: float  # the same, admissions for independent
    plain: float  # the same, clustered by patient and nothing more
    width: float  # mean
    deviation: float  # of the estimate less its truth, over replicates
    error: float  # mean standard error
    bias: float
    withheld: float  # share of the replicates

    def monte_carlo(self, replicates: int) -> float:
        """The standard error of a coverage of 95% over so many replicates."""
        return float(np.sqrt(0.95 * 0.05 / replicates))


def rows() -> list[dict[str, Any]]:
    """Coverage by size and measure, of labels alone; the bootstrap beside the influences."""
    _say_correlations()
    found = []
    for kind, admissions in SIZES:
        began = time.perf_counter()
        with ProcessPoolExecutor(PROCESSES, initializer=_one_thread) as pool:
            work = partial(replicate, kind, admissions)
            drawn = np.stack(list(pool.map(work, range(REPLICATES), chunksize=10)))
        found += _size_rows(kind, admissions, summarized(drawn), time.perf_counter() - began)
    return found + alone_rows() + shape_rows() + _bootstrap_rows()


def replicate(kind: str, admissions: int, number: int) -> NDArray[np.float64]:
    """One sample: what each measure errs by, and what its intervals are; [measures, 6]."""
    hospital = hospital_of(kind)
    sample = hospital.sample(admissions, np.random.default_rng([7, admissions, number]))
    seen, patients = np.ones_like(sample.cases), sample.patients
    first = label_aurocs(Sample.of(sample.scores, sample.cases, seen, patients))
    second = label_aurocs(Sample.of(sample.second, sample.cases, seen, patients))
    drawn = first.defined()  # the estimand: the mean over the labels defined in the sample
    true, true_second = hospital.auroc[drawn].mean(), hospital.auroc_second[drawn].mean()
    weighted = float(np.average(hospital.auroc[drawn], weights=hospital.prevalence[drawn]))
    ours, theirs = first.macro(), second.macro()
    apart = ours.minus(theirs)
    hidden = _lone(first)
    shown = apart.influence - hidden + _lone(second)
    by_cases, pooled = (
        first.weighted(),
        micro(Sample.of(sample.scores, sample.cases, seen, patients)),
    )
    return np.array(
        [
            _outcome(interval(one, patients), one, plain, truth, patients)
            for one, plain, truth in (
                (ours, ours.influence - hidden, true),
                (by_cases, by_cases.influence, weighted),
                (pooled, pooled.influence, hospital.micro),
            )
        ]
        + [_outcome(difference(ours, theirs, patients), apart, shown, true - true_second, patients)]
    )


def summarized(drawn: NDArray[np.float64]) -> list[Coverage]:
    """What replicates, [replicates, measures, 6], say of each measure."""
    found = []
    for measure in range(drawn.shape[1]):
        err, held, naive, plain, width, error = drawn[:, measure].T
        found.append(
            Coverage(
                float(np.nanmean(held)),
                float(naive.mean()),
                float(plain.mean()),
                float(np.nanmean(width)),
                float(err.std()),
                float(error.mean()),
                float(err.mean()),
                float(np.isnan(held).mean()),
            )
        )
    return found


@cache
def hospital_of(kind: str) -> Hospital:
    """`coded`: frequent and rare codes; `rare`: a long tail, of which one patient has many."""
    random = np.random.default_rng(0)
    if kind == "coded":
        return Hospital(np.geomspace(0.01, 0.3, 40), random.permutation(np.linspace(0.65, 0.9, 40)))
    return Hospital(
        np.geomspace(0.0005, 0.05, 200), random.permutation(np.linspace(0.6, 0.95, 200))
    )


def _outcome(
    found: Any,
    estimate: Estimate,
    bare: NDArray[np.float64],
    true: float,
    patients: NDArray[np.int64],
) -> list[float]:
    """The error, held by ours, naive and plain, our width and standard error."""
    err = estimate.value - true
    naive = abs(err) <= Z * standard_error(bare, np.arange(len(patients)))
    plain = abs(err) <= Z * standard_error(bare, patients)
    held = float("nan") if found.reason else float(found.low <= true <= found.high)
    error = standard_error(estimate.influence, patients)
    return [err, held, float(naive), float(plain), found.high - found.low, error]


def _lone(labels: LabelAurocs) -> NDArray[np.float64]:
    """What the macro's influences hold for labels of one patient."""
    defined = labels.defined()
    admissions = len(labels.macro().influence)
    weight = defined / defined.sum()
    return lone_influence(labels.auroc, weight, labels.rarer, labels.lone, admissions)


def _one_thread() -> None:
    threads.THREADS = 1  # the processes take the cores


def _size_rows(
    kind: str, admissions: int, found: Sequence[Coverage], seconds: float
) -> list[dict[str, Any]]:
    table = table_of(
        f"{admissions:,} admissions, {WORDS[kind]}; {REPLICATES:,} samples in {seconds:.0f} s",
        ("measure", "holds", "independent", "plain", "width", "SE/SD", "bias/SD", "none"),
    )
    listed = []
    for measure, one in zip(MEASURES, found, strict=True):
        table.add_row(
            measure,
            *(percent(share) for share in (one.held, one.naive, one.plain)),
            f"{one.width:.4f}",
            f"{one.error / one.deviation:.3f}",
            f"{one.bias / one.deviation:+.3f}",
            percent(one.withheld),
        )
        what = f"coverage of {measure}, {admissions:,} admissions, {WORDS[kind]}"
        listed.append(
            coverage_row(what, one.held, one.naive, "admissions for independent")
            | {"plain": one.plain, "width": one.width, "deviation": one.deviation}
            | {"standard_error": one.error, "bias": one.bias, "withheld": one.withheld}
        )
    print_table(table)
    return listed


def _bootstrap_rows() -> list[dict[str, Any]]:
    """Time and standard error at the size of the paper's diagnoses."""
    hospital = Hospital(np.geomspace(0.0005, 0.3, 1_266), np.linspace(0.6, 0.95, 1_266))
    sample = hospital.sample(9_829, np.random.default_rng(1))
    cells = sample.scores, sample.cases, np.ones_like(sample.cases), sample.patients
    began = time.perf_counter()
    macro = label_aurocs(Sample.of(*cells)).macro()
    found = interval(macro, sample.patients)
    ours = time.perf_counter() - began
    began = time.perf_counter()
    drawn = cluster_bootstrap(Sample.of(*cells), DRAWS).macro()
    peer = time.perf_counter() - began
    size = f"macro AUROC, 1,266 labels x {len(sample.patients):,} admissions"
    name = f"cluster bootstrap, {DRAWS:,} draws, as evaluate.bootstrap_draws makes it"
    error = standard_error(macro.influence, sample.patients)
    seconds = {"unit": "s", "ours": ours, "peer": peer, "ratio": peer / ours}
    errors = {"unit": "AUROC", "ours": error, "peer": drawn.standard_error, "ratio": None}
    low, high = drawn.bounds
    widths = {"unit": "AUROC", "ours": found.high - found.low, "peer": high - low, "ratio": None}
    return [
        {"what": f"{what}, {size}", "peer_name": name, "goal": None} | row
        for what, row in (("interval", seconds), ("standard error", errors), ("width", widths))
    ]


def _say_correlations() -> None:
    patient, own, admission, _ = _hospital.PRESENCE
    Console().print(
        "Correlations of the normal variables behind labels: "
        f"{patient + own:.2f} of a label within a patient, {patient + admission:.2f} across the "
        "labels of an admission; behind scores: "
        f"{sum(_hospital.ERROR[:2]):.2f} and {_hospital.ERROR[0] + _hospital.ERROR[2]:.2f}; the "
        f"two models' errors {_hospital.BETWEEN_MODELS:.2f}; of how often a patient comes with its "
        f"share of all labels {_hospital.SICKNESS:.2f}.\n1 to 5 admissions a patient, "
        f"{_hospital.MEAN_ADMISSIONS:.2f} on average. The truth is exact for admissions of "
        "different patients; pairs within a patient, of lower AUROC noise, are a share of about "
        "2 / patients and are in the bias.",
        highlight=False,
    )
