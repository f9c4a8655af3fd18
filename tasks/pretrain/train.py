"""Train a base model from nothing, or the clinical adapter on a frozen base.

By hand, on two GPUs of one machine:

    torchrun --nproc-per-node 2 -m tasks.pretrain.train work/job.json

on two machines with eight GPUs each, the same on both:

    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 \
        -m tasks.pretrain.train work/job.json

job.json is a TrainJob, as every run leaves it in its work folder. Killed and started again, the
program goes on from its last checkpoint in that folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from tasks import schemas, tables
from tasks.errors import ConfigError, ModelError, TrainingError
from tasks.model.adapters import add_new_adapter, write_adapter
from tasks.model.base import load_causal, scratch_llama
from tasks.pretrain.corpus import Corpus
from tasks.pretrain.jobs import AdapterJob, BaseJob, TrainJob
from tasks.pretrain.language import LanguageLesson, steps_for
from tasks.training.engine import deepspeed_config, precision_of, seed_all
from tasks.training.loop import Trained, train
from tasks.training.program import World, run

ADAPTER = "default"  # PEFT's name for the only adapter of a directory


def main(job: TrainJob, world: World) -> None:
    corpus = Corpus(job.corpus)
    seed_all(job.training.seed)
    match job.method:
        case BaseJob():
            model: nn.Module = _new_base(job.method)
        case AdapterJob():
            model = _base_with_adapter(job, job.method, world)
    model.to(world.device)

    share = -(-job.training.batch_size // world.size)  # of a rank, rounded up
    lesson = LanguageLesson(
        arm=job.arm,
        corpus=corpus,
        steps=steps_for(corpus, job.epochs, job.max_tokens, job.training.batch_size),
        batch_size=job.training.batch_size,
        micro_batch_size=min(share, job.training.micro_batch_size or share),
        device=world.device,
    )
    trained = train(model, lesson, job.training, world, check_gradients=_all_have_a_gradient)
    if world.first:
        _write(job, model, trained)


def _new_base(method: BaseJob) -> nn.Module:
    return scratch_llama(
        vocabulary_size=method.vocabulary_size,
        hidden_size=method.hidden_size,
        layers=method.layers,
        heads=method.heads,
        max_positions=method.max_positions,
        pad=method.pad,
        bos=method.bos,
        eos=method.eos,
    )


def _base_with_adapter(job: TrainJob, method: AdapterJob, world: World) -> nn.Module:
    """The base, frozen, with a new adapter: B = 0, so that training starts from the base."""
    settings = deepspeed_config(job.training, world)
    base = load_causal(method.base, precision_of(job.training, world), settings)
    positions = getattr(base.config, "max_position_embeddings", None)
    length = Corpus(job.corpus).sequence_length
    if positions is not None and length > positions:
        raise ConfigError(
            f"pretrain.sequence_length is {length}, but the base reads at most {positions} "
            "tokens; lower it"
        )
    try:
        model = add_new_adapter(base, method.lora, ADAPTER)
    except ValueError:
        raise ConfigError(
            "pretrain.lora.targets names layers that the base does not have; "
            "set it to all-linear, or to names as in the base's weights"
        ) from None
    if method.gradient_checkpointing:
        base.gradient_checkpointing_enable(  # type: ignore[no-untyped-call]
            {"use_reentrant": False}
        )
        base.enable_input_require_grads()  # type: ignore[no-untyped-call]
    trained = [name for name, each in model.named_parameters() if each.requires_grad]
    if not trained or any(".lora_" not in name for name in trained):
        raise ModelError("parameters beside the clinical adapter's would be trained")
    return model


def _all_have_a_gradient(norms: Mapping[str, float]) -> None:
    """Every parameter learns; but A of an adapter not before B has left zero.

    On an embedding it is the other way round: PEFT starts its A at zero.
    """
    waiting = ("lora_A", "lora_embedding_B")
    silent = [
        name for name, norm in norms.items() if norm == 0 and not any(w in name for w in waiting)
    ]
    if silent:
        raise TrainingError(
            f"{len(silent)} of {len(norms)} trained parameters got no gradient, "
            f"e.g. {silent[0]}; the adapter is not part of the forward pass"
        )


def _write(job: TrainJob, model: nn.Module, trained: Trained) -> None:
    history = pa.Table.from_pylist(trained.history, schemas.HISTORY)
    tables.write(job.out / "history.parquet", schemas.HISTORY, history)
    match job.method:
        case BaseJob():
            _write_base(model, trained.state, job.out)
        case AdapterJob():
            assert isinstance(model, PeftModel)
            write_adapter(job.out, model, ADAPTER, trained.state)
    counts = {
        "trained_parameters": sum(tensor.numel() for tensor in trained.state.values()),
        "steps": trained.steps,
        "tokens": trained.tokens,
        "loss": round(_mean_of_last(trained), 6),
    }
    job.counts.write_text(json.dumps(counts))


def _write_base(model: nn.Module, state: Mapping[str, Tensor], out: Path) -> None:
    assert isinstance(model, PreTrainedModel)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise ModelError("the base holds NaN or infinite values; lower the learning rate")
    whole = dict(state)
    if model.config.tie_word_embeddings:
        whole["lm_head.weight"] = whole["model.embed_tokens.weight"]
    model.config.dtype = torch.float32
    model.save_pretrained(out, state_dict=whole)


def _mean_of_last(trained: Trained, share: float = 0.1) -> float:
    losses = [row["loss"] for row in trained.history if row["loss"] is not None]
    last = losses[-max(1, int(len(losses) * share)) :]
    return sum(last) / len(last)


if __name__ == "__main__":
    run(TrainJob, main)
