"""Heads: the label order, the mask, the pooling, and what an unobserved cell must not do."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from tasks.model.heads.adapter import AdapterHead
from tasks.model.heads.config import HeadShape
from tasks.model.heads.gated_residual import GatedResidualHead
from tasks.model.heads.head import Head
from tasks.model.heads.label_attention import LabelAttentionHead, TiedLabelAttentionHead
from tasks.model.heads.lightweight import LightweightHead
from tasks.model.heads.linear import LinearHead
from tasks.model.heads.losses import masked_bce, masked_cross_entropy
from tasks.model.heads.tiny_attention import TinyAttentionHead

HIDDEN = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
PRESENT = torch.tensor([[True] * 4, [True, True, False, False]])
POOLS = ("last", "mean", "max", "attention")
POOLED = ("linear", "adapter", "lightweight", "tiny_attention", "gated_residual")
EVERY_HEAD = [
    *({"kind": "label_attention", "queries": queries} for queries in ("titles", "free", "tied")),
    *({"kind": kind, "pool": pool} for kind in POOLED for pool in POOLS),
]


def shape_of(head: dict[str, str]) -> HeadShape:
    labels = (("icd10cm", "I10"), ("icd10cm", "E11"))
    return HeadShape.model_validate(
        {"outcome": "outcome", "head": head, "hidden": 8, "labels": labels}
    )


def moved(head: Head) -> Head:
    """The head as if trained: nothing of it is zero any more."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return head


def test_label_attention_equals_its_formula() -> None:
    head = LabelAttentionHead(8, 3)
    states = HIDDEN[1, :2]  # the present tokens
    shares = torch.softmax(head.query @ states.T / math.sqrt(8), dim=1)  # [labels, tokens]
    expected = ((shares @ states) * head.weight).sum(1) + head.bias
    torch.testing.assert_close(head(HIDDEN, PRESENT)[1], expected)


def test_label_attention_has_the_gradients_of_its_formula() -> None:
    torch.manual_seed(0)
    head, states = LabelAttentionHead(8, 3), HIDDEN.clone().requires_grad_(True)
    scores = (states @ head.query.T / math.sqrt(8)).masked_fill(~PRESENT[:, :, None], -torch.inf)
    expected = (scores.softmax(dim=1) * (states @ head.weight.T)).sum(dim=1) + head.bias
    learned = [states, *head.parameters()]
    for given, right in zip(
        torch.autograd.grad(head(states, PRESENT).square().sum(), learned),
        torch.autograd.grad(expected.square().sum(), learned),
        strict=True,
    ):
        torch.testing.assert_close(given, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", EVERY_HEAD, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_padding_of_its_batch_changes_no_notes_logits(
    head: dict[str, str], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    built = moved(shape_of(head).build()).to(dtype).eval()
    states = HIDDEN.to(dtype)
    padded = torch.cat([states, torch.full((2, 3, 8), 1e6, dtype=dtype)], dim=1)
    padded[1, 2:] = -1e6
    present = torch.arange(7) < torch.tensor([[4], [2]])
    with torch.no_grad():
        logits = built(padded, present)
        alone = [built(states[:1], PRESENT[:1]), built(states[1:, :2], PRESENT[1:, :2])]
    assert logits.dtype == torch.float32
    rounding = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(logits, torch.cat(alone), rtol=rounding, atol=rounding)
    assert (logits[0] - logits[1]).abs().max() > 5 * rounding, "notes differ"


def test_pooled_states() -> None:
    for pool, expected in {
        "last": HIDDEN[1, 1],
        "mean": HIDDEN[1, :2].mean(0),
        "max": HIDDEN[1, :2].amax(0),
        "attention": HIDDEN[1, :2].mean(0),  # where it starts
    }.items():
        head = LinearHead(8, 1, pool)
        torch.testing.assert_close(head(HIDDEN, PRESENT)[1], expected @ head.weight[0:1].T)


def test_attention_pools_what_its_query_points_at() -> None:
    head = LinearHead(8, 1, "attention")
    with torch.no_grad():
        head.pooling.query.copy_(100 * HIDDEN[1, 0])
    torch.testing.assert_close(head(HIDDEN, PRESENT)[1], HIDDEN[1, 0] @ head.weight[0:1].T)


def test_heads_after_le_et_al_equal_their_formulas() -> None:
    h = HIDDEN[1, :2].mean(0)
    adapter = moved(AdapterHead(8, 3, "mean", 5, dropout=0.5)).eval()
    mapped = h + adapter.up.weight @ (adapter.down.weight @ h + adapter.down.bias).relu()
    check(adapter, mapped + adapter.up.bias)

    light = moved(LightweightHead(8, 3, "mean", 5))
    mapped = light.up.weight @ (light.down.weight @ h + light.down.bias) + light.up.bias
    check(light, normalized(mapped) * light.norm.weight + light.norm.bias)

    gated = moved(GatedResidualHead(8, 3, "mean", 5, dropout=0.5)).eval()
    first = torch.nn.functional.elu(gated.first.weight @ h + gated.first.bias)
    inner = gated.second.weight @ first + gated.second.bias
    value = gated.value.weight @ inner + gated.value.bias
    gate = (gated.gate.weight @ inner + gated.gate.bias).sigmoid()
    check(gated, normalized(h + value * gate) * gated.norm.weight + gated.norm.bias)

    tiny = moved(TinyAttentionHead(8, 3, "mean", heads=2, size=3))
    states = HIDDEN[1, :2]
    mixed = []
    for rows in (slice(0, 3), slice(3, 6)):
        q, k, v = (states @ part.weight[rows].T for part in (tiny.query, tiny.key, tiny.value))
        mixed.append(torch.softmax(q @ k.T / math.sqrt(3), dim=1) @ v)
    added = torch.cat(mixed, dim=1) @ tiny.out.weight.T + tiny.out.bias
    check(tiny, (states + added).mean(0))


def check(head: Head, mapped: torch.Tensor) -> None:
    torch.testing.assert_close(head(HIDDEN, PRESENT)[1], head.weight @ mapped + head.bias)


def normalized(state: torch.Tensor) -> torch.Tensor:
    return (state - state.mean()) / (state.var(unbiased=False) + 1e-5).sqrt()


def test_heads_that_add_to_a_state_start_as_a_linear_head() -> None:
    linear = LinearHead(8, 3, "mean")
    expected = linear(HIDDEN, PRESENT)
    for head in (AdapterHead(8, 3, "mean", 5, 0.0), TinyAttentionHead(8, 3, "mean", 2, 3)):
        head.weight = linear.weight
        torch.testing.assert_close(head(HIDDEN, PRESENT), expected)
    gated = GatedResidualHead(8, 3, "last", 5, 0.0)
    linear_of_norm = LinearHead(8, 3, "last")
    linear_of_norm.weight = gated.weight
    states = torch.nn.functional.layer_norm(HIDDEN, (8,))
    torch.testing.assert_close(gated(HIDDEN, PRESENT), linear_of_norm(states, PRESENT))


def test_tied_queries_turn_together_and_free_ones_stay() -> None:
    titles = torch.eye(8)[:3] * 5
    known = torch.tensor([True, True, False])
    tied = TiedLabelAttentionHead(8, 3, query_size=2.0)
    untitled = tied.directions[2].clone()
    tied.start_from_titles(titles, known)
    torch.testing.assert_close(tied.queries()[:2], torch.eye(8)[:2] * 2)
    torch.testing.assert_close(tied.queries()[2], untitled * 2)
    with torch.no_grad():
        tied.projection.copy_(torch.eye(8).roll(1, dims=0))  # direction i -> direction i + 1
    torch.testing.assert_close(tied.queries()[:2], torch.eye(8)[1:3] * 2)
    assert [name for name, _ in tied.named_parameters()] == ["projection", "weight", "bias"]

    free = LabelAttentionHead(8, 3, free=True)
    before = free.query.detach().clone()
    free.start_from_titles(titles, known)
    assert torch.equal(free.query, before)
    torch.testing.assert_close(free.weight[:2], torch.eye(8)[:2])


def test_queries_are_not_tied_to_titles_that_are_not_embedded() -> None:
    with pytest.raises(ValidationError, match="start_from_titles is off"):
        shape_of({"kind": "label_attention", "queries": "tied", "start_from_titles": False})


def test_a_title_speaks_for_its_own_label() -> None:
    """Tokens that point in a label's direction raise that label's logit and no other's."""
    torch.manual_seed(0)
    directions = torch.eye(8)[:3]
    for head in (
        LabelAttentionHead(8, 3),
        TiedLabelAttentionHead(8, 3),
        LinearHead(8, 3, "mean"),
        AdapterHead(8, 3, "mean", 5, 0.0),
        LightweightHead(8, 3, "mean", 5),
        TinyAttentionHead(8, 3, "mean", 1, 2),
        GatedResidualHead(8, 3, "mean", 5, 0.0),
    ):
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


def test_focal_losses_equal_their_formula_and_gamma_0_changes_nothing() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    positives = torch.nn.functional.one_hot(torch.tensor([0, 1, 2, 0, 1])).bool()
    observed = torch.tensor([True, True, False, True, True])[:, None].expand(5, 3)
    p = torch.where(positives, logits.sigmoid(), 1 - logits.sigmoid())
    expected = (-((1 - p) ** 1.5) * p.log())[observed].sum()
    torch.testing.assert_close(masked_bce(logits, positives, observed, gamma=1.5), expected)
    p = logits.softmax(dim=1)[positives][observed[:, 0]]
    expected = (-((1 - p) ** 1.5) * p.log()).sum()
    torch.testing.assert_close(
        masked_cross_entropy(logits, positives, observed, gamma=1.5), expected
    )
    for loss in (masked_bce, masked_cross_entropy):
        plain = loss(logits, positives, observed)
        assert torch.equal(loss(logits, positives, observed, gamma=0.0), plain)


def test_focal_gradients_are_finite_where_logits_are_large_or_unobserved() -> None:
    logits = torch.tensor([[500.0, -torch.inf], [-500.0, 500.0]], requires_grad=True)
    positives = torch.tensor([[True, False], [False, True]])
    observed = torch.tensor([[True, False], [True, True]])
    masked_bce(logits, positives, observed, gamma=0.5).backward()
    assert torch.isfinite(logits.grad).all()
    logits = torch.tensor([[500.0, -500.0], [-500.0, -400.0]], requires_grad=True)
    masked_cross_entropy(logits, positives, observed | True, gamma=0.5).backward()
    assert torch.isfinite(logits.grad).all()


def test_a_key_of_another_head_is_refused() -> None:
    """`pool` was once a key that label attention took and ignored."""
    shape = {"outcome": "outcome", "hidden": 8, "labels": ()}
    with pytest.raises(ValidationError, match="pool"):
        HeadShape.model_validate({**shape, "head": {"kind": "label_attention", "pool": "last"}})
