"""A base from nothing: a small LLaMA with random weights."""

from __future__ import annotations

from transformers import LlamaConfig, LlamaForCausalLM

from tasks.data.tokenizer import LoadedTokenizer
from tasks.model.bases.config import ScratchBase


def scratch_llama(base: ScratchBase, tokenizer: LoadedTokenizer) -> LlamaForCausalLM:
    """A LLaMA with random weights, of LLaMA's proportions (Touvron et al. 2023), tied embeddings.

    Tied: with so few layers a second embedding table would be half of all parameters.
    """
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.size,
            hidden_size=base.hidden_size,
            intermediate_size=-(-base.hidden_size * 8 // 3 // 16) * 16,  # 8/3 of it, rounded up
            num_hidden_layers=base.layers,
            num_attention_heads=base.heads,
            num_key_value_heads=base.heads,
            max_position_embeddings=base.max_positions,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad,
            bos_token_id=tokenizer.bos,
            eos_token_id=tokenizer.eos,
            initializer_range=0.02 if base.hidden_size >= 512 else 0.05,
            use_cache=False,
        )
    )
