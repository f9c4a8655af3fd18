"""DeepSpeed's configuration: ours filled in, the user's kept, contradictions refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.errors import ConfigError
from tasks.training.config import TrainingConfig
from tasks.training.engine import deepspeed_config, fingerprint_of, precision_of
from tasks.training.program import World

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "deepspeed").glob("*.json"))
WORLD = World(0, 4, 0, Path(), torch.device("cpu"))


def filled(tmp_path: Path, given: dict[str, Any]) -> dict[str, Any]:
    path = tmp_path / "deepspeed.json"
    path.write_text(json.dumps(given))
    return deepspeed_config(TrainingConfig(clip=0.7, deepspeed=path), WORLD)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_configuration_is_usable(path: Path) -> None:
    config = deepspeed_config(TrainingConfig(deepspeed=path), WORLD)
    assert config["zero_optimization"]["stage"] == int(path.stem[-1])
    assert "auto" not in json.dumps(config)


def test_ours_are_filled_in_and_the_users_kept(tmp_path: Path) -> None:
    given = {"zero_optimization": {"stage": 1}, "gradient_clipping": "auto"}
    config = filled(tmp_path, given)
    assert config["gradient_clipping"] == 0.7
    assert config["train_batch_size"] == 4
    assert config["zero_optimization"] == {"stage": 1}


def test_gradients_that_every_rank_has_whole_are_clipped_without_deepspeed(tmp_path: Path) -> None:
    assert filled(tmp_path, {"zero_optimization": {"stage": 0}})["gradient_clipping"] == 0
    path = tmp_path / "deepspeed.json"
    for precision in ("bf16", "fp16"):  # of which DeepSpeed keeps copies in float32
        training = TrainingConfig(clip=0.7, deepspeed=path, precision=precision)
        assert deepspeed_config(training, WORLD)["gradient_clipping"] == 0.7


def test_what_contradicts_the_training_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sets gradient_clipping"):
        filled(tmp_path, {"gradient_clipping": 1.0})
    with pytest.raises(ConfigError, match="sets optimizer"):
        filled(tmp_path, {"optimizer": {"type": "Adam"}})
    with pytest.raises(ConfigError, match='leaves wall_clock_breakdown at "auto"'):
        filled(tmp_path, {"wall_clock_breakdown": "auto"})


def test_what_no_checkpoint_could_hold_is_refused(tmp_path: Path) -> None:
    on_disk = {"stage": 3, "offload_optimizer": {"device": "nvme", "nvme_path": "/scratch"}}
    with pytest.raises(ConfigError, match="offloads the optimizer to nvme"):
        filled(tmp_path, {"zero_optimization": on_disk})


def test_a_file_that_is_not_there_or_not_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"nowhere\.json is not readable JSON \(FileNotFoundError"
    ):
        deepspeed_config(TrainingConfig(deepspeed=tmp_path / "nowhere.json"), WORLD)
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(ConfigError, match=r"text\.json is not readable JSON \(JSONDecodeError"):
        deepspeed_config(TrainingConfig(deepspeed=tmp_path / "text.json"), WORLD)


def test_the_cpu_computes_in_float32_and_a_gpu_in_bfloat16() -> None:
    gpu = World(0, 1, 0, Path(), torch.device("cuda", 0))
    assert precision_of(TrainingConfig(), WORLD) == torch.float32
    assert precision_of(TrainingConfig(), gpu) == torch.bfloat16
    assert precision_of(TrainingConfig(precision="fp16"), gpu) == torch.float16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8])
def test_a_fingerprint_changes_where_values_move_against_each_other(dtype: torch.dtype) -> None:
    integer = {4: torch.int32, 2: torch.int16, 1: torch.uint8}[torch.ones(1, dtype=dtype).itemsize]
    bias = torch.ones(2, dtype=dtype)
    for moved in ([1, -1], [1, 1], [0, 1]):
        there = (bias.view(integer) + torch.tensor(moved).to(integer)).view(dtype)
        assert fingerprint_of(there) != fingerprint_of(bias)
    assert fingerprint_of(bias.clone()) == fingerprint_of(bias)
    assert fingerprint_of(bias[:0]) == (0, 0)  # a rank's part under ZeRO-3 may be empty
