"""Held-out perplexity before and after domain pretraining, with intervals over patients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import schemas
from tasks.data.reading import read_table, refused, table_of
from tasks.measures.estimates import Estimate
from tasks.measures.intervals import interval
from tasks.metrics_table import NEXT_TOKEN, valued

_METHOD = "token-weighted ratio, delta method over patients"


def perplexity_rows(artifact: Path, of: str = NEXT_TOKEN) -> Iterator[dict[str, Any]]:
    """Rows for the perplexity before, after, and the ratio after/before on the same patients.

    Perplexity is exp(total negative log-likelihood / total tokens). A ratio whose interval lies
    below 1 says that the clinical adapter reads unseen patients' notes better than the base.

    Args:
        of: what the tokens are: NEXT_TOKEN or MASKED_WORDS.
    """
    table = read_table(table_of(artifact, "perplexity"), schemas.PERPLEXITY)
    tokens = table["tokens"].to_numpy().astype(np.float64)
    before, after = table["nll_before"].to_numpy(), table["nll_after"].to_numpy()
    if not tokens.sum() > 0 or not np.isfinite(before + after).all():
        raise refused(
            artifact,
            f"the perplexity table ({len(table)} rows) has no tokens or no finite likelihoods; "
            "run pretrain anew",
        )
    patients = np.unique(table["subject_id"].to_numpy(), return_inverse=True)[1]
    for metric, likelihood in (
        ("perplexity_before", before),
        ("perplexity_after", after),
        ("perplexity_ratio", after - before),
    ):
        mean = interval(_mean_per_token(likelihood, tokens), patients, (-np.inf, np.inf))
        value, low, high = np.exp([mean.value, mean.low, mean.high]).tolist()
        yield valued(metric, replace(mean, value=value, low=low, high=high), _METHOD) | {
            "variant": "clinical",
            "split": "validation",
            "outcome": of,
            "n": len(table),
            "n_patients": int(patients.max()) + 1,
            "positives": 0,
        }


def _mean_per_token(likelihood: NDArray[np.float64], tokens: NDArray[np.float64]) -> Estimate:
    """A ratio of sums over patients, with each row's influence on it."""
    mean = float(likelihood.sum() / tokens.sum())
    return Estimate(mean, (likelihood - mean * tokens) / tokens.sum())
