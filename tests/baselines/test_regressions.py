"""TF-IDF's regressions: as one process fits them, and nothing is left when one is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from scipy.sparse import random as random_matrix

from tasks.baselines import regressions
from tasks.baselines.regressions import Regressions, fit_labels
from tasks.errors import TrainingError
from tasks.reporting import Reading, listening

ROOT = Path(__file__).parents[2]
LABELS = 3 * regressions.LABELS_AT_ONCE


def data(rows: int = 120, terms: int = 40) -> tuple[object, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    matrix = random_matrix(rows, terms, 0.2, "csr", np.float32, generator)
    positives = generator.random((rows, LABELS)) < 0.3
    observed = generator.random((rows, LABELS)) < 0.9
    return matrix, positives, observed


def test_workers_fit_what_one_process_does_and_leave_nothing(tmp_path: Path) -> None:
    matrix, positives, observed = data()
    expected = fit_labels(matrix, positives, observed, 1.0)
    before = psutil.Process().children()
    with Regressions(tmp_path / "work") as fitted:
        terms = fitted.store("terms", matrix)
        for _ in range(2):
            found = fitted.fit(terms, positives, observed, 1.0)
            assert np.array_equal(found[0], expected[0])
            assert np.array_equal(found[1], expected[1])
        workers = [process for process, _ in fitted._workers]
        assert len(workers) == regressions.WORKERS
    assert not any(worker.is_alive() for worker in workers)
    assert not (tmp_path / "work").exists()
    left = [each for each in psutil.Process().children() if each not in before]
    assert all("resource_tracker" in " ".join(each.cmdline()) for each in left)


def test_it_says_how_far_it_has_come(tmp_path: Path) -> None:
    matrix, positives, observed = data()
    heard: list[Reading] = []
    with listening(heard.append), Regressions(tmp_path / "work", 2 * LABELS) as fitted:
        terms = fitted.store("terms", matrix)
        fitted.fit(terms, positives, observed, 1.0)
        for label in range(LABELS):
            fitted.fit(terms, positives[:, [label]], observed[:, [label]], 1.0)
    done = [each.done for each in heard]
    assert done[0] == regressions.LABELS_AT_ONCE
    assert done == sorted(done)
    assert (heard[-1].done, heard[-1].total) == (2 * LABELS, 2 * LABELS)


def test_few_labels_are_fitted_here(tmp_path: Path) -> None:
    matrix, positives, observed = data()
    with Regressions(tmp_path / "work") as fitted:
        fitted.fit(fitted.store("terms", matrix), positives[:, :3], observed[:, :3], 1.0)
        assert not fitted._workers


def test_each_fit_is_on_the_terms_that_it_names(tmp_path: Path) -> None:
    """The same workers fit one vocabulary after the other."""
    matrix, positives, observed = data()
    others = matrix[:, ::2].tocsr()  # type: ignore[index]
    with Regressions(tmp_path / "work") as fitted:
        first, second = fitted.store("first", matrix), fitted.store("second", others)
        for terms, stored in ((matrix, first), (others, second), (matrix, first)):
            weights, _ = fitted.fit(stored, positives, observed, 1.0)
            assert np.array_equal(weights, fit_labels(terms, positives, observed, 1.0)[0])


def test_what_a_worker_raises_is_raised_here(tmp_path: Path) -> None:
    matrix, positives, observed = data()
    with Regressions(tmp_path / "work") as fitted, pytest.raises(ValueError, match="'C'"):
        fitted.fit(fitted.store("terms", matrix), positives, observed, -1.0)


def test_a_worker_that_is_killed_is_said_to_be(tmp_path: Path) -> None:
    matrix, positives, observed = data()
    with Regressions(tmp_path / "work") as fitted:
        terms = fitted.store("terms", matrix)
        fitted.fit(terms, positives, observed, 1.0)
        process, _ = fitted._workers[0]
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with pytest.raises(TrainingError, match="was killed; if memory ran out"):
            fitted.fit(terms, positives, observed, 1.0)


PROGRAM = """
import sys
from pathlib import Path
from tests.baselines.test_regressions import data
from tasks.baselines.regressions import Regressions
if __name__ == "__main__":
    matrix, positives, observed = data(rows=2000, terms=400)
    with Regressions(Path(sys.argv[1])) as fitted:
        terms = fitted.store("terms", matrix)
        while True:
            fitted.fit(terms, positives, observed, 1e6)
            print("fitted", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=lambda each: each.name)
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path, how: signal.Signals) -> None:
    """And the terms are nowhere but in the folder that was given."""
    (tmp_path / "temporary").mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "work")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "temporary")},
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout
    assert parent.stdout.readline() == b"fitted\n"
    started = psutil.Process(parent.pid).children(recursive=True)
    assert len(started) > regressions.WORKERS  # and multiprocessing's tracker
    time.sleep(0.2)  # in the middle of a fit
    parent.send_signal(how)
    parent.wait(60)
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive
    assert not list(Path("/dev/shm").glob(f"*{parent.pid}*"))  # joblib's name says who made it
    assert not list((tmp_path / "temporary").rglob("*.npy"))
    assert sorted(path.name for path in (tmp_path / "work" / "terms").iterdir()) == [
        "data.npy", "indices.npy", "indptr.npy",
    ]  # fmt: skip
