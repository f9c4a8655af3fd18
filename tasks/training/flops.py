"""The arithmetic that a training needs, by formula, whatever a device did for it.

A multiplication and an addition are two operations. A token passes a weight of a matrix once
forward (2) and once backward, for the gradient of what came in (2); the gradient of the weight
itself takes 2 more, where it is trained. So a token costs

    4 x frozen weights + 6 x trained weights + 12 x layers x width x tokens that it attends to

The last term is the two products of attention, forward (4) and backward (8). Embeddings are looked
up and cost nothing, the output layer counts; what is computed twice to save memory counts once.
(4N and 6N: Kaplan et al. 2020; attention: Chowdhery et al. 2022, who count every token of the
sequence. Here a decoder's token attends to those before it, in its own document.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel


def flops_per_token(
    model: nn.Module,
    base: PreTrainedModel,
    attended: float,
    passed_over: Sequence[nn.Module] = (),
) -> float:
    """Operations of a token, forward and backward.

    Args:
        model: what is trained, the output layer with it.
        base: the language model in it.
        attended: tokens that a token attends to, on average.
        passed_over: transformer layers of the base that are not computed.
    """
    left_out = {id(parameter) for layer in passed_over for parameter in layer.parameters()}
    looked_up = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for parameter in module.parameters(recurse=False)
    }
    output = base.get_output_embeddings()  # type: ignore[no-untyped-call]
    if output is not None:  # it may share the embedding's weights, which are then multiplied, too
        looked_up -= {id(parameter) for parameter in output.parameters()}
    looked_up |= left_out
    frozen = trained = 0
    for parameter in model.parameters():
        shape = shape_of(parameter)
        if len(shape) > 1 and id(parameter) not in looked_up:
            if parameter.requires_grad:
                trained += shape.numel()
            else:
                frozen += shape.numel()
    heads = _heads(base, len(passed_over))
    return 4.0 * frozen + 6.0 * trained + 12.0 * heads * attended


def shape_of(parameter: nn.Parameter) -> torch.Size:
    """Of the weights: under ZeRO-3 a parameter's own is empty, in 4 bits two are in a byte."""
    quantized = getattr(parameter, "quant_state", None)
    shape = (
        getattr(parameter, "ds_shape", parameter.shape) if quantized is None else quantized.shape
    )
    assert isinstance(shape, torch.Size)
    return shape


def attended_tokens(documents: Iterable[int], *, causal: bool) -> float:
    """How many tokens a token attends to, itself too, on average over documents of these lengths.

    >>> attended_tokens([3, 1], causal=True), attended_tokens([3, 1], causal=False)
    (1.75, 2.5)
    """
    pairs = tokens = 0.0
    for length in documents:
        tokens += length
        pairs += length * (length + 1) / 2 if causal else length**2
    return pairs / max(tokens, 1.0)


def _heads(base: PreTrainedModel, passed_over: int) -> int:
    """Computed layers times the width of all heads together; 0 where there is no attention."""
    config = base.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None)
    layers = getattr(config, "num_hidden_layers", None)
    if not isinstance(heads, int) or not isinstance(layers, int):
        return 0
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return (layers - passed_over) * heads * int(width)
