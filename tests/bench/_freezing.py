"""Full finetuning for a few steps in a process of its own; a JSON line of what it held in memory.

    python -m tests.bench._freezing minilm|smollm2 SHARE

SHARE of the matrices is still in a step; 0: all learn. The bases have random weights and the shapes
of all-MiniLM-L6-v2 and SmolLM2-135M, by which alone memory goes.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STEPS = 4
ROWS = {"minilm": (16, 256), "smollm2": (4, 256)}  # of a step, and tokens of a row


def main() -> None:
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "DS_ACCELERATOR": "cpu"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    name, share = sys.argv[1], float(sys.argv[2])
    print(json.dumps(measured(name, share)), flush=True)
    os._exit(0)


def measured(name: str, share: float) -> dict[str, float]:
    import torch

    from tasks.model.adapters.methods import Full
    from tasks.model.bases.layers import take_dropout_off
    from tasks.model.classifier import new_classifier
    from tasks.training.config import FreezingConfig, TrainingConfig
    from tasks.training.loop import train
    from tasks.training.program import World
    from tasks.training.watchers.freezing import Freezing
    from tests.bench._memory import high_water_mib

    torch.distributed.init_process_group("gloo")
    torch.manual_seed(0)
    base = _base(name)
    take_dropout_off(base.model)
    model = new_classifier(base, Full(), [])
    names = model.trained_parts()["task"]
    settings = FreezingConfig(share=share) if share else None
    freezing = Freezing(model, names, settings, 0) if settings else None
    lesson = Lesson(*ROWS[name])
    with tempfile.TemporaryDirectory() as folder:
        world = World(rank=0, size=1, local_rank=0, work=Path(folder), device=torch.device("cpu"))
        began = time.perf_counter()
        training = TrainingConfig(learning_rate=3e-5, batch_size=ROWS[name][0])
        train(
            model,
            lesson,
            training,
            world,
            watchers=(freezing,) if freezing else (),
            apart=freezing.matrices if freezing else (),
        )
    return {
        "kept_mib": max(lesson.kept) / 2**20,
        "peak_mib": high_water_mib(),
        "seconds": (time.perf_counter() - began) / STEPS,
    }


def _base(name: str) -> Any:
    import transformers as hf

    from tasks.model.bases.causal import Causal, take_head_off
    from tasks.model.bases.encoder import Encoder

    if name == "minilm":
        shape = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6}
        bert = hf.BertModel(hf.BertConfig(**shape, num_attention_heads=12), add_pooling_layer=False)
        return Encoder(bert)
    llama = hf.LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    return Causal(take_head_off(hf.LlamaForCausalLM(llama)))


@dataclass
class Lesson:
    """Random tokens, whose states are to be small; counts what is kept for the backward pass."""

    rows: int
    tokens: int

    name = "bench"
    steps = STEPS

    def __post_init__(self) -> None:
        self.kept: list[int] = []  # bytes, of each step

    def batch(self, step: int) -> Any:
        from tasks.training.lesson import Batch

        return Batch(micro=[step], weight=1.0, tokens=0, examples=self.rows, epoch=0.0)

    def prepared(self, micro: int) -> Any:
        import torch

        draw = torch.Generator().manual_seed(micro)
        return torch.randint(5, 3000, (self.rows, self.tokens), generator=draw)

    def loss(self, model: Any, ids: Any) -> Any:
        import torch

        weights = {p.untyped_storage().data_ptr() for p in model.module.parameters()}
        kept: dict[int, int] = {}

        def keep(tensor: Any) -> Any:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        model.module.forward = model.module.states
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            states = model(ids, torch.ones_like(ids, dtype=torch.bool))
            loss = states.float().square().mean()
        self.kept.append(sum(kept.values()))
        return loss


if __name__ == "__main__":
    main()
