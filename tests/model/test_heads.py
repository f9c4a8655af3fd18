"""Heads: the label order, the mask, the pooling, and what an unobserved cell must not do."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from tasks.model.heads.config import HeadShape
from tasks.model.heads.label_attention import LabelAttentionHead
from tasks.model.heads.linear import LinearHead
from tasks.model.heads.losses import masked_bce, masked_cross_entropy

HIDDEN = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
PRESENT = torch.tensor([[True] * 4, [True, True, False, False]])


def test_label_attention_equals_its_formula() -> None:
    head = LabelAttentionHead(8, 3)
    states = HIDDEN[1, :2]  # the present tokens
    shares = torch.softmax(head.query @ states.T / math.sqrt(8), dim=1)  # [labels, tokens]
    expected = ((shares @ states) * head.weight).sum(1) + head.bias
    torch.testing.assert_close(head(HIDDEN, PRESENT)[1], expected)


@pytest.mark.parametrize(
    "head",
    ["label_attention", *({"kind": "linear", "pool": pool} for pool in ("last", "mean", "max"))],
    ids=str,
)
def test_what_stands_under_padding_has_no_effect(head: object) -> None:
    labels = (("icd10cm", "I10"), ("icd10cm", "E11"))
    shape = {"outcome": "outcome", "head": head, "hidden": 8, "labels": labels}
    head = HeadShape.model_validate(shape).build()
    changed = HIDDEN.clone()
    changed[1, 2:] = 1e6
    torch.testing.assert_close(head(HIDDEN, PRESENT), head(changed, PRESENT))


def test_pooled_states() -> None:
    for pool, expected in {
        "last": HIDDEN[1, 1],
        "mean": HIDDEN[1, :2].mean(0),
        "max": HIDDEN[1, :2].amax(0),
    }.items():
        head = LinearHead(8, 1, pool)
        torch.testing.assert_close(head(HIDDEN, PRESENT)[1], expected @ head.weight[0:1].T)


def test_a_title_speaks_for_its_own_label() -> None:
    """Tokens that point in a label's direction raise that label's logit and no other's."""
    directions = torch.eye(8)[:3]
    for head in (LabelAttentionHead(8, 3), LinearHead(8, 3, "mean")):
        head.start_from_titles(directions * 5, torch.tensor([True, True, True]))
        logits = head(directions[:, None] * 4, torch.ones(3, 1, dtype=torch.bool))
        assert torch.equal(logits.argmax(dim=1), torch.arange(3))


def test_a_label_without_a_title_keeps_its_random_start() -> None:
    head = LabelAttentionHead(8, 2)
    before = head.query[1].clone()
    head.start_from_titles(torch.ones(2, 8), torch.tensor([True, False]))
    assert torch.equal(head.query[1], before)
    assert not torch.equal(head.query[0], before)


def test_bias_starts_at_the_base_rate() -> None:
    head = LinearHead(8, 2, "mean")
    head.start_bias(torch.tensor([9.0, 0.0]), torch.tensor([98.0, 98.0]))
    torch.testing.assert_close(head.bias.sigmoid(), torch.tensor([0.1, 0.01]))


def test_an_unobserved_cell_gives_no_loss_and_no_gradient() -> None:
    logits = torch.tensor([[2.0, torch.inf], [-1.0, 3.0]], requires_grad=True)
    positives = torch.tensor([[True, False], [False, True]])
    observed = torch.tensor([[True, False], [True, False]])
    loss = masked_bce(logits, positives, observed)
    loss.backward()
    expected = math.log1p(math.exp(-2)) + math.log1p(math.exp(-1))
    assert loss.item() == pytest.approx(expected)
    assert torch.equal(logits.grad[:, 1], torch.zeros(2))
    assert (logits.grad[:, 0] != 0).all()


def test_cross_entropy_counts_observed_rows_alone() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [5.0, 1.0]], requires_grad=True)
    positives = torch.tensor([[False, True], [True, False]])
    observed = torch.tensor([[True, True], [False, False]])
    loss = masked_cross_entropy(logits, positives, observed)
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(0.75))
    assert torch.equal(logits.grad[1], torch.zeros(2))


def test_a_key_of_another_head_is_refused() -> None:
    """`pool` was once a key that label attention took and ignored."""
    shape = {"outcome": "outcome", "hidden": 8, "labels": ()}
    with pytest.raises(ValidationError, match="pool"):
        HeadShape.model_validate({**shape, "head": {"kind": "label_attention", "pool": "last"}})
