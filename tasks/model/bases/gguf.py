"""A base from a GGUF file: its weights as they are, in a plain Hugging Face directory."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from tasks.errors import ConfigError, ModelError


def convert_gguf(file: Path, out: Path) -> PreTrainedModel:
    """Write the model (float32, quantized weights as what they stand for) and its tokenizer.

    Raises ConfigError where the package `gguf` is not installed, ModelError where the file holds
    no causal language model that transformers can read.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ConfigError(
            "pretrain.base of kind gguf needs the package gguf; pip install 'clinfuse[gguf]'"
        )
    place = {"gguf_file": file.name, "local_files_only": True}
    try:
        loader: type[AutoModelForCausalLM] = AutoModelForCausalLM
        read = loader.from_pretrained(str(file.parent), dtype=torch.float32, **place)
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **place)
    except Exception as error:  # whatever a file that is none of these makes a reader raise
        raise ModelError(
            f"{file} cannot be read as a causal language model ({type(error).__name__}); it needs "
            "a GGUF file, with its tokenizer, of an architecture that transformers converts"
        ) from None
    # what was read counts as quantized and refuses to be saved; a model of the same shape does not
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = type(read)(config)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return model
