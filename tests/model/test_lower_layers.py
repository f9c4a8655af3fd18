"""Upper layers go on from what left the lower ones, whatever the architecture, or are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tasks.errors import ConfigError, ModelError
from tasks.model.bases.load import leaving, load_base
from tests.model.architectures import APART, PACKED, POSITIONS, write_base

# whose layers hand on several states of a token
REFUSED = ("gemma3n",)


@pytest.mark.parametrize("name", [*PACKED, *APART])
@torch.no_grad()
def test_states_are_those_of_all_layers(name: str, tmp_path: Path) -> None:
    base = load_base(write_base(name, tmp_path), passed_over=1)
    base.model.eval()
    ids = torch.randint(3, 290, (3, POSITIONS - 4), generator=torch.Generator().manual_seed(0))
    present = torch.arange(ids.shape[1]) < torch.tensor([[POSITIONS], [20], [1]])
    expected = base.states(ids, present)[present]
    if name in REFUSED:
        with pytest.raises(ModelError, match="max_gib to 0, so that all are computed"):
            leaving(base, ids, present)
        return
    kept = torch.cat(leaving(base, ids, present))
    assert len(kept) == present.sum()
    torch.testing.assert_close(base.states(ids, present, kept)[present], expected)
    other = base.states(ids, present, kept.flip(0))[present]
    assert (other - expected).norm() > 0.01 * expected.norm(), "else they would not be read"


def test_a_layer_must_be_left(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="freeze_below is 2, but the base has 2 layers"):
        load_base(write_base("llama", tmp_path), passed_over=2)
