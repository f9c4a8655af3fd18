"""Train a base from nothing, on plain text; by hand as `tasks.pretrain.train` is.

torchrun --nproc-per-node 2 -m tasks.pretrain.base work/job.json
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import ModelError
from tasks.model.bases.scratch import scratch_llama
from tasks.pretrain.corpus import Corpus
from tasks.pretrain.jobs import BaseJob
from tasks.pretrain.learn import learn_language
from tasks.training.engine import seed_all
from tasks.training.program import World, run


def main(job: BaseJob, world: World) -> None:
    """Leave the model and its history beside the work folder."""
    seed_all(job.training.seed)
    model = scratch_llama(job.base, LoadedTokenizer.load(job.tokenizer))
    parts = {"base": [name for name, _ in model.named_parameters()]}
    trained = learn_language("base", model, parts, Corpus(job.corpus), job, world)
    if world.first:
        _write(model, trained.state, world.work.parent)


def _write(model: LlamaForCausalLM, state: Mapping[str, Tensor], out: Path) -> None:
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise ModelError("the base holds NaN or infinite values; lower the learning rate")
    whole = dict(state)
    if model.config.tie_word_embeddings:
        whole["lm_head.weight"] = whole["model.embed_tokens.weight"]
    model.config.dtype = torch.float32
    model.save_pretrained(out, state_dict=whole)


if __name__ == "__main__":
    run(BaseJob, main)
