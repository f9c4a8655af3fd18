"""Domain pretraining by one arm with several seeds, in a process of its own; its held-out losses.

    python -m tests.bench._packed_losses packed|unpacked|bfd|bfd-steps|wrapped FOLDER

The last three are TRL's, by the name of its packing strategy. FOLDER holds base-SEED/,
corpus-SEED/, tokenizer/, whole/ and held-out/, which `packed_loss.py` writes, and ours.json.
"""

from __future__ import annotations

import json
import math
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench._trainings import LENGTH, alone, main, packing_trainer

SEEDS = (0, 1, 2)
OURS = "ours.json"  # what our packed training returned
ROWS, RATE, WARMUP = 4, 3e-3, 0.06  # of a step; the peak; the share of steps that rise to it


def ours(folder: Path, *, packed: bool) -> dict[str, Any]:
    """Documents kept apart in a row, or a row each; a step's documents are the same."""
    from tasks.model.bases.causal import load_causal
    from tasks.pretrain.corpus import Corpus
    from tasks.pretrain.learn import Layout
    from tasks.pretrain.objectives.causal import LanguageLesson, steps_for
    from tasks.training.config import TrainingConfig
    from tasks.training.engine import seed_all
    from tasks.training.loop import train

    losses, tokens, steps = [], [], []
    with alone() as world:
        for seed in SEEDS:
            seed_all(seed)
            model = load_causal(folder / f"base-{seed}").requires_grad_(True)
            config = TrainingConfig(learning_rate=RATE, batch_size=ROWS, warmup_share=WARMUP)
            corpus = Corpus(folder / f"corpus-{seed}")
            steps.append(steps_for(corpus, 1.0, None, ROWS))
            lesson = LanguageLesson(str(seed), corpus, steps[-1], ROWS, ROWS, world.device)
            layout = Layout(lesson, model)
            layout.may_pack = packed
            trained = train(model, lesson, config, world, watchers=[layout])
            assert lesson.packed == packed
            tokens.append(trained.tokens)
            losses.append(held_out_loss(model, folder))
    return {"losses": losses, "tokens": tokens, "steps": steps, "leak": 0.0}


def trl(folder: Path, *, strategy: str, as_many: str = "tokens") -> dict[str, Any]:
    """TRL's SFTTrainer on the same notes, for as many tokens or steps as our packed training."""
    from transformers import AutoModelForCausalLM

    ours = json.loads((folder / OURS).read_text())
    losses, tokens, steps, leaks = [], [], [], []
    for index, seed in enumerate(SEEDS):
        with tempfile.TemporaryDirectory() as work:
            trainer = packing_trainer(
                folder,
                AutoModelForCausalLM.from_pretrained(folder / f"base-{seed}"),
                output_dir=work,
                packing_strategy=strategy,
                per_device_train_batch_size=ROWS,
                learning_rate=RATE,
                lr_scheduler_type="linear",
                warmup_steps=WARMUP,
                seed=seed,
            )
            rows = trainer.train_dataset["input_ids"]
            of_step = ROWS * sum(map(len, rows)) / len(rows)
            each = {"tokens": of_step, "steps": 1}[as_many]
            steps.append(math.ceil(ours[as_many][index] / each))
            trainer.args.max_steps = steps[-1]
            trainer.train()
        tokens.append(round(steps[-1] * of_step))
        leaks.append(leak_of(trainer))
        losses.append(held_out_loss(trainer.model, folder))
    return {"losses": losses, "tokens": tokens, "steps": steps, "leak": max(leaks)}


def held_out_loss(model: Any, folder: Path) -> float:
    """The mean negative log-likelihood in nats of a token of whole notes, each read alone."""
    import torch
    from datasets import load_from_disk
    from torch.nn import functional

    from tasks.pretrain.whole_notes import windows

    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for ids in load_from_disk(str(folder / "held-out"))["input_ids"]:
            for window in windows(len(ids), LENGTH, LENGTH // 2):
                row = torch.tensor([ids[window.begin : window.end]])
                first = window.scored - window.begin
                logits = model(input_ids=row, use_cache=False).logits[0, first - 1 : -1]
                total += functional.cross_entropy(logits, row[0, first:], reduction="sum").item()
                count += row.shape[1] - first
    return total / count


def leak_of(trainer: Any) -> float:
    """How far a packed document's logits differ from those that it has alone, of their spread."""
    import torch

    first, second = torch.randint(3, 500, (2, LENGTH // 2)).tolist()
    row = {"input_ids": first + second, "labels": first + second}
    if trainer.padding_free:
        row["seq_lengths"] = [len(first), len(second)]
    model = trainer.model.eval()
    with torch.no_grad():
        given = {key: value for key, value in trainer.data_collator([row]).items()}
        del given["labels"]
        packed = model(**given, use_cache=False).logits[0, len(first) :]
        apart = model(input_ids=torch.tensor([second]), use_cache=False).logits[0]
    return float((packed - apart).norm() / (apart - apart.mean()).norm())


ARMS = {
    "packed": partial(ours, packed=True),
    "unpacked": partial(ours, packed=False),
    "bfd": partial(trl, strategy="bfd"),
    "bfd-steps": partial(trl, strategy="bfd", as_many="steps"),
    "wrapped": partial(trl, strategy="wrapped"),
}

if __name__ == "__main__":
    main(ARMS)
