"""Domain pretraining of LLaMA-7B's shape by one arm, in a process of its own; a line of JSON.

python -m tests.bench._gpu_trainings ours|full|padded FOLDER
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from tasks.pretrain.packing import Packed, pack
from tests.bench._trainings import Clock, alone, lora, main, ticking

ROWS, LENGTH = int(os.environ.get("ROWS", "4")), 2048
LAYERS = int(os.environ.get("LAYERS", "32"))
STEPS, WARM, RATE = 14, 4, 1e-4
VOCABULARY, DISCHARGE_SHARE = 32_000, 0.125
# tokens of a note: median, and the standard deviation of the logarithm, as in `_mixture.py`
_LENGTHS = {"DS": (2600, 0.5), "RR": (280, 0.65)}
# dense bf16 FLOP/s, from the makers' datasheets, by how the card's name begins
RATES = {"NVIDIA H200": 989e12, "NVIDIA H100": 989e12, "NVIDIA A100": 312e12}


def notes(tokens: int, seed: int = 0) -> Iterator[tuple[int, np.ndarray]]:
    """Notes of MIMIC's lengths, of random tokens, until there are so many: (subject_id, ids)."""
    draw, ids = Random(seed), np.random.default_rng(seed)
    subject_id = 0
    while tokens > 0:
        median, spread = _LENGTHS["DS" if draw.random() < DISCHARGE_SHARE else "RR"]
        length = max(8, int(median * np.exp(draw.gauss(0, spread))))
        subject_id, tokens = subject_id + 1, tokens - length
        yield subject_id, ids.integers(3, VOCABULARY, length, dtype=np.int32)


def llama() -> PreTrainedModel:
    """LLaMA-7B with random weights, frozen, in bf16 on the GPU."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=LAYERS,
        num_attention_heads=32,
        max_position_embeddings=LENGTH,
        use_cache=False,
        dtype=torch.bfloat16,
    )
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    return model.requires_grad_(False)


class Notes:
    """The notes packed, as a corpus artifact has them."""

    sequence_length = LENGTH

    def __init__(self) -> None:
        tokens = 2 * STEPS * ROWS * LENGTH
        self.rows = list(pack(notes(tokens), LENGTH, pad=2, overlap=1))[:-1]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Packed:
        return self.rows[row]


def found(clock: Clock, tokens: list[int], model: Any, attended: float) -> dict[str, float]:
    """Useful tokens a second, their utilisation of the card, and memory."""
    from tasks.model.adapters.build import language_model
    from tasks.training.flops import flops_per_token

    begun, ended = clock.ticks[WARM - 1][0], clock.ticks[STEPS - 1][0]
    rate = sum(tokens[WARM:STEPS]) / (ended - begun)
    name = torch.cuda.get_device_name()
    peak = next((rate for card, rate in RATES.items() if name.startswith(card)), float("nan"))
    held = sum(each.numel() * each.element_size() for each in model.parameters())
    held += sum(16 * each.numel() for each in model.parameters() if each.requires_grad)
    return {
        "clock": rate,
        "utilisation": rate * flops_per_token(model, language_model(model), attended) / peak,
        "peak_mib": torch.cuda.max_memory_allocated() / 2**20,
        "held_mib": held / 2**20,  # weights; of what is trained, its float32, moments and gradient
    }


def ours(_: Path) -> dict[str, float]:
    from tasks.model.adapters.build import add_new_adapter
    from tasks.model.adapters.methods import Lora
    from tasks.model.adapters.parts import activate
    from tasks.model.bases.kernels import use_kernels
    from tasks.pretrain.learn import Layout
    from tasks.pretrain.objectives.causal import LanguageLesson
    from tasks.pretrain.packing import pieces
    from tasks.training.config import TrainingConfig
    from tasks.training.engine import seed_all
    from tasks.training.flops import attended_tokens
    from tasks.training.loop import train
    from tasks.training.watchers.watcher import Run, Step, Watcher

    clock, tokens = Clock(), []

    class Ticks(Watcher):
        def stepped(self, run: Run, step: Step) -> None:
            clock.tick()
            tokens.append(step.batch.tokens)

    with alone("cuda") as world:
        seed_all(0)
        base, corpus = llama(), Notes()
        use_kernels(base, world.device)
        settings = Lora(rank=16, alpha=32, targets=("q_proj", "v_proj"), rslora=False)
        model = add_new_adapter(base, settings, "default").to(world.device)
        activate(model, ["default"], ["default"])
        config = TrainingConfig(learning_rate=RATE, batch_size=ROWS)
        lesson = LanguageLesson("ours", corpus, STEPS, ROWS, ROWS, world.device)
        layout = Layout(lesson, model)
        torch.cuda.reset_peak_memory_stats()
        train(model, lesson, config, world, watchers=[layout, Ticks()])
        documents = [len(ids) for row in corpus.rows for _, ids in pieces(row)]
        attended = attended_tokens(documents, causal=True)
        return found(clock, tokens, model, attended) | {"packed": float(lesson.packed)}


def theirs(padded: bool) -> dict[str, float]:
    """HF Trainer and PEFT as they come, in bf16."""
    from peft import get_peft_model
    from transformers import Trainer, TrainingArguments, default_data_collator

    from tasks.training.flops import attended_tokens

    clock, wanted = Clock(), STEPS * ROWS
    ids = np.full((wanted, LENGTH), 2)
    present = np.ones_like(ids)
    if padded:
        texts = (text[:LENGTH] for _, text in notes(10**9))
        lengths = []
        for row, text in zip(range(wanted), texts, strict=False):
            ids[row, : len(text)], present[row, len(text) :] = text, 0
            lengths.append(len(text))
    else:
        ids = np.random.default_rng(0).integers(3, VOCABULARY, ids.shape)
        lengths = [LENGTH] * wanted
    labels = np.where(present, ids, -100)
    rows = [
        {"input_ids": ids[row], "attention_mask": present[row], "labels": labels[row]}
        for row in range(wanted)
    ]
    model = get_peft_model(llama(), lora())
    torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as work:
        arguments = TrainingArguments(
            output_dir=work,
            per_device_train_batch_size=ROWS,
            max_steps=STEPS,
            learning_rate=RATE,
            bf16=True,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        Trainer(
            model=model,
            args=arguments,
            train_dataset=rows,
            data_collator=default_data_collator,
            callbacks=[ticking(clock)],
        ).train()
    tokens = [int(np.mean(lengths) * ROWS)] * STEPS
    return found(clock, tokens, model, attended_tokens(lengths, causal=True))


ARMS = {
    "ours": ours,
    "full": lambda _: theirs(padded=False),
    "padded": lambda _: theirs(padded=True),
}

if __name__ == "__main__":
    main(ARMS, device="cuda")
