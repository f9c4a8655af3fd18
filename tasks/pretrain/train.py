"""Train the clinical adapter on a frozen base: next tokens, or masked words of an encoder.

By hand, on two GPUs of one machine:

    torchrun --nproc-per-node 2 -m tasks.pretrain.train work/job.json

on two machines with eight GPUs each, the same on both:

    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 \\
        -m tasks.pretrain.train work/job.json

job.json is an AdapterJob, as every run leaves it in its work folder. Killed and started again, the
program goes on from its last checkpoint in that folder.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from transformers import PreTrainedModel

from tasks.data.tokenizer import LoadedTokenizer
from tasks.model.adapters.adaptation import Adaptation
from tasks.model.adapters.methods import tokens_before
from tasks.model.bases.causal import load_causal
from tasks.model.bases.files import check_length
from tasks.model.bases.kernels import use_kernels
from tasks.model.bases.masked import load_masked
from tasks.pretrain.corpus import Corpus
from tasks.pretrain.jobs import AdapterJob, EncoderReading
from tasks.pretrain.learn import learn, learn_language
from tasks.pretrain.objectives.causal import steps_for
from tasks.pretrain.objectives.masked import MaskedLesson, MaskedModel, Masker
from tasks.training.engine import deepspeed_config, precision_of, save_activations, seed_all
from tasks.training.program import World, run

CLINICAL = "clinical"  # the training's name
BACKBONE = "backbone."  # of the parameters of a model that an adapter is a part of


def main(job: AdapterJob, world: World) -> None:
    """Leave the adapter and its history beside the work folder."""
    corpus = Corpus(job.corpus)
    seed_all(job.training.seed)
    if job.encoder is not None:
        _masked(job, job.encoder, corpus, world)
        return
    settings = deepspeed_config(job.training, world)
    base = load_causal(job.base, precision_of(job.training, world), settings)
    use_kernels(base, world.device)
    adaptation = adapted(base, job, corpus)
    model = adaptation.model
    parts = adaptation.parts(model)
    trained = learn_language(CLINICAL, model, parts, corpus, job, world, adaptation)
    if world.first:
        adaptation.write(world.work.parent, trained.state, job.base_name)


def _masked(job: AdapterJob, reading: EncoderReading, corpus: Corpus, world: World) -> None:
    """The same for an encoder; a new output layer learns with the adapter, and is not saved."""
    training, share = job.training, job.training.batch_size_of_rank(world.size)
    settings = deepspeed_config(training, world)
    base, output = load_masked(job.base, precision_of(training, world), settings)
    adaptation = adapted(base, job, corpus)
    model = MaskedModel(adaptation.model, output)
    lesson = MaskedLesson(
        name=CLINICAL,
        corpus=corpus,
        masker=Masker.of(LoadedTokenizer.load(reading.tokenizer), reading.masking),
        steps=steps_for(corpus, job.epochs, job.max_tokens, training.batch_size),
        batch_size=training.batch_size,
        micro_batch_size=min(share, training.micro_batch_size or share),
        seed=training.seed,
        device=world.device,
        penalty=adaptation.penalty,
        # a GPU would rather compute padding than start more kernels
    )
    parts = adaptation.parts(model)
    learning = {name for name, each in model.named_parameters() if each.requires_grad}
    parts["output"] = sorted(learning.difference(*parts.values()))
    trained = learn(
        model,
        lesson,
        {part: names for part, names in parts.items() if names},
        job,
        world,
        watchers=adaptation.watchers,
        more=lambda: {
            "layout": "one chunk of a document a row, whole words masked",
            **adaptation.facts,
        },
    )
    if world.first:
        adaptation.write(world.work.parent, of_backbone(trained.state), job.base_name)


def adapted(base: PreTrainedModel, job: AdapterJob, corpus: Corpus) -> Adaptation:
    """The base with what is trained on it."""
    positions = getattr(base.config, "max_position_embeddings", None)
    if positions is not None and positions > 0:  # XLNet's are endless: -1
        check_length(corpus.sequence_length, positions - tokens_before(job.adapter))
    steps = steps_for(corpus, job.epochs, job.max_tokens, job.training.batch_size)
    adaptation = Adaptation.of(base, job.adapter, steps, "pretrain.adapter.targets")
    if job.training.gradient_checkpointing:
        save_activations(base, "pretrain.training.gradient_checkpointing")
    return adaptation


def of_backbone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of the adapted base, as it calls them, among those of a model around it."""
    return {
        name.removeprefix(BACKBONE): tensor
        for name, tensor in state.items()
        if name.startswith(BACKBONE)
    }


if __name__ == "__main__":
    run(AdapterJob, main)
