"""What the heads of a model attend to while it is called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from torch import Tensor

from tasks.model.heads.heads import Heads
from tasks.model.heads.label_attention import LabelAttentionHead


@contextmanager
def attending(heads: Heads) -> Iterator[dict[str, Tensor]]:
    """Within it, after each call: the attention [batch, tokens, labels] of each outcome's head.

    Only of heads that attend by label. A hook, so that it sees states as heads do, and weights
    where each rank holds a part of them (ZeRO-3).
    """
    shares: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for outcome, head in heads.heads.items():
            if isinstance(head, LabelAttentionHead):
                hook = head.register_forward_pre_hook(partial(_attend, shares, outcome))
                stack.callback(hook.remove)
        yield shares


def _attend(
    shares: dict[str, Tensor],
    outcome: str,
    head: LabelAttentionHead,
    given: tuple[Tensor, Tensor],
) -> None:
    shares[outcome] = head.shares(*given)
