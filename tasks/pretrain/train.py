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

from collections.abc import Callable, Mapping

from torch import Tensor
from transformers import PreTrainedModel

from tasks.data.tokenizer import LoadedTokenizer
from tasks.model.adapters.adaptation import Adaptation
from tasks.model.adapters.methods import tokens_before
from tasks.model.bases.causal import load_causal
from tasks.model.bases.files import check_length
from tasks.model.bases.kernels import use_kernels
from tasks.model.bases.masked import NewOutput, load_masked
from tasks.pretrain.corpus import Corpus
from tasks.pretrain.jobs import AdapterJob, EncoderReading, OutputJob
from tasks.pretrain.learn import learn, learn_language
from tasks.pretrain.objectives.causal import steps_for
from tasks.pretrain.objectives.masked import MaskedLesson, MaskedModel, Masker
from tasks.training.engine import deepspeed_config, precision_of, save_activations, seed_all
from tasks.training.flops import shape_of
from tasks.training.program import World, run

CLINICAL = "clinical"  # the training's name
BACKBONE, OUTPUT_LAYER = "backbone.", "output."  # of the parameters of a MaskedModel
MASKED_LAYOUT = "one chunk of a document a row, whole words masked"


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
    """The same for an encoder; where it has no output layer, a new one learns with the adapter."""
    settings = deepspeed_config(job.training, world)
    base, output = load_masked(job.base, precision_of(job.training, world), settings)
    adaptation = adapted(base, job, corpus)
    model = MaskedModel(adaptation.model, output)
    lesson = masked_lesson(CLINICAL, job, reading, corpus, world, adaptation.penalty)
    parts = adaptation.parts(model)
    learning = {name for name, each in model.named_parameters() if each.requires_grad}
    parts["output"] = sorted(learning.difference(*parts.values()))
    output_parameters = sum(shape_of(model.get_parameter(name)).numel() for name in parts["output"])
    trained = learn(
        model,
        lesson,
        {part: names for part, names in parts.items() if names},
        job,
        world,
        watchers=adaptation.watchers,
        more=lambda: {
            "layout": MASKED_LAYOUT,
            **adaptation.facts,
            **({"output_parameters": output_parameters} if output_parameters else {}),
        },
    )
    if world.first:
        adaptation.write(
            world.work.parent, parameters_within(BACKBONE, trained.state), job.base_name
        )
        if job.keeps_output:
            assert isinstance(output, NewOutput), "the base has a layer of its own"
            output.write(world.work.parent, parameters_within(OUTPUT_LAYER, trained.state))


def masked_lesson(
    name: str,
    job: AdapterJob | OutputJob,
    reading: EncoderReading,
    corpus: Corpus,
    world: World,
    penalty: Callable[[], Tensor] | None = None,
) -> MaskedLesson:
    """What an encoder learns from: the same chunks and the same words, whatever is trained on it.

    Args:
        penalty: what is added to the loss of a token.
    """
    training, share = job.training, job.training.batch_size_of_rank(world.size)
    return MaskedLesson(
        name=name,
        corpus=corpus,
        masker=Masker.of(LoadedTokenizer.load(reading.tokenizer), reading.masking),
        steps=steps_for(corpus, job.epochs, job.max_tokens, training.batch_size),
        batch_size=training.batch_size,
        micro_batch_size=min(share, training.micro_batch_size or share),
        seed=training.seed,
        device=world.device,
        penalty=penalty,
    )


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


def parameters_within(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of a part, as it calls them, among those of the model around it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


if __name__ == "__main__":
    run(AdapterJob, main)
