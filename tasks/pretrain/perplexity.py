"""The likelihood of whole notes, by the base and by the base with the adapter.

    torchrun --nproc-per-node 2 -m tasks.pretrain.perplexity work/job.json

perplexity = exp(sum of the tokens' negative log-likelihoods / number of tokens), over all notes
together. A note that is longer than a window is read in several, which overlap
(`whole_notes.py`); the end of a note is a token like others. Bits per byte is the same sum in bits
over the UTF-8 bytes of the notes: unlike perplexity it does not depend on how a tokenizer cuts.

Of an encoder, the tokens are those of masked words, and what is measured is their mean negative
log-likelihood, in nats: no perplexity of a text, and no decoder's equal. Which words are masked
follows from the text alone, so that they are the same for the base and with the adapter. An encoder
that came with an output layer answers by it both times; one that came with none, by a layer that
was fitted to it (`output.py`), and with the adapter by the layer that learned with that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tasks import schemas, tables
from tasks.data.notes import padded
from tasks.data.tokenizer import LoadedTokenizer
from tasks.launch import Progress
from tasks.model.adapters.adaptation import Adapted, load_adapted, set_aside
from tasks.model.adapters.build import language_model
from tasks.model.bases.causal import load_causal
from tasks.model.bases.losses import UNSCORED, giving_token_losses
from tasks.model.bases.masked import NewOutput, load_masked
from tasks.model.bases.trial import logits_are_as_given
from tasks.pretrain.jobs import PerplexityJob
from tasks.pretrain.objectives.masked import MaskedModel, Masker, Masks, word_losses
from tasks.pretrain.whole_notes import Tokenized, Window, notes_in, read_tokenized, windows
from tasks.training.config import TrainingConfig
from tasks.training.engine import precision_of
from tasks.training.program import World, run

TOKENS_AT_ONCE = 4096  # of a forward pass

Sums = NDArray[np.float64]  # [..., 3]: tokens scored, nats by the base, and with the adapter


@dataclass(frozen=True)
class Piece:
    """What is read at once of a note."""

    note: int  # of its batch
    ids: NDArray[np.int32]
    scored: int  # the first that is scored


Score = Callable[[Sequence[Piece]], Sums]  # of each piece
Cut = Callable[[NDArray[np.int32]], list[tuple[NDArray[np.int32], int]]]


def main(job: PerplexityJob, world: World) -> None:
    """Leave the table and its counts beside the work folder."""
    cut, score = _masked(job, world) if job.encoder else _causal(job, world)
    total, done = notes_in(job.notes), 0
    scored: list[tuple[Tokenized, Sums]] = []
    for notes in read_tokenized(job.notes, world.rank, world.size):
        pieces = [
            Piece(note, ids, first)
            for note, whole in enumerate(notes.input_ids)
            for ids, first in cut(whole)
        ]
        sums = np.zeros((len(notes.input_ids), 3))
        for group in _alike(pieces):
            np.add.at(sums, [piece.note for piece in group], score(group))
        notes.input_ids.clear()
        scored.append((notes, sums))
        done = min(total, done + len(sums) * world.size)
        world.report(Progress(arm="perplexity", step=done, total=total))
    gathered = world.gather(scored)
    if world.first:
        # batch i was read by rank i % size: back into the order of the notes
        turns = chain.from_iterable(zip_longest(*gathered))
        counts = _write([batch for batch in turns if batch is not None], job, world)
        (world.work / "counts.json").write_text(json.dumps(counts))


def _alike(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """In groups of similar length, each of at most TOKENS_AT_ONCE with its padding."""
    groups: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: -len(piece.ids)):
        if not groups or (len(groups[-1]) + 1) * len(groups[-1][0].ids) > TOKENS_AT_ONCE:
            groups.append([])
        groups[-1].append(piece)
    return groups


def _causal(job: PerplexityJob, world: World) -> tuple[Cut, Score]:
    """What cuts notes into windows, and scores their tokens."""
    dtype = precision_of(TrainingConfig(precision=job.precision), world)
    model = load_adapted(load_causal(job.base, dtype), job.adapter)
    nn.Module.to(model, world.device)  # transformers' own is typed too narrowly
    base = language_model(model)
    layer: nn.Linear = base.get_output_embeddings()  # type: ignore[no-untyped-call]
    output = layer if logits_are_as_given(model, base, layer) else None

    def cut(ids: NDArray[np.int32]) -> list[tuple[NDArray[np.int32], int]]:
        def taken(window: Window) -> tuple[NDArray[np.int32], int]:
            return ids[window.begin : window.end], window.scored - window.begin

        return [taken(window) for window in windows(len(ids), job.window, job.stride)]

    return cut, lambda pieces: _score(model, output, pieces, world)


@torch.no_grad()
def _score(model: Adapted, output: nn.Linear | None, pieces: Sequence[Piece], world: World) -> Sums:
    ids, present = padded([piece.ids for piece in pieces], 0)
    # a loss stands where its token's predecessor does
    first = np.array([piece.scored for piece in pieces])[:, None]
    wanted = present[:, 1:] & (np.arange(1, ids.shape[1]) >= first)
    rows = torch.from_numpy(ids).to(world.device)
    mask = torch.from_numpy(wanted).to(world.device)
    after = _next_token(model, output, rows, mask)
    with set_aside(model):
        before = _next_token(model, output, rows, mask)
    return np.column_stack([wanted.sum(axis=1), before, after])


def _next_token(
    model: nn.Module, output: nn.Linear | None, ids: Tensor, wanted: Tensor
) -> NDArray[np.float64]:
    """The nats of each row's wanted tokens, summed.

    Without an attention mask: padding on the right reaches no token.

    Args:
        output: the layer whose output is the model's logits; None: something is made of that.
        wanted: [rows, tokens - 1], of the tokens after the first.
    """
    targets = functional.pad(ids[:, 1:].masked_fill(~wanted, UNSCORED), (0, 1), value=UNSCORED)
    if output is not None:
        with giving_token_losses(output, targets):
            losses: Tensor = model(input_ids=ids, use_cache=False).logits
    else:
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
        logits = logits[:, -ids.shape[1] :]  # without those of virtual tokens before the row
        losses = functional.cross_entropy(
            logits.flatten(0, 1).float(), targets.flatten(), ignore_index=UNSCORED, reduction="none"
        ).view_as(targets)
    return losses.double().sum(dim=1).cpu().numpy()


def _masked(job: PerplexityJob, world: World) -> tuple[Cut, Score]:
    """What cuts notes into chunks, and scores the words that are masked in each."""
    assert job.encoder is not None
    dtype = precision_of(TrainingConfig(precision=job.precision), world)
    base, output = load_masked(job.base, dtype)
    adapted = load_adapted(base, job.adapter)
    outputs = [output, output]
    if job.output is not None:
        assert isinstance(output, NewOutput), "the base has a layer of its own"
        output.read(job.output)
        learned = NewOutput(output.words).to(dtype)
        learned.read(job.adapter)
        outputs[1] = learned
    models = [MaskedModel(adapted, each).to(world.device).eval() for each in outputs]
    tokenizer = LoadedTokenizer.load(job.encoder.tokenizer)
    masker = Masker.of(tokenizer, job.encoder.masking)
    before, after = tokenizer.frame
    room = job.window - len(before) - len(after)

    def cut(ids: NDArray[np.int32]) -> list[tuple[NDArray[np.int32], int]]:
        chunks = (ids[begin : begin + room] for begin in range(0, len(ids), room))
        return [(np.array([*before, *chunk, *after], np.int32), 0) for chunk in chunks]

    return cut, lambda pieces: _score_masked(models, adapted, masker, pieces, world)


@torch.no_grad()
def _score_masked(
    models: Sequence[MaskedModel],
    adapted: Adapted,
    masker: Masker,
    pieces: Sequence[Piece],
    world: World,
) -> Sums:
    """Of each piece.

    Args:
        models: the encoder under the base's output layer, and under the adapter's.
        adapted: the encoder in both.
    """
    base, with_adapter = models
    masks = Masks.of([masker.held_out(piece.ids) for piece in pieces]).to(world.device)
    after = word_losses(with_adapter, masks)
    with set_aside(adapted):
        before = word_losses(base, masks)
    rows = masks.wanted.nonzero()[:, 0].cpu()
    sums = torch.zeros((len(pieces), 3), dtype=torch.float64)
    for column, values in enumerate((torch.ones_like(after), before, after)):
        sums[:, column].index_add_(0, rows, values.double().cpu())
    return sums.numpy()


def _write(
    scored: Sequence[tuple[Tokenized, Sums]], job: PerplexityJob, world: World
) -> dict[str, float | str]:
    """Write a row a note, in the notes' order."""
    subject_ids = np.concatenate([notes.subject_ids for notes, _ in scored])
    sizes = np.concatenate([notes.sizes for notes, _ in scored])
    sums = np.concatenate([sums for _, sums in scored])
    columns = (subject_ids, sums[:, 0].astype(np.int64), sizes, sums[:, 1], sums[:, 2])
    table = pa.Table.from_arrays(
        [pa.array(column) for column in columns], schema=schemas.PERPLEXITY
    )
    path = world.work.parent / "perplexity" / "part-0.parquet"
    tables.write(path, schemas.PERPLEXITY, table)
    tokens, before, after = sums.sum(axis=0)
    counts: dict[str, float | str] = {
        "patients": len(np.unique(subject_ids)),
        "notes": len(sums),
        "tokens": int(tokens),
        "window": job.window,
    }
    if job.encoder is not None:
        return counts | {
            "output_layer": "the base's own" if job.output is None else "fitted",
            "masked_word_loss_before": round(before / tokens, 6),
            "masked_word_loss_after": round(after / tokens, 6),
        }
    bits = math.log(2) * max(1, int(sizes.sum()))
    return counts | {
        "perplexity_before": round(math.exp(before / tokens), 6),
        "perplexity_after": round(math.exp(after / tokens), 6),
        "stride": job.stride,
        "bits_per_byte_before": round(before / bits, 6),
        "bits_per_byte_after": round(after / bits, 6),
    }


if __name__ == "__main__":
    run(PerplexityJob, main)
