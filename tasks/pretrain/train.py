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
from tasks.model.adapters import add_new_adapter, language_model, starts_at_zero, write_adapter
from tasks.model.base import load_causal, scratch_llama
from tasks.model.targets import check_length
from tasks.model.trial import PACKED, layout_for
from tasks.pretrain.corpus import Corpus
from tasks.pretrain.jobs import AdapterJob, BaseJob, TrainJob
from tasks.pretrain.language import LanguageLesson, steps_for
from tasks.training.engine import deepspeed_config, precision_of, seed_all
from tasks.training.loop import Trained, train
from tasks.training.program import World, run

ADAPTER = "default"  # PEFT's name for the only adapter of a directory
LAYOUT = "layout.txt"  # in the work folder: whether documents are packed, or why not


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

    def try_out(called: nn.Module) -> None:
        found = layout_for(called, language_model(model), corpus.sequence_length)
        layout = world.gather(found)[0]
        lesson.packed = layout == PACKED
        if world.first:
            (world.work / LAYOUT).write_text(layout)

    trained = train(
        model,
        lesson,
        job.training,
        world,
        try_out=try_out,
        check_gradients=lambda norms: _check_gradients(norms, job.method),
    )
    if world.first:
        _write(job, model, trained, (world.work / LAYOUT).read_text())


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
    if positions is not None and positions > 0:  # XLNet's are endless: -1
        check_length(Corpus(job.corpus).sequence_length, positions)
    model = add_new_adapter(base, method.lora, ADAPTER, "pretrain.lora.targets")
    if method.gradient_checkpointing:
        _save_activations(base)
    trained = [name for name, each in model.named_parameters() if each.requires_grad]
    if not trained or any(".lora_" not in name for name in trained):
        raise ModelError("parameters beside the clinical adapter's would be trained")
    return model


def _save_activations(base: PreTrainedModel) -> None:
    try:
        base.gradient_checkpointing_enable(  # type: ignore[no-untyped-call]
            {"use_reentrant": False}
        )
    except ValueError:
        raise ConfigError(
            f"a {type(base).__name__} cannot checkpoint gradients; set "
            "pretrain.gradient_checkpointing to false"
        ) from None
    base.enable_input_require_grads()  # type: ignore[no-untyped-call]


def _check_gradients(norms: Mapping[str, float], method: BaseJob | AdapterJob) -> None:
    """Raise TrainingError where what was to learn got no gradient in the first backward pass.

    Of an adapter, what starts at zero gets one at first, the rest later. A layer may get none, such
    as an expert to which no token went, or one whose weights the base reads itself (Mamba's
    dt_proj), but not all that a target names.
    """
    match method:
        case BaseJob():
            silent = [name for name, norm in norms.items() if not norm]
        case AdapterJob():
            targets = [""] if method.lora.targets == "all-linear" else method.lora.targets
            reached = [name for name, norm in norms.items() if norm and starts_at_zero(name)]
            silent = [target for target in targets if not any(target in name for name in reached)]
    if silent:
        raise TrainingError(
            f"{silent[0] or 'the adapter'} got no gradient in the first backward pass: the base "
            "does not call it; leave it out of pretrain.lora.targets"
        )


def _write(job: TrainJob, model: nn.Module, trained: Trained, layout: str) -> None:
    history = pa.Table.from_pylist(trained.history, schemas.HISTORY)
    tables.write(job.out / "history.parquet", schemas.HISTORY, history)
    match job.method:
        case BaseJob():
            _write_base(model, trained.state, job.out)
        case AdapterJob():
            assert isinstance(model, PeftModel)
            write_adapter(job.out, model, ADAPTER, trained.state, job.method.base_name)
    counts = {
        "trained_parameters": sum(tensor.numel() for tensor in trained.state.values()),
        "steps": trained.steps,
        "tokens": trained.tokens,
        "loss": round(_mean_of_last(trained), 6),
        "layout": layout,
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
