"""Tokens and values that heads do without in training."""

from __future__ import annotations

import pytest
import torch

from tasks.model.heads.dropout import dropped, thinned


def test_thinned_states_are_those_of_some_tokens_in_their_order() -> None:
    torch.manual_seed(0)
    rows, tokens = 200, 50
    numbers = torch.arange(1.0, tokens + 1).repeat(rows, 1)
    present = torch.arange(tokens) < torch.randint(1, tokens + 1, (rows, 1))
    states, there = thinned(numbers[:, :, None], present, 0.3)
    kept = [row[mask, 0] for row, mask in zip(states, there, strict=True)]
    assert max(map(len, kept)) == states.shape[1]
    for row, mask in zip(kept, present, strict=True):
        assert len(row), "each row keeps one at least"
        assert (row.diff() > 0).all()
        assert row.max() <= mask.sum()
    assert sum(map(len, kept)) / int(present.sum()) == pytest.approx(0.7, abs=0.02)


def test_dropout_zeroes_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    states = torch.ones(101, 103, requires_grad=True)  # no multiple of a word's bytes
    left = dropped(states, 0.3)
    assert (left == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert left.mean().item() == pytest.approx(1.0, abs=0.02)
    assert len(left.unique()) == 2
    left.sum().backward()
    assert torch.equal(states.grad, left.detach())
    assert not torch.equal(dropped(states, 0.3), left)
    assert torch.equal(dropped(states, 0.0), states)
    assert dropped(states.bfloat16(), 0.3).dtype == torch.bfloat16
    assert (dropped(states, 0.999) > 0).any()
