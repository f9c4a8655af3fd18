"""A base with fewer bits a weight, by bitsandbytes, in a Hugging Face directory like any other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from tasks.errors import ModelError
from tasks.model.bases.config import Quantization

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
# Dettmers et al. 2023: 4-bit NormalFloat, the blocks' scales quantized, too; products in bf16
_SETTINGS: dict[Quantization, dict[str, Any]] = {
    "4bit": {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": torch.bfloat16,
    },
    "8bit": {"load_in_8bit": True},  # Dettmers et al. 2022: LLM.int8()
}


def quantize(folder: Path, quantization: Quantization, out: Path) -> PreTrainedModel:
    """Write a causal language model of a Hugging Face directory quantized, with its tokenizer.

    Layers that stay as they are, such as norms and the output layer, keep their format. Raises
    ModelError where the model cannot be read or quantized.
    """
    loader: type[AutoModelForCausalLM] = AutoModelForCausalLM
    settings = BitsAndBytesConfig(**_SETTINGS[quantization])  # type: ignore[no-untyped-call]
    try:
        model = loader.from_pretrained(
            str(folder),
            dtype="auto",
            local_files_only=True,
            quantization_config=settings,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(
            f"the model in {folder} cannot be quantized ({type(error).__name__}); it needs "
            "*.safetensors weights of a causal language model, or leave out "
            "pretrain.base.quantization"
        ) from error
    model.save_pretrained(out)
    for name in TOKENIZER:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    assert isinstance(model, PreTrainedModel)
    return model
