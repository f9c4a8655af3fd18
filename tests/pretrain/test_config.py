"""The stage's configuration: what does not fit together is refused; the hub only if asked."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.errors import ModelError
from tasks.model.bases.config import HubBase, ScratchBase
from tasks.pretrain import packing
from tasks.pretrain.config import PretrainConfig
from tasks.pretrain.objectives import causal


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hidden_size": 60, "heads": 4}, "even multiple of heads"),
        ({"sequence_length": 4096}, "raise max_positions"),
        ({"vocabulary_size": 100}, "greater than or equal to 260"),
        ({"epochs": 0}, "greater than 0"),
    ],
)
def test_a_base_that_cannot_be_is_refused(changes: dict[str, int], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ScratchBase.model_validate({"corpus": "general.txt"} | changes)


def test_the_kind_of_base_decides_which_keys_there_are() -> None:
    with pytest.raises(ValidationError, match="revision"):
        PretrainConfig.model_validate({"base": {"kind": "hub", "id": "some/model"}})
    with pytest.raises(ValidationError, match="Extra inputs"):
        PretrainConfig.model_validate({"base": {"kind": "path", "path": "x", "heads": 4}})


def test_the_hub_is_not_reached_where_it_is_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"set pretrain\.base to kind: path"):
        HubBase(id="some/model", revision="0" * 40).folder()


@pytest.mark.parametrize("module", [packing, causal], ids=lambda module: module.__name__)
def test_the_examples_in_the_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0
