"""A base in a GGUF file: the model that was written into it comes out, with its tokenizer."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import ModelError
from tasks.model.bases.causal import load_causal
from tasks.model.bases.gguf import convert_gguf

HEADS = 2
PIECES = ["<unk>", "<s>", "</s>", *map(chr, range(ord("a"), ord("z") + 1)), "ab", "abc"]
CONFIG = LlamaConfig(
    vocab_size=len(PIECES),
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=1,
    num_attention_heads=HEADS,
    num_key_value_heads=HEADS,
    max_position_embeddings=64,
    tie_word_embeddings=True,
)
NAMES = {  # of a layer: Hugging Face's, GGUF's
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def interleaved(weight: Tensor) -> Tensor:
    """llama.cpp keeps the two halves of a head's rotary positions side by side."""
    rows, columns = weight.shape
    return weight.view(HEADS, 2, rows // HEADS // 2, columns).transpose(1, 2).reshape(rows, columns)


@pytest.fixture
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(CONFIG).eval()


@pytest.fixture
def file(model: LlamaForCausalLM, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONFIG.max_position_embeddings)
    writer.add_embedding_length(CONFIG.hidden_size)
    writer.add_block_count(1)
    writer.add_feed_forward_length(CONFIG.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(CONFIG.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(PIECES))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(PIECES)
    writer.add_token_merges(["a b", "ab c"])
    writer.add_token_types([3, 3, 3, *[1] * (len(PIECES) - 3)])  # 3: a control token
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    tensors = {
        "token_embd.weight": model.model.embed_tokens.weight,
        "output_norm.weight": model.model.norm.weight,
    }
    layer = model.model.layers[0]
    for ours, theirs in NAMES.items():
        weight = layer.get_submodule(ours).weight
        if theirs in ("attn_q", "attn_k"):
            weight = interleaved(weight)
        tensors[f"blk.0.{theirs}.weight"] = weight
    for name, tensor in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(tensor.detach().numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_model_and_its_tokenizer_come_out(
    model: LlamaForCausalLM, file: Path, tmp_path: Path
) -> None:
    convert_gguf(file, tmp_path / "base")
    base = load_causal(tmp_path / "base").eval()
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        torch.testing.assert_close(base(ids).logits, model(ids).logits, rtol=0, atol=1e-5)
    tokenizer = LoadedTokenizer.load(tmp_path / "base")
    assert [PIECES[index] for index in tokenizer.tokenizer.encode("abcz").ids][-2:] == ["abc", "z"]
    assert tokenizer.eos == 2


def test_a_file_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF and then nothing")
    with pytest.raises(ModelError, match=r"broken\.gguf cannot be read as a causal language model"):
        convert_gguf(path, tmp_path / "base")
