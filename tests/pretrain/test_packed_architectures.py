"""In every architecture a document's logits are those that it has alone, packed or apart."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.model.adapters.build import add_new_adapter
from tasks.model.adapters.methods import Lora
from tasks.model.bases import kernels
from tasks.model.bases.causal import load_causal
from tasks.model.bases.trial import PACKED as AS_PACKED
from tasks.model.bases.trial import layout_for
from tasks.pretrain.learn import Layout
from tasks.pretrain.objectives.causal import Packs, apart, logits_of
from tasks.pretrain.packing import Packed, pack, pieces
from tests.model.architectures import APART, PACKED, POSITIONS, ROWS, write_base

# one longer than the sequence, and several longer than a sliding window of 16
LENGTHS = (POSITIONS + 9, 30, 21, 19, 7, 2, 1)


def sequences() -> list[Packed]:
    generator = torch.Generator().manual_seed(1)
    documents = [
        (index, torch.randint(3, ROWS, (length,), generator=generator).tolist())
        for index, length in enumerate(LENGTHS)
    ]
    return list(pack(documents, POSITIONS, pad=2, overlap=1))


@torch.no_grad()
def assert_alone(model: nn.Module, rows: list[Packed], *, packed: bool) -> None:
    """Assert that the pieces of the rows have the logits that each has by itself."""
    logits = logits_of(model, Packs.of(rows), packed=packed)
    compared = 0
    for row, sequence in enumerate(rows):
        for start, (_, ids) in zip(sequence.starts, pieces(sequence), strict=False):
            given = torch.from_numpy(ids).long()[None]
            alone = model(input_ids=given, use_cache=False).logits[0]
            together = logits[row, start : start + len(ids)]
            scale = max(1.0, alone.abs().max().item())
            torch.testing.assert_close(together, alone, rtol=0, atol=1e-5 * scale)
            compared += len(ids)
    assert compared


@pytest.mark.parametrize("name", PACKED)
def test_packed_documents_have_their_own_logits(name: str, tmp_path: Path) -> None:
    packed = sequences()
    assert max(len(sequence.starts) for sequence in packed) > 2
    model = load_causal(write_base(name, tmp_path)).eval()
    assert_alone(model, packed, packed=True)
    adapted = add_new_adapter(model, Lora(rank=2), "default").eval()
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.1)
    assert_alone(adapted, packed, packed=True)


@pytest.mark.parametrize("name", APART)
def test_documents_apart_have_their_own_logits(name: str, tmp_path: Path) -> None:
    model = load_causal(write_base(name, tmp_path)).eval()
    for rows in apart(sequences(), 2 * POSITIONS):
        assert_alone(model, rows, packed=False)


def by_document(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    borders: Tensor,
    borders_of_keys: Tensor,
    longest: int,
    longest_of_keys: int,
    *,
    scale: float | None,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> Tensor:
    """What torch's varlen_attn computes, by plain torch; [tokens, heads, width] each."""
    window, right = window_size
    assert right == 0
    assert torch.equal(borders, borders_of_keys)
    assert longest == longest_of_keys == int(borders.diff().max())
    made = []
    for begin, end in pairwise(borders.tolist()):
        document = (tensor[begin:end].transpose(0, 1)[None] for tensor in (query, key, value))
        seen = torch.ones(end - begin, end - begin, dtype=torch.bool).tril()
        if window >= 0:
            seen = seen.triu(-window)
        attended = functional.scaled_dot_product_attention(
            *document, attn_mask=seen, scale=scale, enable_gqa=enable_gqa
        )
        made.append(attended[0].transpose(0, 1))
    return torch.cat(made)


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen3"])
def test_kernels_are_told_where_documents_begin_and_end(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernels alone are replaced: there is no GPU here."""
    monkeypatch.setattr(kernels.varlen, "varlen_attn", by_document)
    model = load_causal(write_base(name, tmp_path)).eval()
    packs = Packs.of(sequences())
    with torch.no_grad():
        by_mask = logits_of(model, packs)
        kernels.attend_by_kernels(model)
        by_kernels = logits_of(model, packs)
        assert layout_for(model, model, POSITIONS) == AS_PACKED
    there = torch.isfinite(by_mask)
    torch.testing.assert_close(by_kernels[there], by_mask[there], rtol=0, atol=1e-4)


def test_what_the_kernels_cannot_compute_is_left_to_a_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gemma 2 bounds its attention's logits, which the kernels do not."""
    monkeypatch.setattr(kernels.varlen, "varlen_attn", by_document)
    model = load_causal(write_base("gemma2", tmp_path)).eval()
    kernels.attend_by_kernels(model)
    lesson = SimpleNamespace(corpus=SimpleNamespace(sequence_length=POSITIONS))
    assert Layout(lesson, model)._layout(model) == AS_PACKED  # type: ignore[arg-type]
    assert not kernels.attends_by_kernels(model)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("name", ["llama", "mistral", "qwen3"])
def test_on_a_gpu_documents_have_their_own_logits(name: str, tmp_path: Path) -> None:
    device = torch.device("cuda")
    model = load_causal(write_base(name, tmp_path), torch.bfloat16).to(device).eval()
    by_mask = load_causal(write_base(name, tmp_path)).to(device).eval()
    kernels.use_kernels(model, device)
    assert kernels.attends_by_kernels(model)
    packs = Packs.of(sequences()).to(device)
    with torch.no_grad():
        expected, found = logits_of(by_mask, packs), logits_of(model, packs)
    there = torch.isfinite(expected) & packs.scored[:, :, None]
    spread = (expected[there] - expected[there].mean()).norm()
    assert (found[there].float() - expected[there]).norm() < 2e-2 * spread
