"""Task training of a small LLaMA by one arm, in a process of its own; a JSON line of its rate.

    python -m tests.bench._finetunings ours|paper|dynamic FOLDER

FOLDER holds what `_notes.py` writes.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench._notes import LABELS, LONGEST, NOTES

ROWS, EPOCH = 8, NOTES // 8  # notes of a step; steps of a pass, of which the second counts
PADDED_WARM, PADDED = 1, 3  # steps that do not count, and that do, where all take as long
RANK, ALPHA, TARGETS, RATE = 8, 16, ("q_proj", "v_proj"), 1e-3


def main() -> None:
    arm, folder = sys.argv[1], Path(sys.argv[2])
    alone()
    print(json.dumps(ours(folder) if arm == "ours" else theirs(folder, arm)), flush=True)
    os._exit(0)


def alone() -> None:
    """Let this process be the only rank."""
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "DS_ACCELERATOR": "cpu"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}


class Clock:
    """When each step ended."""

    def __init__(self) -> None:
        self.ticks: list[tuple[float, float]] = []

    def tick(self) -> None:
        self.ticks.append((time.perf_counter(), time.process_time()))

    def rates(self, begun: int, steps: int) -> dict[str, float]:
        """Notes a second, by the clock and of the processor, of the steps after the first ones."""
        first, last = self.ticks[begun - 1], self.ticks[begun + steps - 1]
        notes = steps * ROWS
        return {"clock": notes / (last[0] - first[0]), "work": notes / (last[1] - first[1])}


def member_job(folder: Path, **given: Any) -> Any:
    """A member of LoRA and a linear head on the last token, as the peers have them."""
    from tasks.finetune.config import MemberTraining
    from tasks.finetune.jobs import MemberJob

    head = {"kind": "linear", "bias": False, "scaling": "none", "start_from_titles": False}
    settings = {
        "adapter": {"kind": "lora", "rank": RANK, "alpha": ALPHA, "targets": TARGETS},
        "head": {**head, "learning_rate": RATE},
        "training": {"learning_rate": RATE, "batch_size": ROWS},
        "epochs": 2,
        "collapse_below": 0,
    }
    named = {name: given.pop(name) for name in list(given) if name in MemberTraining.model_fields}
    job = {
        "name": "ours",
        "member": "ours",
        "trained": (),
        "config": MemberTraining.model_validate(settings | named),
        "base": folder / "base",
        "summands": {},
        "tokenizer": folder / "tokenizer",
        "encoded": folder / "encoded",
        "outcomes": {"made-up": folder / "outcome-0"},
    }
    return MemberJob.model_validate(job | given)


def ours(folder: Path) -> dict[str, float]:
    import torch

    from tasks.finetune.lesson import MemberLesson
    from tasks.finetune.study import Study
    from tasks.finetune.train import build, plan_of
    from tasks.training.loop import train
    from tasks.training.program import World, _join
    from tasks.training.watchers.watcher import Run, Step, Watcher

    clock = Clock()

    class Ticks(Watcher):
        def stepped(self, run: Run, step: Step) -> None:
            clock.tick()

    with tempfile.TemporaryDirectory() as work:
        world = World(0, 1, 0, Path(work), torch.device("cpu"))
        _join(world)
        study = Study.read(member_job(folder))
        model = build(study, world)
        lesson = MemberLesson(study, plan_of(study, world), world.device)
        train(model, lesson, study.job.config.training, world, watchers=[Ticks()])
    return clock.rates(EPOCH, EPOCH)


def theirs(folder: Path, arm: str) -> dict[str, float]:
    """HF Trainer and PEFT as they come; `paper`: all rows are as long as the longest may be."""
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoModelForSequenceClassification,
        DataCollatorWithPadding,
        PreTrainedTokenizerFast,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from tasks import schemas, tables

    clock, padded = Clock(), arm == "paper"

    class Ticks(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    notes = tables.read(folder / "encoded" / "encoded", schemas.ENCODED)
    has = tables.read(folder / "outcome-0" / "outcomes", schemas.OUTCOMES)["labels"].to_pylist()
    ids = notes["input_ids"].to_pylist()[:NOTES]
    labels = [[float(label in of_note) for label in range(LABELS)] for of_note in has[:NOTES]]
    rows = Dataset.from_dict(
        {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids], "labels": labels}
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer" / "tokenizer.json"), pad_token="<pad>"
    )
    tokenizer.padding_side = "right"
    to_longest = {"padding": "max_length", "max_length": LONGEST} if padded else {}
    begun, steps = (PADDED_WARM, PADDED) if padded else (EPOCH, EPOCH)
    base = AutoModelForSequenceClassification.from_pretrained(
        folder / "base", num_labels=LABELS, problem_type="multi_label_classification"
    )
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(TARGETS), task_type="SEQ_CLS")
    with tempfile.TemporaryDirectory() as work:
        arguments = TrainingArguments(
            output_dir=work,
            per_device_train_batch_size=ROWS,
            max_steps=begun + steps,
            learning_rate=RATE,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        Trainer(
            model=get_peft_model(base, lora),
            args=arguments,
            train_dataset=rows,
            data_collator=DataCollatorWithPadding(tokenizer, **to_longest),
            callbacks=[Ticks()],
        ).train()
    return clock.rates(begun, steps)


if __name__ == "__main__":
    main()
