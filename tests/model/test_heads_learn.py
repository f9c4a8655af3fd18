"""Every head learns what notes tell, with all of its parameters, and is saved as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tasks.measures.ranking import macro_auroc
from tasks.model.heads.config import HeadShape
from tasks.model.heads.heads import Heads
from tests.model.test_heads import EVERY_HEAD

HIDDEN, LABELS, NOTES, LONGEST = 16, 3, 120, 9


@pytest.fixture(scope="module")
def notes() -> tuple[Tensor, Tensor, Tensor]:
    """States, presence and labels of notes whose last tokens tell which labels they have."""
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(3, LONGEST + 1, (NOTES, 1), generator=draw)
    states = torch.randn(NOTES, LONGEST, HIDDEN, generator=draw)
    labels = torch.rand(NOTES, LABELS, generator=draw) < 0.4
    directions = torch.randn(LABELS, HIDDEN, generator=draw)
    states[torch.arange(NOTES), lengths[:, 0] - 1] = 4 * labels.float() @ directions
    return states, torch.arange(LONGEST) < lengths, labels


@pytest.mark.parametrize("head", EVERY_HEAD, ids=lambda head: "-".join(head.values()))
def test_a_head_learns_and_comes_back_as_it_was_saved(
    notes: tuple[Tensor, Tensor, Tensor], head: dict[str, str], tmp_path: Path
) -> None:
    states, present, labels = notes
    torch.manual_seed(0)
    given = {"head": head, "labels": [("system", str(label)) for label in range(LABELS)]}
    shape = HeadShape.model_validate({"outcome": "outcome", "hidden": HIDDEN, **given})
    heads = Heads([shape])
    heads.scaling.fit(states[present])
    start = {name: each.detach().clone() for name, each in heads.named_parameters()}
    optimizer = torch.optim.AdamW(heads.parameters(), lr=2e-2)
    losses = []
    for step in range(100):
        logits = heads(states[:80], present[:80])["outcome"]
        loss = F.binary_cross_entropy_with_logits(logits, labels[:80].float())
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == 1:  # as training demands of every tensor
            for name, parameter in heads.named_parameters():
                assert not torch.equal(start[name], parameter), name
    assert losses[-1] < 0.75 * losses[0]
    heads.eval()
    with torch.no_grad():
        logits = heads(states, present)["outcome"]
        auroc = macro_auroc(logits[80:].numpy(), labels[80:].numpy(), labels[80:].numpy() | True)
        heads.write(tmp_path)
        again = Heads()
        again.read(tmp_path)
        assert torch.equal(again.eval()(states, present)["outcome"], logits)
    assert auroc > 0.75
