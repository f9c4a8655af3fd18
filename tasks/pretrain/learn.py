"""A training of the stage: what it leaves, whether a whole model learns or an adapter on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa
from torch import nn

from tasks import schemas, tables
from tasks.errors import ModelError
from tasks.model.adapters.adaptation import Adaptation, may_pack
from tasks.model.adapters.build import language_model
from tasks.model.adapters.methods import Full, targets_of
from tasks.model.bases.kernels import attend_by_mask, attends_by_kernels
from tasks.model.bases.trial import PACKED, layout_for, output_that_gives_losses
from tasks.pretrain.corpus import Corpus
from tasks.pretrain.jobs import AdapterJob, BaseJob, OntologyJob, OutputJob
from tasks.pretrain.objectives.causal import LanguageLesson, steps_for
from tasks.pretrain.objectives.masked import MaskedLesson, MaskedModel
from tasks.pretrain.packing import pieces
from tasks.training.flops import attended_tokens, flops_per_token
from tasks.training.lesson import Lesson
from tasks.training.loop import Trained, train
from tasks.training.program import World
from tasks.training.watchers.energy import Energy, energy_of
from tasks.training.watchers.movement import Movement
from tasks.training.watchers.watcher import Run, Watcher

SAMPLE = 1024  # sequences


def learn_language(
    name: str,
    model: nn.Module,
    parts: Mapping[str, Sequence[str]],
    corpus: Corpus,
    job: BaseJob | AdapterJob,
    world: World,
    adaptation: Adaptation | None = None,
) -> Trained:
    """Next-token prediction; otherwise as `learn`.

    Args:
        adaptation: what is trained on a base; None: the model is new, and all of it is.
    """
    training = job.training
    share = training.batch_size_of_rank(world.size)
    lesson = LanguageLesson(
        name=name,
        corpus=corpus,
        steps=steps_for(corpus, job.epochs, job.max_tokens, training.batch_size),
        batch_size=training.batch_size,
        micro_batch_size=min(share, training.micro_batch_size or share),
        device=world.device,
        penalty=adaptation.penalty if adaptation else None,
    )
    layout = Layout(lesson, model)
    return learn(
        model,
        lesson,
        parts,
        job,
        world,
        watchers=(layout, *(adaptation.watchers if adaptation else ())),
        more=lambda: {"layout": layout.found(world)} | (adaptation.facts if adaptation else {}),
    )


def learn(
    model: nn.Module,
    lesson: Lesson,
    parts: Mapping[str, Sequence[str]],
    job: BaseJob | AdapterJob | OutputJob | OntologyJob,
    world: World,
    *,
    watchers: Sequence[Watcher] = (),
    rate_of: Callable[[str], float] | None = None,
    more: Callable[[], Mapping[str, Any]] = dict,
) -> Trained:
    """Train what requires a gradient; leave history.parquet beside the work folder, counts in it.

    Args:
        parts: what the trained parameters belong to -> their names.
        rate_of: the peak learning rate of a parameter, by its name; default that of the job.
        more: what else is counted.
    """
    model.to(world.device)
    method = None if isinstance(job, BaseJob | OutputJob) else job.adapter
    unnamed = method and (isinstance(targets_of(method), str) or isinstance(method, Full))
    movement = Movement(parts, tolerant=parts if unnamed else ())
    looking = (*watchers, movement, Energy())
    arithmetic = flops_of(model, lesson)  # before a finished model is taken down
    trained = train(model, lesson, job.training, world, rate_of=rate_of, watchers=looking)
    if world.first:
        history = pa.Table.from_pylist(trained.history, schemas.HISTORY)
        tables.write(world.work.parent / "history.parquet", schemas.HISTORY, history)
        counts = {
            "trained_parameters": sum(tensor.numel() for tensor in trained.state.values()),
            "steps": trained.steps,
            "tokens": trained.tokens,
            "loss": round(mean_of_last(trained), 6),
            "training_seconds": round(trained.history[-1]["seconds"], 1),
            **({"flops": round(arithmetic * trained.tokens)} if arithmetic else {}),
            **energy_of(world, lesson.name),
            **more(),
        }
        if movement.still:
            counts["tensors_that_did_not_move"] = len(movement.still)
        (world.work / "counts.json").write_text(json.dumps(counts))
    return trained


def flops_of(model: nn.Module, lesson: Lesson) -> float | None:
    """Operations of a token of a training on notes; None of another.

    How far tokens attend is taken from the first sequences of the corpus, which is shuffled. Of an
    encoder, the output layer is left out: it is computed for masked words alone.
    """
    match lesson:
        case LanguageLesson(corpus=corpus):
            trained, causal = model, True
        case MaskedLesson(corpus=corpus) if isinstance(model, MaskedModel):
            trained, causal = model.backbone, False
        case _:
            return None
    rows = range(min(len(corpus), SAMPLE))
    documents = [len(ids) for row in rows for _, ids in pieces(corpus[row])]
    attended = attended_tokens(documents, causal=causal)
    return flops_per_token(trained, language_model(trained), attended)


LAYOUT = "layout.txt"  # in the work folder: whether documents are packed, or why not


class Layout(Watcher):
    """Tries, before the first step, whether the base keeps packed documents apart."""

    def __init__(self, lesson: LanguageLesson, model: nn.Module) -> None:
        """Of the lesson, which packs documents only where the base keeps them apart."""
        self.lesson, self.base, self.may_pack = lesson, language_model(model), may_pack(model)

    def begin(self, run: Run) -> None:
        with run.engine.evaluating() as called:
            layout = self._layout(called)
            output = output_that_gives_losses(called, self.base)
        layout = run.world.gather(layout)[0]
        self.lesson.packed = layout == PACKED
        self.lesson.output = output if all(run.world.gather(output is not None)) else None
        if run.world.first:
            (run.world.work / LAYOUT).write_text(layout)

    def _layout(self, called: nn.Module) -> str:
        length = self.lesson.corpus.sequence_length
        if attends_by_kernels(self.base):
            with suppress(ModelError):
                layout = layout_for(called, self.base, length, may_pack=self.may_pack)
                if layout == PACKED or not self.may_pack:
                    return layout
            attend_by_mask(self.base)
        return layout_for(called, self.base, length, may_pack=self.may_pack)

    def found(self, world: World) -> str:
        """PACKED, or why not; also of a training that was finished earlier."""
        return (world.work / LAYOUT).read_text()


def mean_of_last(trained: Trained, share: float = 0.1) -> float:
    """The mean loss of the last steps."""
    losses = [row["loss"] for row in trained.history if row["loss"] is not None]
    last = losses[-max(1, int(len(losses) * share)) :]
    return sum(last) / len(last)
