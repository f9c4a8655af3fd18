"""How likely unseen notes are before and after domain pretraining, with intervals over patients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.data.reading import read_table, refused, table_of
from tasks.measures.estimates import Estimate
from tasks.measures.intervals import interval
from tasks.metrics_table import NEXT_TOKEN, to_table, valued

_METHOD = "ratio of sums, delta method over patients"
_NO_BOUNDS = (-math.inf, math.inf)


def perplexity_rows(artifact: Path, of: str = NEXT_TOKEN) -> Iterator[dict[str, Any]]:
    """Rows for the base ("before"), with the clinical adapter ("after"), and both compared.

    The loss is the total negative log-likelihood in nats / total tokens, perplexity exp(loss). Bits
    per byte is the same total in bits over the notes' UTF-8 bytes. An encoder, which scores masked
    words only, has neither: its loss is no text's. A ratio whose interval lies below 1, or a
    difference whose interval lies below 0, says that the adapter reads unseen patients' notes
    better than the base.

    Args:
        of: what the tokens are: NEXT_TOKEN, OWN_OUTPUT or FITTED_OUTPUT.
    """
    table = read_table(table_of(artifact, "perplexity"), schemas.PERPLEXITY)
    tokens, sizes = (table[name].to_numpy().astype(np.float64) for name in ("tokens", "bytes"))
    before, after = table["nll_before"].to_numpy(), table["nll_after"].to_numpy()
    if not tokens.sum() > 0 or not sizes.sum() > 0 or not np.isfinite(before + after).all():
        raise refused(
            artifact,
            f"the perplexity table ({len(table)} rows) has no tokens or no finite likelihoods; "
            "run pretrain anew",
        )
    patients = np.unique(table["subject_id"].to_numpy(), return_inverse=True)[1]
    named = {
        "variant": "clinical",
        "split": "validation",
        "outcome": of,
        "n": len(table),
        "n_patients": int(patients.max()) + 1,
        "positives": 0,
    }
    nats = {"before": before, "after": after, "diff": after - before}
    for name, sums in nats.items():
        loss = interval(_ratio(sums, tokens), patients, _NO_BOUNDS)
        if of == NEXT_TOKEN:
            ends = np.exp([loss.value, loss.low, loss.high]).tolist()
            perplexity = replace(loss, value=ends[0], low=ends[1], high=ends[2])
            metric = "perplexity_ratio" if name == "diff" else f"perplexity_{name}"
            yield valued(metric, perplexity, _METHOD) | named
        yield valued(f"loss_{name}", loss, _METHOD) | named
        if of == NEXT_TOKEN:
            bits = interval(_ratio(sums / math.log(2), sizes), patients, _NO_BOUNDS)
            yield valued(f"bits_per_byte_{name}", bits, _METHOD) | named


def write_adapter_metrics(
    out: Path, perplexities: Mapping[str, Path], measured_over: Mapping[str, str]
) -> dict[str, int]:
    """Write the rows of several runs; return their counts."""
    parts = [
        to_table(perplexity_rows(artifact, measured_over[run]), run=run, seed=None)
        for run, artifact in perplexities.items()
    ]
    rows = tables.write(out / "metrics.parquet", schemas.METRICS, pa.concat_tables(parts))
    return {"rows": rows, "runs": len(parts)}


def _ratio(sums: NDArray[np.float64], weights: NDArray[np.float64]) -> Estimate:
    """A ratio of sums over patients, with each note's influence on it."""
    ratio = float(sums.sum() / weights.sum())
    return Estimate(ratio, (sums - ratio * weights) / weights.sum())
