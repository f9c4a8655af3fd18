"""Whether attention is worth something as an explanation, on curves made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks import schemas, tables
from tasks.data.reading import read_admissions
from tasks.errors import EvaluationError
from tasks.evaluate.faithfulness import faithfulness_rows
from tasks.evaluate.inputs import read_known
from tasks.evaluate.known import Known
from tasks.measures.faithfulness import STEPS
from tests.evaluate.made_up import make_run

LINE = np.linspace(0.8, 0.2, STEPS + 1)  # its area is 0.5
EARLY = np.array([0.8, *[0.2] * STEPS])  # 0.2 and half a step's triangle: 0.23


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    run = make_run(tmp_path_factory.mktemp("run"), admissions=200)
    return read_known("diagnoses", run.outcomes["diagnoses"], read_admissions(run.cohort))


def written(folder: Path, known: Known, admissions: list[int], **changed: Any) -> Path:
    rows = []
    for index, row in enumerate(admissions):
        label = int(np.flatnonzero(known.observed[row])[0])
        rows.append(
            {
                "variant": "fused",
                "hadm_id": int(known.hadm_id[row]),
                "outcome": "diagnoses",
                "code_system": known.code_systems[known.group[label]],
                "code": known.codes[label],
                "has_label": bool(known.cases[row, label]),
                "words": 40,
                "probability": 0.8,
                "without": 0.3,
                "without_random": 0.7,
                "deletion": EARLY + 0.01 * (index % 2),
                "insertion": LINE[::-1] + 0.1 - 0.01 * (index % 2),
                "random": LINE,
            }
            | changed
        )
    table = pa.Table.from_pylist(rows, schemas.EVIDENCE)
    tables.write(folder / "evidence" / "part-0.parquet", schemas.EVIDENCE, table)
    return folder


def test_areas_and_their_differences_are_means_with_intervals_over_patients(
    known: Known, tmp_path: Path
) -> None:
    artifact = written(tmp_path, known, list(range(40)))
    pooled = [row for row in faithfulness_rows([artifact], known) if row["code_system"] is None]
    rows = {row["metric"]: row for row in pooled}
    values = {metric: row["value"] for metric, row in rows.items()}
    assert values == pytest.approx(
        {
            "deletion_area": 0.23 + 0.005,
            "insertion_area": 0.6 - 0.005,
            "random_area": 0.5,
            "deletion_below_random": 0.27 - 0.005,
            "insertion_above_random": 0.1 - 0.005,
        }
    )
    below = rows["deletion_below_random"]
    assert 0.25 < below["low"] < below["value"] < below["high"] < 0.28
    assert below["n"] == 40
    assert below["n_patients"] == len(np.unique(known.patients[:40]))
    assert below["variant"] == "fused"


def test_each_code_system_has_rows_of_its_own_labels(known: Known, tmp_path: Path) -> None:
    artifact = written(tmp_path, known, list(range(40)))
    systems = [row["code_system"] for row in faithfulness_rows([artifact], known)]
    assert {system: systems.count(system) for system in systems} == {
        "icd9cm": 5,
        "icd10cm": 5,
        None: 5,
    }


def test_few_patients_have_no_interval(known: Known, tmp_path: Path) -> None:
    artifact = written(tmp_path, known, [0, 50, 90])
    row = next(iter(faithfulness_rows([artifact], known)))
    assert np.isnan(row["low"])
    assert "fewer than 10 patients" in row["method"]


def test_evidence_of_other_admissions_is_refused(known: Known, tmp_path: Path) -> None:
    artifact = written(tmp_path, known, [0], hadm_id=5)
    with pytest.raises(EvaluationError, match="not observed; run finetune anew"):
        list(faithfulness_rows([artifact], known))
    assert list(faithfulness_rows([written(tmp_path, known, [0], outcome="other")], known)) == []
