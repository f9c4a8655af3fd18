"""Domain pretraining of a small LLaMA by one arm, in a process of its own; a JSON line of its rate.

    python -m tests.bench._trainings ours|paper|trl FOLDER

FOLDER holds base/, corpus/, padded/ and whole/, which `pretraining.py` writes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROWS, LENGTH, STEPS, WARM = 8, 512, 14, 4  # of a step, tokens of a row, steps, not counted
RANK, ALPHA, TARGETS, RATE = 16, 32, ("q_proj", "v_proj"), 1e-3


def main(arms: Mapping[str, Callable[[Path], Any]], device: str = "cpu") -> None:
    """Print what the arm that the command line names makes of the folder, as a line of JSON."""
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "DS_ACCELERATOR": device}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    print(json.dumps(arms[sys.argv[1]](Path(sys.argv[2]))), flush=True)
    os._exit(0)


def run(module: str, arm: str, folder: Path) -> Any:
    """What `main` of that module prints of the arm, in a process of its own."""
    cores = len(os.sched_getaffinity(0))
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", module, arm, str(folder)],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return json.loads(done.stdout.decode().splitlines()[-1])


class Clock:
    """Seconds and tokens of the steps after the first few."""

    def __init__(self) -> None:
        self.ticks: list[tuple[float, float]] = []

    def tick(self) -> None:
        self.ticks.append((time.perf_counter(), time.process_time()))

    def rates(self, tokens: list[int]) -> dict[str, float]:
        """Tokens a second, by the clock and of the processor."""
        begun, ended = self.ticks[WARM - 1], self.ticks[STEPS - 1]
        useful = sum(tokens[WARM:STEPS])
        return {"clock": useful / (ended[0] - begun[0]), "work": useful / (ended[1] - begun[1])}


@contextmanager
def alone(device: str = "cpu") -> Iterator[Any]:
    """This process as the only rank of a training program, on that kind of device."""
    import torch

    from tasks.training.program import World, _join

    with tempfile.TemporaryDirectory() as work:
        world = World(0, 1, 0, Path(work), torch.device(device))
        _join(world)
        yield world


def ours(folder: Path) -> dict[str, Any]:
    from tasks.model.adapters.build import add_new_adapter
    from tasks.model.adapters.methods import Lora
    from tasks.model.adapters.parts import activate
    from tasks.model.bases.causal import load_causal
    from tasks.pretrain.corpus import Corpus
    from tasks.pretrain.learn import Layout
    from tasks.pretrain.objectives.causal import LanguageLesson
    from tasks.training.config import TrainingConfig
    from tasks.training.engine import seed_all
    from tasks.training.loop import train
    from tasks.training.watchers.watcher import Run, Step, Watcher

    clock, tokens = Clock(), []

    class Ticks(Watcher):
        def stepped(self, run: Run, step: Step) -> None:
            clock.tick()
            tokens.append(step.batch.tokens)

    with alone() as world:
        seed_all(0)
        settings = Lora(rank=RANK, alpha=ALPHA, targets=TARGETS)
        model = add_new_adapter(load_causal(folder / "base"), settings, "default")
        activate(model, ["default"], ["default"])
        config = TrainingConfig(learning_rate=RATE, batch_size=ROWS)
        corpus = Corpus(folder / "corpus")
        lesson = LanguageLesson("ours", corpus, STEPS, ROWS, ROWS, world.device)
        train(model, lesson, config, world, watchers=[Layout(lesson, model), Ticks()])
    return clock.rates(tokens)


def ticking(clock: Clock) -> Any:
    """A callback of HF Trainer that notes when each step ends."""
    from transformers import TrainerCallback

    class Ticks(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    return Ticks()


def lora() -> Any:
    """PEFT's LoRA of the size that all arms have."""
    from peft import LoraConfig

    return LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(TARGETS), task_type="CAUSAL_LM")


def paper(folder: Path) -> dict[str, Any]:
    """A note a row, cut and padded; HF Trainer and PEFT as they come."""
    from datasets import load_from_disk
    from peft import get_peft_model
    from transformers import (
        AutoModelForCausalLM,
        Trainer,
        TrainingArguments,
        default_data_collator,
    )

    clock = Clock()
    with tempfile.TemporaryDirectory() as work:
        base = AutoModelForCausalLM.from_pretrained(folder / "base")
        arguments = TrainingArguments(
            output_dir=work,
            per_device_train_batch_size=ROWS,
            max_steps=STEPS,
            learning_rate=RATE,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        rows = load_from_disk(str(folder / "padded"))
        model = get_peft_model(base, lora())
        Trainer(
            model=model,
            args=arguments,
            train_dataset=rows,
            data_collator=default_data_collator,
            callbacks=[ticking(clock)],
        ).train()
    share = sum(map(sum, rows["attention_mask"])) / (len(rows) * LENGTH)
    return clock.rates([int(share * ROWS * LENGTH)] * STEPS)


def trl(folder: Path) -> dict[str, Any]:
    """TRL's packing, as it comes."""
    from transformers import AutoModelForCausalLM

    clock = Clock()
    with tempfile.TemporaryDirectory() as work:
        trainer = packing_trainer(
            folder,
            AutoModelForCausalLM.from_pretrained(folder / "base"),
            peft_config=lora(),
            callbacks=[ticking(clock)],
            output_dir=work,
            per_device_train_batch_size=ROWS,
            max_steps=STEPS,
            learning_rate=RATE,
        )
        rows = trainer.train_dataset
        trainer.train()
    tokens = sum(map(len, rows["input_ids"])) / len(rows)
    return clock.rates([int(tokens * ROWS)] * STEPS)


def packing_trainer(
    folder: Path,
    model: Any,
    *,
    peft_config: Any = None,
    callbacks: Sequence[Any] = (),
    **settings: Any,
) -> Any:
    """TRL's SFTTrainer of folder/whole with packing; the settings are SFTConfig's."""
    from datasets import load_from_disk
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    arguments = SFTConfig(
        packing=True,
        max_length=LENGTH,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        **settings,
    )
    return SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=load_from_disk(str(folder / "whole")),
        processing_class=PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer" / "tokenizer.json"), pad_token="<pad>"
        ),
        peft_config=peft_config,
        callbacks=list(callbacks),
    )


if __name__ == "__main__":
    main({"ours": ours, "paper": paper, "trl": trl})
