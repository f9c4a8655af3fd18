"""Train the ontology adapter on a frozen base; by hand as `tasks.pretrain.train` is.

torchrun -m tasks.pretrain.ontology work/job.json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from tasks.data.tokenizer import LoadedTokenizer
from tasks.model.adapters.adaptation import ADAPTER
from tasks.model.adapters.build import add_new_adapter
from tasks.model.adapters.files import write_adapter
from tasks.model.adapters.parts import activate, parameters_of
from tasks.model.bases.causal import load_causal
from tasks.model.bases.files import is_causal, positions_of
from tasks.model.bases.layers import take_dropout_off
from tasks.model.bases.load import load_base
from tasks.model.bases.masked import load_masked
from tasks.precision import computes_bf16
from tasks.pretrain.config import OntologyTraining
from tasks.pretrain.corpus import Corpus
from tasks.pretrain.jobs import OntologyJob
from tasks.pretrain.learn import learn
from tasks.pretrain.objectives.masked import MaskedModel
from tasks.pretrain.objectives.ontology import (
    Finder,
    OntologyLesson,
    mean_losses,
    retrieval_losses,
)
from tasks.pretrain.objectives.sentences import SentenceLesson, Speaker
from tasks.pretrain.planting import Planting, read_categories
from tasks.pretrain.relations import read_relations
from tasks.pretrain.train import BACKBONE, parameters_within
from tasks.training.engine import deepspeed_config, precision_of, save_activations, seed_all
from tasks.training.program import World, run
from tasks.training.watchers.watcher import Run, Watcher

ARM = "ontology"  # the training's name
MEASURED = "measured.json"  # in the work folder: the losses before and after training
JUDGED_DRAWS = 8  # which no step learned from


def main(job: OntologyJob, world: World) -> None:
    """Leave the adapter and its history beside the work folder."""
    job = job.model_copy(
        update={"config": job.config.model_copy(update={"training": _training(job, world.device)})}
    )
    seed_all(job.training.seed)
    tokenizer = LoadedTokenizer.load(job.tokenizer)
    match job.config.objective:
        case "planted":
            _planted(job, tokenizer, world)
        case "sentences":
            _sentences(job, tokenizer, world)


def _planted(job: OntologyJob, tokenizer: LoadedTokenizer, world: World) -> None:
    """Titles of codes find the spans of notes that they are planted into."""
    config, training = job.config, job.training
    assert job.corpus is not None, "the spans are of notes"
    systems = read_categories(job.ontology, config.codes_per_category)
    planting = Planting(Corpus(job.corpus), systems, tokenizer, config, positions_of(job.base))
    settings = deepspeed_config(training, world)
    base = load_base(job.base, precision_of(training, world), settings, job.layer)
    adapted = _adapted(base.model, job)
    model = Finder(base, adapted, config.scale)
    lesson = OntologyLesson(ARM, planting, config.steps, world.device)
    judged = range(config.steps, config.steps + JUDGED_DRAWS)

    def losses(called: nn.Module) -> dict[str, float]:
        of_labels, of_texts = mean_losses(lesson, called, judged)
        return {"label_loss": of_labels, "text_loss": of_texts}

    matches = torch.from_numpy(planting.draw(judged[0]).matches)
    of_labels, of_texts = retrieval_losses(torch.zeros(matches.shape), matches)
    by_chance = {"label_loss": of_labels.item(), "text_loss": of_texts.item()}
    measured = BeforeAndAfter(losses, by_chance)
    trained = learn(
        model,
        lesson,
        {**parameters_of(model), "scales": ["scales"]},
        job,
        world,
        watchers=(measured,),
        rate_of=lambda name: (
            config.scale_learning_rate if name == "scales" else training.learning_rate
        ),
        more=lambda: measured.values(world),
    )
    if world.first:
        state = parameters_within(BACKBONE, trained.state)
        write_adapter(world.work.parent, adapted, ADAPTER, state, job.base_name)


def _sentences(job: OntologyJob, tokenizer: LoadedTokenizer, world: World) -> None:
    """One side of "X is a type of Y" follows from the other."""
    config, training, causal = job.config, job.training, is_causal(job.base)
    speaker = Speaker(tokenizer, config.title_pieces, causal)
    speaker.check_length(positions_of(job.base))
    loading = precision_of(training, world), deepspeed_config(training, world)
    model: nn.Module
    if causal:
        model = adapted = _adapted(load_causal(job.base, *loading), job)
    else:
        base, output = load_masked(job.base, *loading)
        adapted = _adapted(base, job)
        model = MaskedModel(adapted, output)
    share = training.batch_size_of_rank(world.size)
    lesson = SentenceLesson(
        name=ARM,
        speaker=speaker,
        systems=read_relations(
            job.ontology,
            config.codes_per_category,
            training.seed,
            shuffled=config.titles == "shuffled",
        ),
        steps=config.steps,
        batch_size=training.batch_size,
        micro_batch_size=min(share, training.micro_batch_size or share),
        seed=training.seed,
        device=world.device,
    )
    parts = parameters_of(model)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if beside := sorted(learning.difference(*parts.values())):  # an output layer of ours
        parts["output"] = beside
    measured = BeforeAndAfter(lambda called: {"sentence_loss": lesson.held_out_loss(called)}, {})
    trained = learn(
        model, lesson, parts, job, world, watchers=(measured,), more=lambda: measured.values(world)
    )
    if world.first:
        state = trained.state if causal else parameters_within(BACKBONE, trained.state)
        write_adapter(world.work.parent, adapted, ADAPTER, state, job.base_name)


def _adapted(base: PreTrainedModel, job: OntologyJob) -> PeftModel:
    """The base, frozen and without its dropout, with a new adapter, which learns."""
    take_dropout_off(base)
    adapted = add_new_adapter(base, job.adapter, ADAPTER, "pretrain.ontology.adapter.targets")
    activate(adapted, [ADAPTER], [ADAPTER])
    if job.training.gradient_checkpointing:
        save_activations(base, "pretrain.ontology.training.gradient_checkpointing")
    return adapted


class BeforeAndAfter(Watcher):
    """Measures losses on what no step learned from, before and after the training."""

    def __init__(
        self, losses: Callable[[nn.Module], Mapping[str, float]], by_chance: Mapping[str, float]
    ) -> None:
        """Of a model in evaluation mode, by name."""
        self.losses, self.by_chance = losses, by_chance

    def begin(self, run: Run) -> None:
        if run.state.step == 0:
            self._measure(run, "before")

    def end(self, run: Run) -> None:
        self._measure(run, "after")

    def values(self, world: World) -> dict[str, float]:
        """The losses and what they are by chance; also of a training that was finished earlier."""
        values: dict[str, float] = json.loads((world.work / MEASURED).read_text())
        return values

    def _measure(self, run: Run, when: str) -> None:
        with run.engine.evaluating() as called:
            losses = self.losses(called)
        if not run.world.first:
            return
        path = run.world.work / MEASURED
        values = json.loads(path.read_text()) if path.is_file() else {}
        for of, named in ((when, losses), ("by_chance", self.by_chance)):
            values |= {f"{name}_{of}": round(loss, 6) for name, loss in named.items()}
        path.write_text(json.dumps(values))


def _training(job: OntologyJob, where: torch.device) -> OntologyTraining:
    """The configuration with bf16 chosen where it is left to us and the CPU computes in it."""
    training = job.config.training
    if training.precision == "auto" and computes_bf16(where):
        return training.model_copy(update={"precision": "bf16"})
    return training


if __name__ == "__main__":
    run(OntologyJob, main)
