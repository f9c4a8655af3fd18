"""Train the ontology adapter on a frozen base; by hand as `tasks.pretrain.train` is.

torchrun -m tasks.pretrain.ontology work/job.json
"""

from __future__ import annotations

import json

import torch
from torch import nn

from tasks.data.tokenizer import LoadedTokenizer
from tasks.model.adapters.adaptation import ADAPTER
from tasks.model.adapters.build import add_new_adapter
from tasks.model.adapters.files import write_adapter
from tasks.model.adapters.parts import activate, parameters_of
from tasks.model.bases.files import positions_of
from tasks.model.bases.load import load_base
from tasks.precision import computes_bf16
from tasks.pretrain.config import OntologyTraining
from tasks.pretrain.corpus import Corpus
from tasks.pretrain.jobs import OntologyJob
from tasks.pretrain.learn import learn
from tasks.pretrain.objectives.ontology import (
    Finder,
    OntologyLesson,
    mean_losses,
    retrieval_losses,
)
from tasks.pretrain.planting import Planting, read_categories
from tasks.pretrain.train import of_backbone
from tasks.training.engine import deepspeed_config, precision_of, save_activations, seed_all
from tasks.training.program import World, run
from tasks.training.watchers.watcher import Run, Watcher

RETRIEVAL = "retrieval.json"  # in the work folder: the losses before and after training
JUDGED_DRAWS = 8  # which no step learned from


def main(job: OntologyJob, world: World) -> None:
    """Leave the adapter and its history beside the work folder."""
    job = job.model_copy(
        update={"config": job.config.model_copy(update={"training": _training(job, world.device)})}
    )
    training = job.training
    seed_all(training.seed)
    tokenizer = LoadedTokenizer.load(job.tokenizer)
    systems = read_categories(job.ontology, job.config.codes_per_category)
    planting = Planting(Corpus(job.corpus), systems, tokenizer, job.config, positions_of(job.base))
    settings = deepspeed_config(training, world)
    base = load_base(job.base, precision_of(training, world), settings, job.layer)
    for module in base.model.modules():  # the base is no part of what learns, nor is its dropout
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    adapted = add_new_adapter(base.model, job.adapter, ADAPTER, "pretrain.ontology.adapter.targets")
    activate(adapted, [ADAPTER], [ADAPTER])
    if training.gradient_checkpointing:
        save_activations(base.model, "pretrain.ontology.training.gradient_checkpointing")
    model = Finder(base, adapted, job.config.scale)
    lesson = OntologyLesson("ontology", planting, job.config.steps, world.device)
    retrieval = Retrieval(lesson)
    parts = {**parameters_of(model), "scales": ["scales"]}
    trained = learn(
        model,
        lesson,
        parts,
        job,
        world,
        watchers=(retrieval,),
        rate_of=lambda name: (
            job.config.scale_learning_rate if name == "scales" else training.learning_rate
        ),
        more=lambda: retrieval.found(world),
    )
    if world.first:
        write_adapter(
            world.work.parent, adapted, ADAPTER, of_backbone(trained.state), job.base_name
        )


class Retrieval(Watcher):
    """Measures how well titles and texts find one another, before and after the training."""

    def __init__(self, lesson: OntologyLesson) -> None:
        self.lesson = lesson

    def begin(self, run: Run) -> None:
        if run.state.step == 0:
            self._measure(run, "before")

    def end(self, run: Run) -> None:
        self._measure(run, "after")

    def found(self, world: World) -> dict[str, float]:
        """The losses and what they are by chance; also of a training that was finished earlier."""
        measured: dict[str, float] = json.loads((world.work / RETRIEVAL).read_text())
        return measured

    def _measure(self, run: Run, when: str) -> None:
        steps = range(self.lesson.steps, self.lesson.steps + JUDGED_DRAWS)
        with run.engine.evaluating() as called:
            of_labels, of_texts = mean_losses(self.lesson, called, steps)
        if not run.world.first:
            return
        path = run.world.work / RETRIEVAL
        measured = json.loads(path.read_text()) if path.is_file() else {}
        measured |= {
            f"label_loss_{when}": round(of_labels, 6),
            f"text_loss_{when}": round(of_texts, 6),
        }
        matches = torch.from_numpy(self.lesson.planting.draw(steps[0]).matches)
        of_labels, of_texts = (
            each.item() for each in retrieval_losses(torch.zeros(matches.shape), matches)
        )
        measured |= {
            "label_loss_by_chance": round(of_labels, 6),
            "text_loss_by_chance": round(of_texts, 6),
        }
        path.write_text(json.dumps(measured))


def _training(job: OntologyJob, where: torch.device) -> OntologyTraining:
    """The configuration with bf16 chosen where it is left to us and the CPU computes in it."""
    training = job.config.training
    if training.precision == "auto" and computes_bf16(where):
        return training.model_copy(update={"precision": "bf16"})
    return training


if __name__ == "__main__":
    run(OntologyJob, main)
