"""Fit an output layer to a frozen encoder that came with none: what masked words were.

    torchrun --nproc-per-node 2 -m tasks.pretrain.output work/job.json

The clinical adapter of such an encoder learns with a new output layer (`train.py`), so that the
loss of masked words with it says nothing of the adapter alone. Here the same layer learns on the
base alone: from the same notes, the same words masked, in the same steps and at the same rates. The
difference of the two losses is what the adapter adds.

job.json is an OutputJob. Killed and started again, the program goes on from its last checkpoint.
"""

from __future__ import annotations

from tasks.model.bases.masked import NewOutput, load_masked
from tasks.pretrain.corpus import Corpus
from tasks.pretrain.jobs import OutputJob
from tasks.pretrain.learn import learn
from tasks.pretrain.objectives.masked import MaskedModel
from tasks.pretrain.train import MASKED_LAYOUT, OUTPUT_LAYER, masked_lesson, parameters_within
from tasks.training.engine import deepspeed_config, precision_of, seed_all
from tasks.training.program import World, run

NAME = "output layer"  # the training's


def main(job: OutputJob, world: World) -> None:
    """Leave the layer and its history beside the work folder."""
    corpus = Corpus(job.corpus)
    seed_all(job.training.seed)
    settings = deepspeed_config(job.training, world)
    base, output = load_masked(job.base, precision_of(job.training, world), settings)
    assert isinstance(output, NewOutput), "the base has a layer of its own"
    trained = learn(
        MaskedModel(base, output),
        masked_lesson(NAME, job, job.encoder, corpus, world),
        {"output": [f"{OUTPUT_LAYER}{name}" for name in output.own]},
        job,
        world,
        more=lambda: {"layout": MASKED_LAYOUT},
    )
    if world.first:
        output.write(world.work.parent, parameters_within(OUTPUT_LAYER, trained.state))


if __name__ == "__main__":
    run(OutputJob, main)
