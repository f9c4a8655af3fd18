"""A base is tried before it is trained on, in any precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, Llama4TextConfig

from tasks.errors import ConfigError, ModelError
from tasks.model.adapters.build import add_new_adapter, language_model
from tasks.model.adapters.methods import Lora
from tasks.model.bases.causal import Causal, load_causal
from tasks.model.bases.load import check_positions
from tasks.model.bases.trial import PACKED as AS_PACKED
from tasks.model.bases.trial import layout_for
from tests.model.architectures import APART, PACKED, POSITIONS, REFUSED, ROWS, write_base

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("name", [*PACKED, *APART])
def test_the_layout_is_the_same_in_every_precision(name: str, tmp_path: Path) -> None:
    write_base(name, tmp_path)
    for dtype in DTYPES:
        model = load_causal(tmp_path, dtype).eval()
        layout = layout_for(model, model, POSITIONS)
        assert (layout == AS_PACKED) == (name in PACKED), (dtype, layout)
        assert layout.startswith("packed" if name in PACKED else "one document a row: documents")


@pytest.mark.parametrize("name", REFUSED)
def test_what_sees_later_tokens_is_refused_in_every_precision(name: str, tmp_path: Path) -> None:
    write_base(name, tmp_path)
    for dtype in DTYPES:
        model = load_causal(tmp_path, dtype).eval()
        # XLNet cannot even be run in half precision
        with pytest.raises(ModelError, match=r"a token sees those after it|cannot be run"):
            layout_for(model, model, POSITIONS)


def test_a_base_that_takes_no_positions_is_not_packed(tmp_path: Path) -> None:
    base = load_causal(write_base("llama", tmp_path)).eval()

    class WithoutPositions(nn.Module):
        def forward(self, input_ids: torch.Tensor, use_cache: bool) -> Any:
            return base(input_ids=input_ids, use_cache=use_cache)

    layout = layout_for(WithoutPositions(), base, POSITIONS)
    assert layout == "one document a row: the base takes no positions (TypeError)"


def test_logits_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    base = load_causal(write_base("llama", tmp_path)).eval()
    base.get_input_embeddings().weight.fill_(torch.nan)
    with pytest.raises(ModelError, match="NaN or infinite"):
        layout_for(base, base, POSITIONS)


def test_adapters_with_which_a_base_cannot_run_are_refused() -> None:
    """Llama 4's router is a linear layer that gives two tensors."""
    config = Llama4TextConfig(
        vocab_size=ROWS,
        hidden_size=32,
        intermediate_size=32,
        intermediate_size_mlp=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        num_local_experts=2,
        pad_token_id=0,
    )
    model = add_new_adapter(
        AutoModelForCausalLM.from_config(config), Lora(rank=2), "default"
    ).eval()
    with pytest.raises(ModelError, match=r"with these adapters .* other adapter\.targets"):
        layout_for(model, language_model(model), POSITIONS)


def test_a_text_longer_than_learned_positions_is_refused(tmp_path: Path) -> None:
    learned = load_causal(write_base("gpt2", tmp_path / "learned"))
    rotary = load_causal(write_base("llama", tmp_path / "rotary"))
    check_positions(Causal(learned), POSITIONS)
    check_positions(Causal(rotary), POSITIONS + 1)
    with pytest.raises(ConfigError, match=r"lower finetune\.max_tokens"):
        check_positions(Causal(learned), POSITIONS + 1)
