"""In every architecture a document's logits are those that it has alone, packed or apart."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
import transformers.modeling_flash_attention_utils as flash
from torch import Tensor, nn
from torch.nn import functional

from tasks.model.adapters.build import add_new_adapter
from tasks.model.adapters.methods import Lora
from tasks.model.bases.causal import load_causal
from tasks.model.bases.trial import PACKED as AS_PACKED
from tasks.model.bases.trial import layout_for
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


def whole_rows(query: Tensor, key: Tensor, value: Tensor, **_: object) -> Tensor:
    """What flash_attn_func computes, in plain torch; [rows, tokens, heads, width] each."""
    q, k, v = (tensor.transpose(1, 2) for tensor in (query, key, value))
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


def variable_length(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    softmax_scale: float | None = None,
    causal: bool = False,
) -> Tensor:
    """What flash_attn_varlen_func computes; [tokens, heads, width] each."""
    assert causal
    parts = pairwise(cu_seqlens_q.tolist())
    documents = [[tensor[a:b][None] for tensor in (query, key, value)] for a, b in parts]
    return torch.cat([whole_rows(*document)[0] for document in documents])


def test_flash_attention_is_called_for_rows_of_variable_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By way of transformers' own code, the kernels alone being replaced: there is no GPU here."""
    given = {
        "_loaded_implementation": "flash_attention_2",
        "_flash_fn": whole_rows,
        "_flash_varlen_fn": variable_length,
        "_process_flash_kwargs_fn": flash._lazy_define_process_function(variable_length),
        "_process_with_kvcache_kwargs_fn": dict,
    }
    for name, value in given.items():
        monkeypatch.setattr(flash, name, value, raising=False)
    model = load_causal(write_base("llama", tmp_path)).eval()
    packs = Packs.of(sequences())
    with torch.no_grad():
        by_mask = logits_of(model, packs)
        model.config._attn_implementation = "flash_attention_2"
        by_flash = logits_of(model, packs)
        apart = model(
            input_ids=packs.input_ids, position_ids=packs.position_ids, use_cache=False
        ).logits
        assert layout_for(model, model, POSITIONS) == AS_PACKED
    there = torch.isfinite(by_mask)
    torch.testing.assert_close(by_flash[there], by_mask[there], rtol=0, atol=1e-4)
    assert (apart - by_mask).abs().max() > 0.1, "several rows at once, and documents mix"
