"""The loss of next tokens from an output layer that never holds all of its logits.

A batch's logits, [tokens, vocabulary], are the largest tensor in training a language model, and are
passed over eight times. Here the output layer takes a few tokens at a time, and has the gradient at
once, so that its logits stay in the processor's cache and are gone before the next (as Hsu et al.
2024, arXiv 2410.10989, on GPUs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

UNSCORED = -100  # a target that counts for nothing
_LOGITS = {"cpu": 2**19, "cuda": 2**26}  # held at once: 2 MiB, 256 MiB


@contextmanager
def giving_losses(output: nn.Linear, targets: Tensor) -> Iterator[None]:
    """Within it, the output layer gives the loss of the targets instead of logits.

    That is their negative log-likelihood in nats, summed: a tensor without dimensions, float32.

    Args:
        targets: [rows, tokens], UNSCORED where there is none. Of longer rows of states the last
            tokens are meant.
    """

    def loss_of(states: Tensor) -> Tensor:
        if states.shape[:-1].numel() > targets.numel():
            states = states[:, -targets.shape[1] :]
        weight = summed() if (summed := getattr(output, "summed_weight", None)) else output.weight
        loss: Tensor = _Loss.apply(  # type: ignore[no-untyped-call]
            states.flatten(0, -2), weight, output.bias, targets.flatten()
        )
        return loss

    with computing(output, loss_of):
        yield


@contextmanager
def giving_token_losses(output: nn.Linear, targets: Tensor) -> Iterator[None]:
    """Within it, the output layer gives the loss of each target instead of logits.

    That is its negative log-likelihood in nats: float32 [rows, tokens], 0 where there is no target,
    of whose token no logits are computed. Whatever is on the layer, adapters say, takes part. No
    gradients.

    Args:
        targets: as `giving_losses` takes them.
    """
    logits_of = output.forward
    size = max(1, _LOGITS.get(targets.device.type, _LOGITS["cuda"]) // output.out_features)

    def losses_of(states: Tensor) -> Tensor:
        scored = targets != UNSCORED
        read = states[:, -targets.shape[1] :][scored]
        parts = zip(torch.split(read, size), torch.split(targets[scored], size), strict=True)
        losses = [
            F.cross_entropy(logits_of(part).float(), wanted, reduction="none")
            for part, wanted in parts
        ]
        whole = torch.zeros(targets.shape, device=targets.device)
        if losses:
            whole[scored] = torch.cat(losses)
        return whole

    with torch.no_grad(), computing(output, losses_of):
        yield


@contextmanager
def computing(layer: nn.Module, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within it, the layer computes that function of its input."""
    before = vars(layer).get("forward")
    layer.__dict__["forward"] = forward
    try:
        yield
    finally:
        del layer.__dict__["forward"]
        if before is not None:
            layer.__dict__["forward"] = before


class _Loss(torch.autograd.Function):
    """The summed loss; its gradients are computed with it."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor
    ) -> Tensor:
        of_states, of_weight, of_bias, _ = ctx.needs_input_grad
        total = torch.zeros((), device=states.device)
        grad_states = torch.empty_like(states) if of_states else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if of_weight else None
        grad_bias = torch.zeros(len(weight), device=states.device) if of_bias else None
        size = max(1, _LOGITS.get(states.device.type, _LOGITS["cuda"]) // len(weight))
        for begin in range(0, len(states), size):
            part, wanted = states[begin : begin + size], targets[begin : begin + size, None]
            scored = wanted != UNSCORED
            wanted = wanted.clamp(min=0)
            likely = F.log_softmax(F.linear(part, weight, bias).float(), dim=1)
            total -= (likely.gather(1, wanted) * scored).sum()
            # the gradient of a token's logits: their softmax, less 1 for the target
            gradient = likely.exp_().scatter_add_(1, wanted, -torch.ones_like(likely[:, :1]))
            gradient = gradient.to(states.dtype)
            # tokens that are not scored are left out where they are as wide as a state
            counts = scored.to(states.dtype)
            if grad_states is not None:
                of_part = grad_states[begin : begin + size]
                torch.mm(gradient, weight, out=of_part).mul_(counts)
            if grad_weight is not None:
                grad_weight += gradient.T @ (part * counts)
            if grad_bias is not None:
                grad_bias += (counts.T @ gradient).float()[0]
        ctx.save_for_backward(
            grad_states,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(weight.dtype),
        )
        return total

    @staticmethod
    def backward(ctx: Any, *of_loss: Tensor) -> tuple[Tensor | None, ...]:
        scale = of_loss[0]
        return *(None if of is None else of * scale.to(of.dtype) for of in ctx.saved_tensors), None
