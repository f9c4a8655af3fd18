"""Under ZeRO-3 each rank holds a part of the base, in training and in prediction; the result is
that of one rank that holds all of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

from tasks.finetune.members import FUSED
from tasks.finetune.stage import _predicting
from tasks.launch import LaunchConfig, launch
from tests.finetune.conftest import Inputs

ZERO3 = Path(__file__).parents[2] / "configs" / "deepspeed" / "zero3.json"
TWO = LaunchConfig(ranks=2, threads_per_rank=1, accelerator="cpu")

pytestmark = pytest.mark.slow


def test_a_member_is_trained_and_predicts_in_parts(inputs: Inputs, tmp_path: Path) -> None:
    logits, states = {}, {}
    for name, ranks, deepspeed in (("whole", LaunchConfig(), None), ("parts", TWO, ZERO3)):
        out = tmp_path / name
        job = inputs.job(epochs=1, collapse_below=0, deepspeed=deepspeed)
        launch("tasks.finetune.train", job, out / "work", ranks)
        predicting = _predicting(FUSED, job, out)
        launch("tasks.finetune.predict", predicting, out / "predicted" / "work", ranks)
        states[name] = load_file(out / "adapter_model.safetensors") | load_file(
            out / "head.safetensors"
        )
        table = pq.read_table(out / "predicted" / "fused" / "diagnoses" / "test.parquet")
        logits[name] = np.array(table["logits"].to_pylist())
    for key, tensor in states["whole"].items():
        assert_close(states["parts"][key], tensor, rtol=1e-3, atol=1e-4, msg=key)
    np.testing.assert_allclose(logits["parts"], logits["whole"], rtol=1e-2, atol=1e-3)


def test_a_rank_holds_a_part_of_the_base(inputs: Inputs, tmp_path: Path) -> None:
    out = tmp_path / "held"
    job = inputs.job(epochs=1, collapse_below=0, deepspeed=ZERO3)
    launch("tests.finetune.held", job, out / "work", TWO)
    held = [int(path.read_text()) for path in sorted(out.glob("work/held-*"))]
    total = sum(tensor.numel() for tensor in load_file(inputs.base / "model.safetensors").values())
    assert len(held) == 2
    assert max(held) < 0.6 * total
