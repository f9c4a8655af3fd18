"""Where the heads start: states scaled, queries at the labels' titles, biases at base rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.data.notes import padded
from tasks.data.outcomes import Outcome, Rows
from tasks.data.titles import cleaned
from tasks.data.tokenizer import LoadedTokenizer
from tasks.model.heads.heads import Heads

BATCH_TITLES = 64
SAMPLED_NOTES = 256  # enough for a covariance of a few thousand directions: 30,000 tokens and more

States = Callable[[Tensor, Tensor], Tensor]  # ids and present [batch, tokens] -> token states
TitleStates = Mapping[str, NDArray[np.float32]]  # a cleaned title -> its mean token state [hidden]


def sample(rows: Rows) -> Rows:
    """Evenly spread ones of these admissions, SAMPLED_NOTES at most."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, SAMPLED_NOTES).astype(np.int64))]


def titles_to_embed(outcomes: Sequence[Outcome]) -> list[str]:
    """The titles that these outcomes' heads start from, cleaned, each once."""
    of_labels = (title for outcome in outcomes for title in outcome.titles if title)
    of_codes = (title for outcome in outcomes for title in outcome.code_titles)
    return list(dict.fromkeys(map(cleaned, chain(of_labels, of_codes))))


@torch.no_grad()
def title_states(
    states: States, tokenizer: LoadedTokenizer, titles: Sequence[str], device: torch.device
) -> dict[str, NDArray[np.float32]]:
    """The mean token state of each title; control tokens do not count."""
    means: dict[str, NDArray[np.float32]] = {}
    for start in range(0, len(titles), BATCH_TITLES):
        batch = titles[start : start + BATCH_TITLES]
        encodings = tokenizer.tokenizer.encode_batch_fast(list(batch))
        ids, present = _on(device, *padded([encoding.ids for encoding in encodings], tokenizer.pad))
        controls = [encoding.special_tokens_mask for encoding in encodings]
        marked, _ = _on(device, *padded([np.array(mask, np.int32) for mask in controls], 1))
        words = present & (marked == 0)
        words |= present & ~words.any(dim=1, keepdim=True)  # of nothing but control tokens: all
        read = states(ids, present).float() * words[:, :, None]
        read = (read.sum(1) / words.sum(dim=1, keepdim=True)).cpu()
        means |= zip(batch, read.numpy(), strict=True)
    return means


def start_from_titles(
    heads: Heads, outcomes: Sequence[Outcome], states: TitleStates, rows: Rows
) -> None:
    """Start the heads in the direction of their labels' titles, where there are two at least.

    To a label's own title is added the mean of those of its codes, as often as the admissions
    `rows` have them.
    """
    for outcome in outcomes:
        directions, known = _directions(heads, outcome, states, rows)
        if known.sum() > 1:
            directions[known] -= directions[known].mean(dim=0)
            head = heads.head(outcome.name)
            device = head.bias.device
            head.start_from_titles(directions.to(device), known.to(device))


def _directions(
    heads: Heads, outcome: Outcome, states: TitleStates, rows: Rows
) -> tuple[Tensor, Tensor]:
    """What titles say of each label [labels, hidden], and of which they say something [labels]."""
    device = heads.head(outcome.name).bias.device
    counts = outcome.title_counts(rows)
    titled = [(label, title) for label, title in enumerate(outcome.titles) if title]
    labels = np.array([label for label, _ in titled] + counts[:, 0].tolist(), np.int64)
    titles = [title for _, title in titled] + [outcome.code_titles[t] for t in counts[:, 1]]
    shares = (
        counts[:, 2] / np.bincount(counts[:, 0], counts[:, 2], len(outcome.labels))[counts[:, 0]]
    )
    weights = torch.from_numpy(np.concatenate([np.ones(len(titled)), shares])).float()
    known = torch.zeros(len(outcome.labels), dtype=torch.bool)
    known[labels] = True
    width = heads.scaling.mean.shape[0]
    directions = torch.zeros(len(known), width)
    if len(titles):
        embedded = torch.from_numpy(np.stack([states[cleaned(title)] for title in titles]))
        scaled = heads.scaling(embedded.to(device)).cpu()  # affine: of means as of states
        directions.index_add_(0, torch.from_numpy(labels), scaled * weights[:, None])
    return directions, known


@torch.no_grad()
def start_biases(
    heads: Heads,
    outcomes: Sequence[Outcome],
    rows: Rows,
    weights: Mapping[str, Tensor],
    shifts: Mapping[str, Tensor],
    logits: Mapping[str, NDArray[np.float32]],
) -> None:
    """Start the biases so that the mean logit is the base rate's among the training admissions.

    Args:
        rows: the training admissions.
        weights: outcome -> [labels], how much a case counts in the loss; absent: 1. The base rates
            are those that the weighted loss sees.
        shifts: outcome -> [labels], what the loss adds to the logits; absent: nothing. The mean is
            that of the sum.
        logits: outcome -> [some admissions, labels], what the started heads say without biases.
    """
    for outcome in outcomes:
        head = heads.head(outcome.name)
        if not head.has_bias:
            continue
        positives, observed = outcome.positives(rows), outcome.observed(rows)
        head.start_bias(
            torch.from_numpy((positives & observed).sum(axis=0)).float(),
            torch.from_numpy(observed.sum(axis=0)).float(),
        )
        if outcome.name in weights:
            head.bias.add_(weights[outcome.name].log().to(head.bias.device))
        if outcome.name in shifts:
            head.bias.sub_(shifts[outcome.name].to(head.bias.device))
        mean = torch.from_numpy(logits[outcome.name].mean(axis=0))
        head.bias.sub_(mean.to(head.bias.device))


def _on(device: torch.device, ids: np.ndarray, present: np.ndarray) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(ids).to(device), torch.from_numpy(present).to(device)
