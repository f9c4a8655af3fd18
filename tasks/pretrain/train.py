"""Train the clinical adapter on a frozen base.

By hand, on two GPUs of one machine:

    torchrun --nproc-per-node 2 -m tasks.pretrain.train work/job.json

on two machines with eight GPUs each, the same on both:

    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 \\
        -m tasks.pretrain.train work/job.json

job.json is an AdapterJob, as every run leaves it in its work folder. Killed and started again, the
program goes on from its last checkpoint in that folder.
"""

from __future__ import annotations

from peft import PeftModel

from tasks.model.adapters.build import add_new_adapter
from tasks.model.adapters.files import write_adapter
from tasks.model.adapters.parts import activate, parameters_of
from tasks.model.bases.causal import load_causal
from tasks.model.bases.files import check_length
from tasks.pretrain.corpus import Corpus
from tasks.pretrain.jobs import AdapterJob
from tasks.pretrain.learn import learn
from tasks.training.engine import deepspeed_config, precision_of, save_activations, seed_all
from tasks.training.program import World, run

ADAPTER = "default"  # PEFT's name for the only adapter of a directory


def main(job: AdapterJob, world: World) -> None:
    """Leave the adapter and its history beside the work folder."""
    corpus = Corpus(job.corpus)
    seed_all(job.training.seed)
    model = base_with_adapter(job, corpus.sequence_length, world)
    trained = learn("clinical", model, parameters_of(model), corpus, job, world)
    if world.first:
        write_adapter(world.work.parent, model, ADAPTER, trained.state, job.base_name)


def base_with_adapter(job: AdapterJob, sequence_length: int, world: World) -> PeftModel:
    """The base, frozen, with a new adapter, which changes nothing yet."""
    settings = deepspeed_config(job.training, world)
    base = load_causal(job.base, precision_of(job.training, world), settings)
    positions = getattr(base.config, "max_position_embeddings", None)
    if positions is not None and positions > 0:  # XLNet's are endless: -1
        check_length(sequence_length, positions)
    model = add_new_adapter(base, job.adapter, ADAPTER, "pretrain.adapter.targets")
    activate(model, [ADAPTER], [ADAPTER])
    if job.training.gradient_checkpointing:
        save_activations(base, "pretrain.training.gradient_checkpointing")
    return model


if __name__ == "__main__":
    run(AdapterJob, main)
