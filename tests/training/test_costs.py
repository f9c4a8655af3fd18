"""What a training cost: operations by formula, energy by meters that may start again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tasks.config import Config
from tasks.launch import LaunchConfig
from tasks.model.adapters.build import add_new_adapter
from tasks.model.adapters.methods import Lora
from tasks.pretrain import steps
from tasks.training.flops import flops_per_token
from tasks.training.program import World
from tasks.training.watchers.energy import Energy, Meter, cpu_meters, energy_of


def test_llama_7b_with_lora_costs_what_is_published() -> None:
    """LLaMA-7B has 6,738,415,616 parameters, of which 131,072,000 are looked up."""
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig())
        adapted = add_new_adapter(model, Lora(rank=16, targets=("q_proj", "v_proj")), "default")
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_("lora_" in name)
    vectors = 65 * 4096  # of the norms
    matrices = 6_738_415_616 - 131_072_000 - vectors
    attention = 12 * 32 * 4096 * 1024.5  # a sequence of 2,048: half of it, and itself
    expected = 4 * matrices + 6 * 8_388_608 + attention
    assert flops_per_token(adapted, model, 1024.5) == expected


def test_layers_that_are_passed_over_cost_nothing() -> None:
    """Of LLaMA-7B's 32 layers 31 are: what is left is the cost of one, and of the output layer."""
    with torch.device("meta"):
        model, one = (LlamaForCausalLM(LlamaConfig(num_hidden_layers=layers)) for layers in (32, 1))
    lower = model.model.layers[:31]
    assert flops_per_token(model, model, 1024.5, lower) == flops_per_token(one, one, 1024.5)


def test_a_shared_output_layer_is_multiplied() -> None:
    shape: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    shape |= {"vocab_size": 100, "num_attention_heads": 2, "num_key_value_heads": 2}
    apart, tied = (
        LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=tie)) for tie in (False, True)
    )
    assert flops_per_token(tied, tied, 8) == flops_per_token(apart, apart, 8)
    blocks = 4 * 16 * 16 + 3 * 16 * 32
    assert flops_per_token(apart, apart, 8) == 6 * (blocks + 16 * 100) + 12 * 16 * 8


@dataclass
class Counter:
    joules: float = 0.0


def test_energy_adds_up_over_resumed_trainings_and_restarted_counters(tmp_path: Path) -> None:
    counter = Counter(90.0)
    world = World(0, 1, 0, tmp_path, torch.device("cpu"))
    run: Any = SimpleNamespace(world=world, lesson=SimpleNamespace(name="clinical"))
    for joules in (98.0, 5.0):  # of a counter that starts again at 100
        energy = Energy(lambda _: {"cpu_0": Meter(lambda: counter.joules, wraps=100.0)})
        energy.begin(run)
        counter.joules = joules
        energy.end(run)
    assert energy_of(world, "clinical") == {"joules_cpu_0": 8.0 + 7.0}


def test_a_price_makes_a_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(module: str, job: Config, work: Path, config: LaunchConfig) -> None:
        work.mkdir()
        (work / "counts.json").write_text('{"training_seconds": 1800}')

    monkeypatch.setattr(steps, "launch", trained)
    launch = LaunchConfig(price_per_hour=3.0, nodes=2, rendezvous="here:29500")
    counts = steps._run("tasks.pretrain.train", Config(), tmp_path, launch)
    assert counts["cost"] == 3.0, "half an hour of two machines"


def test_a_machine_that_tells_nothing_has_no_energy(tmp_path: Path) -> None:
    world = World(0, 1, 0, tmp_path, torch.device("cpu"))
    run: Any = SimpleNamespace(world=world, lesson=SimpleNamespace(name="clinical"))
    energy = Energy(lambda _: cpu_meters(tmp_path))
    energy.begin(run)
    energy.end(run)
    assert energy_of(world, "clinical") == {}


def test_cpu_packages_are_read_and_their_parts_are_not(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text("2000000\n")
        (tmp_path / name / "max_energy_range_uj").write_text("9000000\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()  # as one that only root may read
    meters = cpu_meters(tmp_path)
    assert list(meters) == ["cpu_0"]
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("500000\n")
    assert meters["cpu_0"].since() == pytest.approx(0.5 + 9 - 2)
