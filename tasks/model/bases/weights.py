"""Weights from a Hugging Face directory; under ZeRO-3 each rank reads its share of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from tasks.collectives import join_deepspeed
from tasks.errors import ModelError


def read_weights(
    loader: Any, folder: Path, dtype: torch.dtype, deepspeed: Mapping[str, Any] | None, what: str
) -> tuple[PreTrainedModel, list[str]]:
    """Load a model, frozen, its cache off; return it, and which of its weights the files lack.

    Args:
        loader: one of transformers' AutoModel classes.
        deepspeed: the engine's configuration; under ZeRO-3 each rank then loads its share only.
        what: the model as it is called in an error, e.g. "a causal language model".

    Raises ModelError where the directory holds no such model.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} is not a model directory (no config.json); set pretrain.base to a Hugging "
            "Face directory, or to kind: scratch"
        )
    try:
        with _sharded_by(deepspeed):
            model, loading = loader.from_pretrained(
                str(folder), dtype=dtype, local_files_only=True, output_loading_info=True
            )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(
            f"the model in {folder} cannot be loaded as {what} ({type(error).__name__}); it needs "
            "*.safetensors weights of an architecture of which transformers has one"
        ) from error
    # With the default cache, a packed document would attend to the one before it: its logits
    # differed by 3.23 from those alone (1e-6 without)
    model.config.use_cache = False
    model.requires_grad_(False)
    for layer in model.modules():
        # bitsandbytes 0.50: a 4-bit layer that a CPU with bf16 has once called without gradients
        # never gives one again, and what lies before it learns nothing, in silence
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    assert isinstance(model, PreTrainedModel)
    return model, sorted(loading["missing_keys"])


def refuse_missing(model: PreTrainedModel, folder: Path, missing: list[str]) -> None:
    """Raise ModelError where the files lack weights, which would be random."""
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} weights of a {type(model).__name__}, e.g. "
            f"{missing[0]}, which would be random; save the whole language model there"
        )


@contextmanager
def _sharded_by(deepspeed: Mapping[str, Any] | None) -> Iterator[None]:
    """Within it, from_pretrained shards parameters as they are read, if the stage is ZeRO-3."""
    if not deepspeed or deepspeed.get("zero_optimization", {}).get("stage") != 3:
        yield
        return
    from transformers.integrations import deepspeed as integration

    # before any parameter is made: unaware of the other ranks, DeepSpeed would count only one
    join_deepspeed()
    # transformers holds it by a weak reference: keep it until the weights are read
    config = integration.HfDeepSpeedConfig(dict(deepspeed))  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        integration.unset_hf_deepspeed_config()  # type: ignore[no-untyped-call]
        del config
