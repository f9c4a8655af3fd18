"""Where the heads start: states whitened, biases at base rates, queries at the labels' titles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from tasks.data.notes import Notes, padded
from tasks.data.outcomes import Outcome, Rows
from tasks.data.tokenizer import LoadedTokenizer
from tasks.model.heads.head import Head
from tasks.model.heads.whitening import Whitening

BATCH_TITLES = 64
SAMPLED_NOTES = 256  # enough for a covariance of a few thousand directions: 30,000 tokens and more

States = Callable[[Tensor, Tensor], Tensor]  # ids and present [batch, tokens] -> token states


@torch.no_grad()
def start_whitening(
    whitening: Whitening, states: States, notes: Notes, rows: Rows, device: torch.device
) -> None:
    """Fit the whitening to the token states of evenly spread training notes, `rows`."""
    indices = np.unique(np.linspace(0, len(rows) - 1, SAMPLED_NOTES).astype(np.int64))
    sample = []
    for row in rows[indices]:
        ids, present = notes.padded(np.array([row]))
        sample.append(states(*_on(device, ids, present))[0].float())
    whitening.fit(torch.cat(sample))


@torch.no_grad()
def start_biases(
    heads: Mapping[str, Head],
    outcomes: Sequence[Outcome],
    rows: Rows,
    weights: Mapping[str, Tensor],
) -> None:
    """Start the biases at the base rates among the training admissions, `rows`.

    Args:
        weights: outcome -> [labels], how much a case counts in the loss; absent: 1. The base rates
            are those that the weighted loss sees.
    """
    for outcome in outcomes:
        head = heads[outcome.name]
        positives, observed = outcome.positives(rows), outcome.observed(rows)
        head.start_bias(
            torch.from_numpy((positives & observed).sum(axis=0)).float(),
            torch.from_numpy(observed.sum(axis=0)).float(),
        )
        if outcome.name in weights:
            head.bias.add_(weights[outcome.name].log().to(head.bias.device))


def start_from_titles(
    heads: Mapping[str, Head],
    outcomes: Sequence[Outcome],
    states: States,
    tokenizer: LoadedTokenizer,
    device: torch.device,
) -> None:
    """Start the heads in the direction of their labels' titles, where there are two at least.

    Args:
        states: whitened, as the heads see them.
    """
    for outcome in outcomes:
        known = torch.tensor([bool(title) for title in outcome.titles])
        if known.sum() > 1:
            titles = [title or " " for title in outcome.titles]
            embedded = embedded_titles(states, tokenizer, titles, known, device)
            heads[outcome.name].start_from_titles(embedded, known)


@torch.no_grad()
def embedded_titles(
    states: States,
    tokenizer: LoadedTokenizer,
    titles: Sequence[str],
    known: Tensor,
    device: torch.device,
) -> Tensor:
    """The mean token state of each title, less the mean over the known ones, [titles, hidden]."""
    means = []
    for start in range(0, len(titles), BATCH_TITLES):
        encodings = tokenizer.tokenizer.encode_batch_fast(titles[start : start + BATCH_TITLES])
        ids, present = _on(device, *padded([encoding.ids for encoding in encodings], tokenizer.pad))
        read = states(ids, present) * present[:, :, None]
        means.append(read.sum(1) / present.sum(dim=1, keepdim=True))
    embedded = torch.cat(means).cpu()
    return embedded - embedded[known].mean(dim=0)


def _on(device: torch.device, ids: np.ndarray, present: np.ndarray) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(ids).to(device), torch.from_numpy(present).to(device)
