"""Logistic regressions, a label each, fitted by processes that leave nothing behind.

joblib would do the same, but keeps the notes' terms in /dev/shm, and its workers run on for minutes
after a parent that was killed. Here the terms lie in a folder that is given, and a worker ends with
its parent.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
import warnings
from collections import deque
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.baselines.vocabularies import Terms
from tasks.dumps import forbid_core_dumps
from tasks.errors import TrainingError
from tasks.reporting import Reading, report

LABELS_AT_ONCE = 8  # of one worker's turn: few, so that all end at about the same time
WORKERS = 2

Weights = tuple[NDArray[np.float64], NDArray[np.float64]]  # [labels, terms] and biases [labels]


class Regressions:
    """Fits one regression a label on the same rows of terms; workers start when needed."""

    def __init__(self, folder: Path, expected: int = 0) -> None:
        """`folder` holds the terms; it is made when the first are stored, and gone at the end.

        Args:
            expected: about how many regressions there will be in all, for the progress that is
                reported.
        """
        self.folder = folder
        self.expected = expected
        self.fitted = 0
        self._workers: list[tuple[Any, Connection]] = []

    def __enter__(self) -> Regressions:
        return self

    def __exit__(self, *_: object) -> None:
        for process, pipe in self._workers:
            pipe.close()
            process.terminate()
            process.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def store(self, name: str, matrix: Any) -> Terms:
        """Keep a csr_matrix [rows, terms], to fit on, under a name of its own."""
        return Terms.write(matrix, self.folder / name)

    def fit(
        self,
        terms: Terms,
        positives: NDArray[np.bool_],
        observed: NDArray[np.bool_],
        strength: float,
    ) -> Weights:
        """Weights and biases; a label of one class keeps zeros."""
        labels = np.arange(positives.shape[1])
        parts = np.array_split(labels, max(1, len(labels) // LABELS_AT_ONCE))
        tasks = [(terms, positives[:, part], observed[:, part], strength) for part in parts]
        # processes: most of a fit is Python, which threads would take turns at
        try:
            fitted = self._spread(tasks) if len(tasks) > 1 else [self._fit_here(*tasks[0])]
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise TrainingError(
                "a process that fits TF-IDF was killed; if memory ran out, lower "
                "baselines.tfidf.max_features, and run again"
            ) from None
        return (
            np.concatenate([weights for weights, _ in fitted]),
            np.concatenate([biases for _, biases in fitted]),
        )

    def _fit_here(self, terms: Terms, *task: Any) -> Weights:
        made = fit_labels(terms.read(), *task)
        self._report(made)
        return made

    def _report(self, made: Weights) -> None:
        self.fitted += len(made[1])
        report(Reading(self.fitted, max(self.expected, self.fitted), "regressions"))

    def _spread(self, tasks: list[tuple[Any, ...]]) -> list[Weights]:
        """Give each worker a task, and another whenever it is done; results in order."""
        if not self._workers:
            self._start()
        results: dict[int, Weights] = {}
        waiting = deque(enumerate(tasks))
        at_work: dict[Connection, int] = {}
        free = [pipe for _, pipe in self._workers]
        while waiting or at_work:
            while waiting and free:
                pipe = free.pop()
                at_work[pipe], task = waiting.popleft()
                pipe.send(task)
            ready = connection.wait(list(at_work))
            for pipe in [pipe for pipe in at_work if pipe in ready]:
                received = pipe.recv()
                if isinstance(received, Exception):
                    raise received
                results[at_work.pop(pipe)] = received
                self._report(received)
                free.append(pipe)
        return [results[number] for number in range(len(tasks))]

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        for _ in range(WORKERS):
            here, there = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(there,), daemon=True)
            process.start()
            there.close()
            self._workers.append((process, here))


def fit_labels(
    terms: Any, positives: NDArray[np.bool_], observed: NDArray[np.bool_], strength: float
) -> Weights:
    """One logistic regression for each column; weights [labels, terms] and biases [labels].

    L-BFGS: 5 s for the demo's 272 labels on one core, where liblinear took 17 to 31 s.
    """
    from sklearn.linear_model import LogisticRegression

    weights, biases = np.zeros((positives.shape[1], terms.shape[1])), np.zeros(positives.shape[1])
    for label in range(positives.shape[1]):
        rows = np.flatnonzero(observed[:, label])
        cases = positives[rows, label]
        if not len(rows) or cases.all() or not cases.any():
            continue
        model = LogisticRegression(C=strength, solver="lbfgs", max_iter=200)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a rare label may not converge; its AUROC tells
            model.fit(terms[rows], cases)
        weights[label], biases[label] = model.coef_[0], model.intercept_[0]
    return weights, biases


def _serve(pipe: Connection) -> None:
    """Fit what comes through the pipe until it ends; the body of a worker."""
    from sklearn.linear_model import LogisticRegression  # noqa: F401 - its BLAS, to be limited
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)  # a worker a core: 240 labels in 3.1 s, 9.3 s with two threads each
    forbid_core_dumps()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            terms, *task = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(fit_labels(terms.read(), *task))
        except Exception as error:
            pipe.send(error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
    os._exit(1)
