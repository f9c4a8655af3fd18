"""Other architectures and methods: merged they compute the same, or they are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tasks.export import write
from tasks.export.job import Exported, ExportJob
from tasks.model.adapters.build import add_new_adapter
from tasks.model.adapters.files import write_adapter
from tasks.model.adapters.methods import AdaLora, AdapterMethod, Ia3, Lora, Pissa, Vera
from tasks.model.bases.load import load_base, states_width
from tasks.model.heads.config import HeadShape
from tasks.model.heads.heads import Heads
from tests.finetune.conftest import Inputs
from tests.finetune.test_train import one_rank
from tests.model.architectures import write_base

PAPER = {"kind": "linear", "scaling": "none", "bias": False}


def exported(
    architecture: str,
    inputs: Inputs,
    folder: Path,
    method: AdapterMethod | None = None,
    layer: int | None = None,
) -> Exported:
    """Heads on a frozen base with an adapter, exported by the program, which compares logits."""
    base = write_base(architecture, folder / "base")
    loaded = load_base(base)
    width = states_width(loaded)
    adapted = add_new_adapter(loaded.model, method or Lora(rank=4), "default")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    write_adapter(folder / "clinical", adapted, "default")
    labels = tuple(("system", code) for code in "abc")
    shape = {"outcome": "outcome", "head": PAPER, "hidden": width, "labels": labels}
    heads = Heads([HeadShape.model_validate(shape)])
    torch.nn.init.normal_(heads.head("outcome").weight)
    heads.write(folder / "member")
    job = ExportJob(
        base=base,
        layer=layer,
        summands={"clinical": folder / "clinical"},
        member=folder / "member",
        frozen=True,
        tokenizer=inputs.tokenizer,
        max_tokens=40,
        outcome="outcome",
        labels=("a", "b", "c"),
        one_of=False,
    )
    world = one_rank(folder / "out")
    write.main(job, world)
    return Exported.model_validate_json((world.work / "exported.json").read_text())


@pytest.mark.parametrize(
    ("architecture", "layer", "own_code"),
    [
        ("gpt2", None, False),  # its layers are no nn.Linear
        ("biogpt", None, False),
        ("qwen3", None, False),
        ("cohere", None, True),  # transformers has no classifier of it
        ("opt-projected", 1, True),  # it has no last norm that a cut would take off
    ],
)
def test_the_merged_model_computes_the_same(
    architecture: str, layer: int | None, own_code: bool, inputs: Inputs, tmp_path: Path
) -> None:
    made = exported(architecture, inputs, tmp_path, layer=layer)
    assert made.difference is not None, made.not_merged
    assert made.difference < 1e-4
    assert made.own_code == own_code


@pytest.mark.parametrize(
    ("method", "plain"),
    [(AdaLora(), False), (Ia3(), False), (Vera(rank=4), False), (Pissa(rank=2), True)],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_every_method_is_merged_and_plain_loras_become_one(
    method: AdapterMethod, plain: bool, inputs: Inputs, tmp_path: Path
) -> None:
    made = exported("llama", inputs, tmp_path, method)
    assert made.difference is not None, made.not_merged
    assert made.difference < 1e-4
    assert bool(made.rank) == plain
    assert made.not_fused == "" if plain else "'clinical' is no plain LoRA" in made.not_fused


def test_an_architecture_that_reads_its_weights_itself_is_refused(
    inputs: Inputs, tmp_path: Path
) -> None:
    """Mamba takes a layer's weights past its adapter, which therefore acts in part only."""
    made = exported("mamba", inputs, tmp_path)
    assert made.difference is None
    assert "is not one that can be merged; take adapters/" in made.not_merged
