"""Held-out perplexity of each patient's notes, by the base and by the base with the adapter.

    torchrun --nproc-per-node 2 -m tasks.pretrain.perplexity work/job.json

perplexity = exp(sum of the tokens' negative log-likelihoods / number of tokens). Every token of a
document but its first is scored once: the corpus repeats the last token of a document that goes on
in another sequence, and the first token of each piece is not scored. Of an encoder, the tokens are
masked words, which follow from the text alone: that number is lower, and no other's equal.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from tasks import schemas, tables
from tasks.data.tokenizer import LoadedTokenizer
from tasks.launch import Progress
from tasks.model.adapters.adaptation import Adapted, load_adapted, may_pack, set_aside
from tasks.model.adapters.build import language_model
from tasks.model.bases.causal import load_causal
from tasks.model.bases.masked import load_masked
from tasks.model.bases.trial import PACKED, layout_for
from tasks.pretrain.corpus import Corpus
from tasks.pretrain.jobs import PerplexityJob
from tasks.pretrain.objectives.causal import Packs, apart, token_losses
from tasks.pretrain.objectives.masked import MaskedModel, Masker, Masks, word_losses
from tasks.pretrain.packing import PADDING, Packed, pieces
from tasks.training.config import TrainingConfig
from tasks.training.engine import precision_of
from tasks.training.program import World, run

REPORT_EVERY = 10  # batches
TOKENS_AT_ONCE = 4096  # of a forward pass

# tokens scored, negative log-likelihood by the base, and with the adapter
Sums = NDArray[np.float64]
Score = Callable[[list[Packed]], list[tuple[int, Sums]]]  # each piece's subject_id and sums
MASKED = "masked words"  # the layout of an encoder's corpus


def main(job: PerplexityJob, world: World) -> None:
    corpus = Corpus(job.corpus)
    score, layout = _masked(job, world) if job.encoder else _causal(job, corpus, world)
    at_once = max(1, TOKENS_AT_ONCE // corpus.sequence_length)
    # contiguous shares, so that each rank reads a part of the file
    bounds = np.linspace(0, len(corpus), world.size + 1).astype(int)
    rows = range(bounds[world.rank], bounds[world.rank + 1])
    mine: dict[int, Sums] = defaultdict(lambda: np.zeros(3))
    for begin in range(rows.start, rows.stop, at_once):
        sequences = [corpus[row] for row in range(begin, min(begin + at_once, rows.stop))]
        together = layout in (PACKED, MASKED)
        for rows_at_once in [sequences] if together else apart(sequences, TOKENS_AT_ONCE):
            for subject_id, sums in score(rows_at_once):
                mine[subject_id] += sums
        if (begin - rows.start) // at_once % REPORT_EVERY == 0:
            done = min(rows.stop, begin + at_once) - rows.start
            world.report(Progress(arm="perplexity", step=done, total=len(rows)))
    gathered = world.gather(dict(mine))
    if world.first:
        counts = _write(gathered, world.work.parent) | {"layout": layout}
        (world.work / "counts.json").write_text(json.dumps(counts))


def _causal(job: PerplexityJob, corpus: Corpus, world: World) -> tuple[Score, str]:
    """What scores next tokens, and the layout for it."""
    dtype = precision_of(TrainingConfig(precision=job.precision), world)
    model = load_adapted(load_causal(job.base, dtype), job.adapter)
    nn.Module.to(model, world.device)
    base, length = language_model(model), corpus.sequence_length
    layout = layout_for(model, base, length, may_pack=may_pack(model))
    return lambda sequences: _score(model, sequences, world, layout == PACKED), layout


def _masked(job: PerplexityJob, world: World) -> tuple[Score, str]:
    """What scores masked words."""
    assert job.encoder is not None
    dtype = precision_of(TrainingConfig(precision=job.precision), world)
    base, output = load_masked(job.base, dtype)
    adapted = load_adapted(base, job.adapter)
    model = MaskedModel(adapted, output).to(world.device).eval()
    masker = Masker.of(LoadedTokenizer.load(job.encoder.tokenizer), job.encoder.masking)
    return lambda sequences: _score_masked(model, adapted, masker, sequences, world), MASKED


@torch.no_grad()
def _score_masked(
    model: MaskedModel,
    adapted: Adapted,
    masker: Masker,
    sequences: list[Packed],
    world: World,
) -> list[tuple[int, Sums]]:
    """Each chunk's subject_id and sums."""
    chunks = [(subject_id, ids) for packed in sequences for subject_id, ids in pieces(packed)]
    masks = Masks.of([masker.held_out(ids) for _, ids in chunks]).to(world.device)
    after = word_losses(model, masks)
    with set_aside(adapted):
        before = word_losses(model, masks)
    rows = masks.wanted.nonzero()[:, 0].cpu()
    sums = torch.zeros((len(chunks), 3), dtype=torch.float64)
    for column, values in enumerate((torch.ones_like(after), before, after)):
        sums[:, column].index_add_(0, rows, values.double().cpu())
    return [(subject_id, row) for (subject_id, _), row in zip(chunks, sums.numpy(), strict=True)]


@torch.no_grad()
def _score(
    model: Adapted, sequences: list[Packed], world: World, packed: bool
) -> list[tuple[int, Sums]]:
    """Each piece's subject_id and sums."""
    packs = Packs.of(sequences).to(world.device)
    after = token_losses(model, packs, packed=packed).double().cpu().numpy()
    with set_aside(model):
        before = token_losses(model, packs, packed=packed).double().cpu().numpy()
    scored = packs.scored.cpu().numpy()
    scores = []
    for row, sequence in enumerate(sequences):
        ends = [*sequence.starts[1:], len(sequence.input_ids)]
        for subject_id, start, end in zip(sequence.subject_ids, sequence.starts, ends, strict=True):
            if subject_id != PADDING:
                piece = (row, slice(start, end))
                sums = [scored[piece].sum(), before[piece].sum(), after[piece].sum()]
                scores.append((subject_id, np.array(sums, dtype=np.float64)))
    return scores


def _write(gathered: list[dict[int, Sums]], out: Path) -> dict[str, float]:
    total: dict[int, Sums] = defaultdict(lambda: np.zeros(3))
    for part in gathered:
        for subject_id, sums in part.items():
            total[subject_id] += sums
    rows = [
        {
            "subject_id": subject_id,
            "tokens": int(sums[0]),
            "nll_before": float(sums[1]),
            "nll_after": float(sums[2]),
        }
        for subject_id, sums in sorted(total.items())
    ]
    table = pa.Table.from_pylist(rows, schemas.PERPLEXITY)
    tables.write(out / "perplexity" / "part-0.parquet", schemas.PERPLEXITY, table)
    tokens, before, after = sum(total.values(), np.zeros(3))
    return {
        "patients": len(rows),
        "tokens": int(tokens),
        "perplexity_before": round(math.exp(before / tokens), 6),
        "perplexity_after": round(math.exp(after / tokens), 6),
    }


if __name__ == "__main__":
    run(PerplexityJob, main)
