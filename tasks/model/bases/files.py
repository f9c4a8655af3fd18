"""Whether a base can be used and has the layers that adapters want: from its files, without torch.

A run asks this in its first second; the training program asks the loaded model again.
"""

from __future__ import annotations

import difflib
import json
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from tasks.data.tokenizer import FILE, LoadedTokenizer
from tasks.errors import ConfigError, ModelError
from tasks.model.bases.config import BaseConfig, GivenBase, Targets
from tasks.model.bases.groups import layers_of

# of a base that is made from nothing, a LLaMA
SCRATCH_LAYERS = frozenset(
    ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens")
)
# what architectures call their output layer, which has no weights on disk where it shares those of
# the embedding
OUTPUT_LAYERS = frozenset(("lm_head", "embed_out", "output_projection"))
SENTENCEPIECE = "tokenizer.model"
_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_LARGEST_HEADER = 100_000_000  # bytes; by the format
_MASKED = ("ForMaskedLM", "ForPreTraining")
_COUNT_FROM_PAD = ("roberta", "xlm-roberta", "camembert", "longformer")  # their first position
# whose positions are learned, and end; rotary ones go on beyond what the config says
_LEARNED_POSITIONS = ("biogpt", "gpt2", "gpt_bigcode", "gpt_neo", "openai-gpt", "opt", "xglm")
_CAUSAL = ("CausalLM", "LMHead", "ForConditionalGeneration")  # of the names of architectures


def check_targets(base: Path | None, targets: Targets | None, key: str) -> None:
    """Raise ConfigError where a name in `targets` is of no layer of the base.

    Args:
        base: a Hugging Face directory; None: a base that is made from nothing. Weights in another
            format than safetensors are left to the training program.
        key: the configuration key that named them, as "finetune.adapter.targets".
    """
    if targets is None or targets == "all-linear":
        return
    if isinstance(targets, str) and base is None:
        return  # a LLaMA has both groups
    files = [] if base is None else _weight_files(base)
    if base is not None and not files:
        return
    layers = {name for path in files for name in _matrices(path)} or SCRATCH_LAYERS
    if isinstance(targets, str):
        layers_of(targets, layers, key)
        return
    with_head = key.startswith("pretrain.")
    check_names(targets, layers | OUTPUT_LAYERS if with_head else layers - OUTPUT_LAYERS, key)


def check_names(targets: Collection[str], layers: Collection[str], key: str) -> None:
    """Raise ConfigError where a target is neither a layer's name nor the last part of one."""
    last_parts = {name.rpartition(".")[2] for name in layers}
    for target in targets:
        last = target.rpartition(".")[2]
        if last in last_parts:
            continue
        if last in OUTPUT_LAYERS:
            raise ConfigError(
                f"{key} names the output layer '{target}', which a classifier does not have; "
                "leave it out"
            )
        near = difflib.get_close_matches(last, last_parts, n=3) or sorted(last_parts)[:9]
        raise ConfigError(
            f"{key} names '{target}', of which the base has no layer; nearest: {', '.join(near)}"
        )


def check_base(base: Path, sequence_length: int | None = None) -> None:
    """Raise ModelError where a Hugging Face directory cannot be the base, as far as files tell.

    Args:
        sequence_length: of the texts that it shall read in pretraining; longer than it can read is
            a ConfigError.
    """
    config = _config(base)
    architectures = config.get("architectures") or []
    if config.get("is_encoder_decoder"):
        raise ModelError(
            f"{base} is a {architectures[0] if architectures else config.get('model_type')}, "
            "neither a causal language model (LLaMA, Mistral, Qwen, GPT-2, ...) nor an encoder "
            "(BERT, RoBERTa, ...); set pretrain.base to one"
        )
    for path in _weight_files(base):
        _header(path)
    if not _weight_files(base) and not list(base.glob("pytorch_model*.bin")):
        raise ModelError(f"{base} has no weights (*.safetensors); copy the whole model there")
    positions = positions_of(base)
    if sequence_length is not None and positions is not None:
        check_length(sequence_length, positions)
    if (base / FILE).is_file():
        check_vocabulary(base, base)
    elif not (base / SENTENCEPIECE).is_file():
        raise ModelError(
            f"{base} has neither {FILE} nor {SENTENCEPIECE}; write the former with transformers' "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )


def width_of(base: Path) -> int | None:
    """The width of the model's states as its config has it; None: it does not say."""
    config = _config(base)
    config = config.get("text_config", config)
    width = config.get("hidden_size") or config.get("n_embd") or config.get("d_model")
    return width if isinstance(width, int) else None


def positions_of(base: Path) -> int | None:
    """The tokens that the base reads at once, by its config; None: it does not say."""
    config = _config(base)
    positions: int | None = config.get("max_position_embeddings") or config.get("n_positions")
    if positions is not None and config.get("model_type") in _COUNT_FROM_PAD:
        positions -= config.get("pad_token_id", 1) + 1
    return positions


def check_quantizable(base: Path) -> None:
    """Raise ConfigError where the base is an encoder, which is small as it is."""
    if not is_causal(base):
        raise ConfigError(
            f"pretrain.base.quantization is for decoders, and {base} is an encoder; leave it out"
        )


def check_notes_length(base: Path, max_tokens: int, before: int = 0) -> None:
    """Raise ConfigError where a note may be longer than what the base has positions for.

    An encoder reads a longer note in chunks.

    Args:
        before: virtual tokens that stand before a note.
    """
    positions = positions_of(base)
    learned = _config(base).get("model_type") in _LEARNED_POSITIONS
    if is_causal(base) and learned and positions is not None and max_tokens + before > positions:
        virtual = f" beside {before} virtual ones" if before else ""
        raise ConfigError(
            f"finetune.max_tokens is {max_tokens}{virtual}, but the base has positions for "
            f"{positions} tokens; lower it, or set finetune.long_notes to chunks"
        )


def has_masked_head(base: Path) -> bool:
    """Whether the model of a directory has an output layer that predicts masked tokens."""
    architectures = _config(base).get("architectures") or []
    return any(mark in name for name in architectures for mark in _MASKED)


def is_quantized(base: Path) -> bool:
    """Whether the weights of a directory are of fewer bits than they are computed in."""
    return "quantization_config" in _config(base)


def is_causal(base: Path) -> bool:
    """Whether the model of a Hugging Face directory is a causal language model, by its config.

    One that does not say what it is counts as one. Raises ModelError where there is no config.
    """
    architectures = _config(base).get("architectures") or []
    return not architectures or any(mark in name for name in architectures for mark in _CAUSAL)


def is_encoder(base: BaseConfig) -> bool:
    """Whether a base is known to be no decoder; what is made from nothing is one."""
    return isinstance(base, GivenBase) and not is_causal(base.folder())


def check_vocabulary(base: Path, tokenizer: Path) -> None:
    """Raise ModelError where a tokenizer gives ids for which the base's embedding has no row."""
    config = _config(base)
    # of a model of texts and images, the former's are one level below
    rows = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size")
    loaded = LoadedTokenizer.load(tokenizer)
    if rows is not None:
        loaded.check_rows(rows, base)


def check_length(sequence_length: int, positions: int) -> None:
    """Raise ConfigError where sequences are longer than what the base reads, in tokens."""
    if sequence_length > positions:
        raise ConfigError(
            f"pretrain.sequence_length is {sequence_length}, but the base reads at most "
            f"{positions} tokens; lower it"
        )


def _config(base: Path) -> dict[str, Any]:
    path = base / "config.json"
    if not path.is_file():
        raise ModelError(
            f"{base} is not a model directory (no config.json); set pretrain.base to a Hugging "
            "Face directory, or to kind: scratch"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({type(error).__name__}); copy it anew") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} holds no model configuration; copy it anew")
    return config


def _weight_files(base: Path) -> list[Path]:
    """The safetensors files of the model, whether one or several. ModelError: one is missing."""
    if (base / _WHOLE).is_file():
        return [base / _WHOLE]
    if not (base / _INDEX).is_file():
        return []
    try:
        names = set(json.loads((base / _INDEX).read_text())["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{base / _INDEX} cannot be read ({type(error).__name__}); copy it anew"
        ) from None
    files = [base / name for name in sorted(names)]
    if missing := [path.name for path in files if not path.is_file()]:
        raise ModelError(
            f"{base} lacks {len(missing)} of its {len(files)} files of weights, e.g. {missing[0]}; "
            "copy the whole model there"
        )
    return files


def _matrices(path: Path) -> Iterator[str]:
    """The names of the layers whose weight is a matrix: linear layers and embeddings.

    A quantized one is called qweight, or weight_packed.
    """
    for name, tensor in _header(path).items():
        layer, _, parameter = name.rpartition(".")
        if "weight" in parameter and len(tensor["shape"]) == 2:
            yield layer


def _header(path: Path) -> dict[str, Any]:
    """What a safetensors file says of its tensors. ModelError: it is damaged or cut short.

    Format: https://huggingface.co/docs/safetensors: the header's length in 8 bytes, the header in
    JSON, the tensors.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, _LARGEST_HEADER)))
        header.pop("__metadata__", None)
        end = 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} is no readable safetensors file ({type(error).__name__}); copy it anew"
        ) from None
    if end != path.stat().st_size:
        raise ModelError(f"{path} has {path.stat().st_size} bytes, not {end}; copy it anew")
    return header
