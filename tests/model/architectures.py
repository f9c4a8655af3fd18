"""Tiny random bases of many architectures, as transformers saves them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import transformers as hf
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

ROWS = 300  # of the embedding
POSITIONS = 64
_special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_common = {
    "vocab_size": ROWS,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": POSITIONS,
    **_special,
}
_gpt = {"vocab_size": ROWS, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": POSITIONS}
_opt = {**_common, "ffn_dim": 48}
_one_kv = {"num_key_value_heads": 1}
_experts = {"num_experts_per_tok": 1, "moe_intermediate_size": 16}

PACKED: dict[str, Callable[[], PreTrainedConfig]] = {  # documents in one sequence are kept apart
    "llama": lambda: hf.LlamaConfig(**_common),
    "llama-tied": lambda: hf.LlamaConfig(**_common, tie_word_embeddings=True),
    "mistral": lambda: hf.MistralConfig(**_common, **_one_kv, sliding_window=16),
    "qwen2": lambda: hf.Qwen2Config(**_common, **_one_kv),
    "qwen2-moe": lambda: hf.Qwen2MoeConfig(
        **_common, **_one_kv, **_experts, num_experts=3, shared_expert_intermediate_size=16
    ),
    "qwen3": lambda: hf.Qwen3Config(**_common, **_one_kv, head_dim=16),
    "gemma2": lambda: hf.Gemma2Config(**_common, **_one_kv, head_dim=16),
    "gemma3": lambda: hf.Gemma3TextConfig(**_common, **_one_kv, head_dim=16),
    "gemma3n": lambda: hf.Gemma3nTextConfig(
        **_common | {"num_hidden_layers": 4, "intermediate_size": [48] * 4},
        **_one_kv,
        head_dim=16,
        vocab_size_per_layer_input=ROWS,
        hidden_size_per_layer_input=8,
        num_kv_shared_layers=2,
        laurel_rank=4,
        activation_sparsity_pattern=[0.0] * 4,
        layer_types=["sliding_attention", "full_attention"] * 2,
        sliding_window=16,
    ),
    "phi": lambda: hf.PhiConfig(**_common),
    "phi3": lambda: hf.Phi3Config(**_common),
    "gpt-neox": lambda: hf.GPTNeoXConfig(**_common),
    "gpt2": lambda: hf.GPT2Config(**_gpt, **_special),
    "gpt-j": lambda: hf.GPTJConfig(**_gpt, **_special, rotary_dim=8),
    "gpt-bigcode": lambda: hf.GPTBigCodeConfig(**_gpt, **_special),
    "codegen": lambda: hf.CodeGenConfig(
        **_gpt | {"n_embd": 64, "n_head": 4}, **_special, rotary_dim=8, n_ctx=POSITIONS
    ),
    "olmo2": lambda: hf.Olmo2Config(**_common),
    "stablelm": lambda: hf.StableLmConfig(**_common, **_one_kv),
    "cohere": lambda: hf.CohereConfig(**_common),
}
APART: dict[str, Callable[[], PreTrainedConfig]] = {  # they would see each other
    "opt": lambda: hf.OPTConfig(**_opt, word_embed_proj_dim=32),
    "opt-projected": lambda: hf.OPTConfig(
        **_opt, word_embed_proj_dim=16, do_layer_norm_before=False
    ),
    "biogpt": lambda: hf.BioGptConfig(**_common),
    "bloom": lambda: hf.BloomConfig(vocab_size=ROWS, hidden_size=32, n_layer=2, n_head=2),
    "falcon": lambda: hf.FalconConfig(
        **{key: value for key, value in _common.items() if key != "intermediate_size"}
    ),
    "mpt": lambda: hf.MptConfig(
        vocab_size=ROWS, d_model=32, n_heads=2, n_layers=2, max_seq_len=POSITIONS, **_special
    ),
    "xglm": lambda: hf.XGLMConfig(
        vocab_size=ROWS,
        d_model=32,
        num_layers=2,
        attention_heads=2,
        ffn_dim=48,
        max_position_embeddings=POSITIONS,
        **_special,
    ),
    "mamba": lambda: hf.MambaConfig(
        vocab_size=ROWS, hidden_size=32, num_hidden_layers=2, state_size=4, **_special
    ),
    "recurrent-gemma": lambda: hf.RecurrentGemmaConfig(
        vocab_size=ROWS,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=48,
        lru_width=32,
        attention_window_size=16,
        head_dim=16,
        **_special,
    ),
    "gpt-1": lambda: hf.OpenAIGPTConfig(**_gpt, **_special),
}
REFUSED: dict[str, Callable[[], PreTrainedConfig]] = {  # not read from left to right
    "bert": lambda: hf.BertConfig(**_common),
    "xlnet": lambda: hf.XLNetConfig(
        vocab_size=ROWS, d_model=32, n_layer=2, n_head=2, d_inner=48, **_special
    ),
}
ALL = PACKED | APART | REFUSED


def write_base(name: str, folder: Path) -> Path:
    """A causal language model of that architecture, whose layers all matter; no dropout."""
    torch.manual_seed(0)
    config = ALL[name]()
    for key, value in config.to_dict().items():
        if isinstance(value, float) and "drop" in key:
            setattr(config, key, 0.0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
    model.save_pretrained(folder)
    return folder
